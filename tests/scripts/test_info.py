"""sceneleap info: what a report of a bug needs, without torch and MuJoCo."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sceneleapultra import __version__
from sceneleapultra.models.checkpoints.zoo import shipped_models
from sceneleapultra.utils.core.config import CONFIG_DIR

ROOT = CONFIG_DIR.parent
LIGHT = """
import runpy, sys
sys.argv = ["info", "--json"]
runpy.run_module("sceneleapultra.scripts.info", run_name="__main__")
assert not {"torch", "mujoco"} & set(sys.modules)
"""


def test_it_is_json_and_needs_neither_torch_nor_mujoco() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], cwd=ROOT, capture_output=True, text=True, check=True)
    facts = json.loads(done.stdout)
    assert facts["project"]["sceneleapultra"] == __version__
    assert facts["packages"]["torch"] != "missing" and facts["system"]["cores"] >= 1
    assert set(facts["models"]) == set(shipped_models())
    digest = hashlib.sha256((ROOT / "model_zoo" / "leap_table" / "model.ckpt").read_bytes()).hexdigest()
    assert facts["models"]["leap_table"] == f"SHA-256 {digest}"
    assert facts["extras"]["serve"].startswith("fastapi ") and "train" not in facts["extras"]


def test_a_package_that_is_not_there_is_missing(
    run_program: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """As text; and an nvidia-smi that shows two cards is believed."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'Card A, 8192 MiB, 570.1'\necho 'Card B, 8192 MiB, 570.1'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(
        "sceneleapultra.scripts.info.MODULES", {"numpy": "numpy", "no-such-package": "nothing"}
    )
    assert run_program("info") == 0
    said = capsys.readouterr().out
    assert "no-such-package missing" in said and "0 Card A, 8192 MiB" in said and "1 Card B" in said
