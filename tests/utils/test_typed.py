"""Does what is printed name the commands that whoever reads it can type?"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sceneleapultra.__main__ import VERBS
from sceneleapultra.utils.core.config import CONFIG_DIR

ROOT = CONFIG_DIR.parent


def said(folder: Path, *command: str) -> str:
    environ = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    done = subprocess.run([sys.executable, *command], cwd=folder, env=environ, capture_output=True, text=True)
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "verb", "file"),
    [
        (
            ["inspect", "none.h5"],
            "Make it with: sceneleap generate path=none.h5",
            "python scripts/generate_dataset.py",
        ),
        (
            ["test", "checkpoint=no.ckpt"],
            "Train one with sceneleap train, or name",
            "Train one with train_lightning.py",
        ),
        (["store", "--help"], "usage: sceneleap store [-h]", "usage: store.py"),
    ],
)
def test_a_verb_speaks_of_verbs_and_a_file_of_files(
    tmp_path: Path, words: list[str], verb: str, file: str
) -> None:
    module = VERBS[words[0]][0]
    assert verb in said(tmp_path, "-m", "sceneleapultra", *words)
    assert file in said(tmp_path, f"{ROOT}/{module.replace('.', '/')}.py", *words[1:])


@pytest.mark.parametrize("name", ["train", "predict"])
def test_no_help_of_a_verb_names_a_file_of_a_checkout(tmp_path: Path, name: str) -> None:
    text = said(tmp_path, "-m", "sceneleapultra", name, "--help")
    assert f"sceneleap {name} " in text
    assert not re.search(r"python |\w\.py\b", text), text
