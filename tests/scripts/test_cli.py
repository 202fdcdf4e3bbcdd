"""Do programs read their command line as their functions are written, and answer what they cannot read?"""

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from sceneleapultra.utils.core import cli
from sceneleapultra.utils.core.config import CONFIG_DIR
from sceneleapultra.utils.core.renamed import RENAMED_FLAGS

ROOT = CONFIG_DIR.parent
PROGRAMS = ["train_lightning.py", "test_lightning.py"]
PROGRAMS += sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("scripts/*_*.py") if p.stem != "__init__")
PROGRAMS += ["scripts/predict.py", "scripts/store.py"]
SEEN: dict[str, Any] = {}


def paint(
    canvas: Path,
    *,
    color: Literal["red", "blue"] = "red",
    center: tuple[float, float] = (0.0, 1.0),
    layers: int | None = None,
    names: list[str] = (),  # type: ignore[assignment]
    glossy: bool = False,
    camera: Annotated[dict[str, Any], cli.Settings("camera/default")],
) -> int:
    """Paint.

    Args:
        canvas: the file to paint on,
            if there is one
        color: of the paint
        center: of the picture (m)
        layers: how many; 100 % by default
        names: of the painters
        glossy: whether it shines
        camera: of the view

    Raises:
        ValueError: nothing to paint.
    """
    SEEN.update(locals())
    if layers == 0:
        raise ValueError("layers: expected at least 1, got 0.")
    return 3


def painted(*words: str) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.run(paint, "Paints.", words)
    return int(stop.value.code or 0)


def test_parameters_are_arguments_and_flags_of_their_types() -> None:
    words = (
        "a.png",
        "--color",
        "blue",
        "--center",
        "-1",
        "2.5",
        "--layers",
        "2",
        "--names",
        "x",
        "y",
        "--glossy",
    )
    assert painted(*words) == 3
    assert (SEEN["canvas"], SEEN["color"], SEEN["center"]) == (Path("a.png"), "blue", [-1.0, 2.5])
    assert (SEEN["layers"], SEEN["names"], SEEN["glossy"]) == (2, ["x", "y"], True)


def test_defaults_are_those_of_the_function_and_of_the_settings_file() -> None:
    assert painted("a.png") == 3
    assert (SEEN["color"], SEEN["center"], SEEN["layers"], SEEN["glossy"]) == ("red", (0.0, 1.0), None, False)
    defaults, _ = cli.Settings("camera/default").read()
    assert SEEN["camera"] == defaults
    key, value = next((k, v) for k, v in defaults.items() if isinstance(v, int | float))
    assert painted("a.png", f"--camera.{key.replace('_', '-')}", str(value + 1)) == 3
    assert SEEN["camera"] == defaults | {key: value + 1}


def test_help_is_the_docstring(capsys: pytest.CaptureFixture[str]) -> None:
    assert painted("--help") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "the file to paint on, if there is one" in said and "of the paint (default: red)" in said
    assert "how many; 100 % by default" in said and "nothing to paint" not in said


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (("a.png", "--colour", "red"), 2, "Unknown flag --colour, did you mean --color?"),
        (("a.png", "--color", "green"), 2, "invalid choice: 'green' (choose from 'red', 'blue')"),
        (("a.png", "--layers", "two"), 2, "invalid int value: 'two'"),
        ((), 2, "The following arguments are required: canvas"),
        (("a.png", "--layers", "0"), 1, "layers: expected at least 1, got 0."),
    ],
)
def test_wrong_words_are_one_sentence(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], status: int, sentence: str
) -> None:
    assert painted(*words) == status
    said = capsys.readouterr().err
    assert sentence in said and "Traceback" not in said and len(said.strip().splitlines()) == 1


@pytest.mark.parametrize("program", RENAMED_FLAGS)
def test_flags_of_an_earlier_version_are_answered_with_the_new_names(program: str) -> None:
    files = {"convert": "convert_dataset", "self_training": "self_train_data"}
    flags = RENAMED_FLAGS[program]
    command = [sys.executable, f"scripts/{files.get(program, program)}.py", *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [f"{old} is called {new} since 0.2." for old, new in flags.items()]


@pytest.mark.parametrize(
    "program", [PROGRAMS[0], *(pytest.param(program, marks=pytest.mark.slow) for program in PROGRAMS[1:])]
)
def test_help_is_cheap(program: str) -> None:
    """It imports nothing that takes seconds."""
    watch = f"import sys, runpy; sys.argv = [{program!r}, '--help']; sys.path[0] = {str((ROOT / program).parent)!r}\n"
    watch += f"try:\n    runpy.run_path({program!r}, run_name='__main__')\nexcept SystemExit as stop:\n"
    watch += "    assert not stop.code\nassert 'torch' not in sys.modules and 'mujoco' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", watch], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 4
