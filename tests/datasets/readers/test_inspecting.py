"""Does inspection understand a store of every format: coverage, repetitions, collisions, limits, success by object?"""

import re
from pathlib import Path

import numpy as np
import pytest
from test_formats import write_cache
from test_training import FORMATS

from sceneleapultra.datasets import GraspStore
from scripts.inspect_dataset import main

OVERRIDES = {"dexgraspnet2": ["reader.views=[0,1]"]}


def write_source(name: str, root: Path, generated: GraspStore) -> None:
    if name in FORMATS:
        FORMATS[name][0](root, generated)
        return
    record = generated.record(0)
    target = int(np.argmax([len(j.grasps) for j in record.labeled]))
    root.mkdir()
    write_cache(root / "sceneleappro_ab_camera_centric_64.h5", record, target, chunk=3)


@pytest.mark.parametrize("name", [*FORMATS, "sceneleapcache"])
def test_a_sound_conversion_has_no_problems(generated, conversion, tmp_path, capsys, name) -> None:
    write_source(name, tmp_path / "source", generated)
    made = conversion(name, *OVERRIDES.get(name, []))(tmp_path / "source", tmp_path / "s.h5")
    page = tmp_path / "report.html"
    status = main([str(made.store), "--html", str(page)])
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
