"""Does inspection understand a store of every format: coverage, repetitions, collisions, limits, success by object?"""

import re

import pytest

from factories.sources import FORMATS, OVERRIDES, write_source
from sceneleapultra.datasets import GraspStore


@pytest.mark.parametrize("name", [*FORMATS, "sceneleapcache"])
def test_a_sound_conversion_has_no_problems(
    generated, conversion, tmp_path, capsys, run_program, name
) -> None:
    write_source(name, tmp_path / "source", generated)
    made = conversion(name, *OVERRIDES.get(name, []))(tmp_path / "source", tmp_path / "s.h5")
    page = tmp_path / "report.html"
    status = run_program("inspect_dataset", made.store, "--html", page)
    said = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert status == 0 and "no problems" in said, said
    assert re.search(r"coverage: a success from [1-9]\d* % of the directions", said)
    assert f"repeated grasps: 0 of {made.grasps.written}" in said
    looked = re.search(r"hand in something: (\d+) of (\d+) successes looked at", said)
    assert looked and int(looked[1]) <= 0.2 * int(looked[2])
    assert f"beyond a joint limit: 0 of {made.grasps.written} grasps" in said
    html = page.read_text()
    for heading in ("Success by object", "claimed", "How it was made", f"claimed by {name}"):
        assert heading in html
    for object_name in GraspStore(made.store).object_names:
        assert object_name in html
