"""From a hand's own file to a card and a page, without a written line."""

import re
from pathlib import Path

import numpy as np
import pytest

from factories.hands import HANDS, write
from factories.pages import HOSTILE, require_inert
from sceneleapultra.hands import load_hand


def test_a_gripper_is_read_tried_and_written_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], run_program
) -> None:
    folder = tmp_path / "hands" / "jaws"
    status = run_program("doctor", write(tmp_path, "jaws.urdf"), "--output", folder, "--attempts", "16")
    said = capsys.readouterr().out
    assert status == 0
    held = [int(n) for n in re.findall(r": (\d+) of \d+ closings held", said)]
    assert len(held) == 2 and sum(held) >= 4
    assert f"hand={folder}" in said.replace("\n", "")
    hand = load_hand(folder)
    np.testing.assert_array_equal(hand.flexion_sign.numpy(), [-1.0])  # open_left opens as it grows
    page = (folder / "hand.html").read_text()
    assert page.count('<canvas class="view"') >= 3 + 2 and '"frames"' in page
    assert "open_left" in page and not re.search(r'(src|href)="http', page)


def test_a_corrected_card_is_looked_at_as_it_stands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], run_program
) -> None:
    folder = tmp_path / "jaws"
    file = write(tmp_path, "jaws.urdf")
    assert run_program("doctor", file, "--output", folder, "--attempts", "0") == 0
    corrected = (folder / "hand.yaml").read_text().replace("open_left: -1", "open_left: 1")
    assert corrected != (folder / "hand.yaml").read_text()
    (folder / "hand.yaml").write_text(corrected)
    (folder / "hand.html").unlink()
    assert run_program("doctor", file, "--output", folder) == 1  # a person's work is not written over
    assert "may have been corrected" in capsys.readouterr().err
    assert run_program("doctor", folder, "--attempts", "16") == 1  # the jaws open as they should close
    said = capsys.readouterr().out
    assert len(re.findall(r": 0 of \d closings held", said)) == 2 and "correct" in said
    assert (folder / "hand.yaml").read_text() == corrected
    assert "open_left" in (folder / "hand.html").read_text()


def test_no_name_of_a_file_becomes_markup(tmp_path: Path, run_program) -> None:
    text = HANDS["jaws.urdf"].replace("open_left", HOSTILE.replace('"', "&quot;").replace("<", "&lt;"))
    (tmp_path / "h.urdf").write_text(text)
    status = run_program(
        "doctor", tmp_path / "h.urdf", "--output", tmp_path, "--name", HOSTILE, "--attempts", "0"
    )
    assert status == 0
    require_inert((tmp_path / "hand.html").read_text())


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("hand.stl", "", r"expected a hand's URDF \(.urdf\) or MJCF \(.xml\)"),
        ("hand.urdf.xacro", "", r"The program xacro writes the URDF: xacro hand\.urdf\.xacro > hand\.urdf$"),
        (
            "apart.urdf",
            HANDS["jaws.urdf"].replace('0.005 0.06"', '0.105 0.06"'),
            "brings no finger against another",
        ),
        ("one.urdf", HANDS["mimic.urdf"], "expected at least two fingers that joints move, found f"),
    ],
)
def test_what_is_no_hand_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], run_program, name: str, text: str, message: str
) -> None:
    (tmp_path / name).write_text(text)
    status = run_program("doctor", tmp_path / name, "--output", tmp_path / "out")
    said = capsys.readouterr().err
    assert status == 1 and re.search(message, " ".join(said.split()))
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("jaws.urdf",), "--output: expected a folder for the card and the page"),
        (("folder",), "No hand model at folder/hand.yaml."),
        (("hand.yaml", "--name", "mine"), "expected neither --output nor --name"),
    ],
)
def test_what_does_not_go_together_is_a_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    run_program,
    words: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "jaws.urdf")
    (tmp_path / "folder").mkdir()
    assert run_program("doctor", *words) == 1
    assert message in " ".join(capsys.readouterr().err.split())
