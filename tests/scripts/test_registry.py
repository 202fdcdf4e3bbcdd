"""Does the registry's program keep a shipped model, and make it champion by a test of this very file?"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sceneleapultra.models.bundle.manifest import digest
from sceneleapultra.models.checkpoints.zoo import find_checkpoint

RATE = {"value": 0.5, "trials": 4, "successes": 2, "wilson95": [0.1, 0.9], "by_object95": [0.0, 1.0]}


def results(path: Path, tested: str) -> Path:
    provenance = {
        "model checkpoint": f"leap_table ({tested})",
        "protocol": "dgb-fc (00)",
        "data hash": "d",
        "commit": "c",
        "date": "today",
    }
    summary = {"stable": RATE, "stable_and_collision_free": RATE}
    entry = {"method": "model", "role": "model", "split": "test", "summary": summary}
    path.write_text(json.dumps({"provenance": provenance, "methods": [entry]}))
    return path


def test_a_shipped_model_becomes_champion_when_it_was_tested(
    run_program: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SCENELEAPULTRA_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("SCENELEAPULTRA_REGISTRY", raising=False)
    assert run_program("registry", "list") == 0
    assert "holds no model yet" in capsys.readouterr().out
    assert run_program("registry", "register", "table", "leap_table", "--alias", "candidate") == 0
    out = capsys.readouterr().out
    assert "points (n 3), object_mask (n)" in out and "qpos (g 16)" in out and "tests" in out
    assert run_program("registry", "promote", "table", "candidate") == 1
    assert "cannot be promoted: no test of this checkpoint" in capsys.readouterr().err
    whole = digest(find_checkpoint("leap_table"))
    other = results(tmp_path / "other.json", "0" * 16)
    assert run_program("registry", "promote", "table", "candidate", "--evaluation", other) == 1
    assert "tested the checkpoint 0000000000000000" in capsys.readouterr().err
    own = results(tmp_path / "own.json", whole[:16])
    assert run_program("registry", "promote", "table", "candidate", "--evaluation", own) == 0
    assert "dgb-fc (00): test: stable 50.0 % [10.0, 90.0]" in capsys.readouterr().out
    assert digest(find_checkpoint("registry:table")) == whole
    assert run_program("registry", "list") == 0
    assert "tests: 1, candidate, champion" in capsys.readouterr().out
