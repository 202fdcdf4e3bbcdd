"""Is a run known by what it learned from, not by where it lies?"""

import json
from pathlib import Path

import pytest

from sceneleapultra.utils.training.run_folder import code_state
from sceneleapultra.utils.training.run_record import UNKNOWN, RunRecord


def run(folder: Path, *, lr: float = 0.1, more: str = "") -> RunRecord:
    folder.mkdir()
    (folder / "config.yaml").write_text(
        f"run_dir: {folder}\nname: {folder.name}\noptimizer: {{lr: {lr}}}\n"
        f"callbacks: {{last: {{path: {folder}/checkpoints/last.ckpt}}{more}}}\nlogger: {{csv: {{path: {folder}/x}}}}\n"
    )
    return RunRecord.of(folder)


def test_equal_settings_have_one_hash_wherever_the_run_lies(tmp_path: Path) -> None:
    first = run(tmp_path / "a")
    assert first.config_hash == run(tmp_path / "b").config_hash
    assert first.config_hash == run(tmp_path / "trial", more=", prune: {trial: 3}").config_hash
    assert first.config_hash != run(tmp_path / "c", lr=0.2).config_hash


def test_code_is_its_commit_and_what_is_not_committed(tmp_path: Path) -> None:
    """The same words as a test writes: the difference is hashed as it is, whatever bytes it holds."""
    record = run(tmp_path / "a")
    assert (record.code, record.data_hash) == (UNKNOWN, UNKNOWN)
    difference = b"-a\r\n+\xff b\n"
    (tmp_path / "a" / "git.txt").write_bytes(b"0123\n" + difference + b"\n")
    (tmp_path / "a" / "data.json").write_text(json.dumps({"frame": "world", "data_hash": "abc"}))
    assert record.code == code_state("0123", difference.decode(errors="surrogateescape"))
    assert record.lineage() == {"config_hash": record.config_hash, "data_hash": "abc", "code": record.code}
    (tmp_path / "a" / "git.txt").write_text("0123\n\n")
    assert record.code == "0123"


def test_curves_leave_out_what_was_not_logged(tmp_path: Path) -> None:
    record = run(tmp_path / "a")
    assert record.curves() == {}
    (tmp_path / "a" / "metrics.csv").write_text("step,val/loss,train/loss\n0,,3.0\n4,2.5,1.0\n")
    assert record.curves() == {"val/loss": [(4, 2.5)], "train/loss": [(0, 3.0), (4, 1.0)]}


def test_a_folder_without_a_run_is_answered(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"is no folder of a run: it has no config\.yaml"):
        RunRecord.of(tmp_path)
