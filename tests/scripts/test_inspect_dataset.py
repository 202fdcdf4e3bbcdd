"""Does the command tell a sound store from a damaged one, on the terminal, in its report and by its exit status?"""

import json
import re
import xml.dom.minidom
from pathlib import Path

import pytest

from factories.pages import HOSTILE, require_inert
from factories.stores import edited


def test_a_sound_store(
    tiny_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], run_program
) -> None:
    status = run_program("inspect_dataset", tiny_store, "--html", tmp_path / "report.html")
    said = capsys.readouterr().out
    assert status == 0 and "no problems" in said
    # 6 training scenes; each of the two families has 6 objects, all solved, 36 of 54 grasps held.
    assert "train: 6 scenes, 12 views" in said
    assert re.search(r"family0\s+66\.7 % \[.*?\]\s+36\s+54\s+6\s+6\s+6\b", said)
    assert re.search(r"types of the successes: \d+ unknown, \d+ power, \d+ precision, \d+ lateral", said)
    report = (tmp_path / "report.html").read_text()
    assert "No problems found." in report and "th_ipl" in report
    assert not re.search(r'(src|href)="http', report), "self-contained"
    pictures = re.findall(r"<svg.*?</svg>", report, re.DOTALL)
    assert len(pictures) == 3 + 16  # three distributions, sixteen joints
    for picture in pictures:
        xml.dom.minidom.parseString(picture)
    assert report.count('<canvas class="view"') == 4 * 4  # four examples of each split


def test_no_text_of_a_store_becomes_markup(tiny_store: Path, tmp_path: Path, run_program) -> None:
    path = tmp_path / f"{HOSTILE}.h5"
    path.write_bytes(tiny_store.read_bytes())
    with edited(path) as file:
        file.attrs["generator"] = json.dumps({"made": HOSTILE})
        file.attrs["protocol"] = HOSTILE
    run_program("inspect_dataset", path, "--html", tmp_path / "report.html")
    require_inert((tmp_path / "report.html").read_text())


def test_a_damaged_store(
    tiny_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], run_program
) -> None:
    path = tmp_path / "damaged.h5"
    path.write_bytes(tiny_store.read_bytes())
    with edited(path) as file:
        file["grasps/hand_pose"][0, 3] = 3.0
    assert run_program("inspect_dataset", path) == 1
    words = " ".join(capsys.readouterr().out.split())
    assert "problem: scene 0: grasps of object 0 (train-0-0): grasp 0.770 rad beyond a joint limit" in words
    assert "content hash" in words and "no problems" not in words


def test_a_missing_store_names_the_nearest_file_and_the_recipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], run_program
) -> None:
    (tmp_path / "quick.h5").touch()
    assert run_program("inspect_dataset", tmp_path / "quikc.h5") == 1
    assert f"no store at {tmp_path}/quikc.h5. Did you mean {tmp_path}/quick.h5?" in capsys.readouterr().err
    assert run_program("inspect_dataset", tmp_path / "leap_table.h5") == 1
    command = f"python scripts/generate_dataset.py dataset=leap_table path={tmp_path}/leap_table.h5"
    assert capsys.readouterr().err.endswith(f"Make it with: {command}\n")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(None, "no store at"), (b"", "is no HDF5 file"), (b"hello", "is no HDF5 file")],
)
def test_what_is_no_store_gets_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], run_program, content: bytes | None, sentence: str
) -> None:
    if content is not None:
        (tmp_path / "s.h5").write_bytes(content)
    assert run_program("inspect_dataset", tmp_path / "s.h5") == 1
    assert sentence in " ".join(capsys.readouterr().err.split())
