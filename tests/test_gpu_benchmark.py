"""Does the script for a GPU machine lose nothing when a part of it is cut off, and run to its end in small on a CPU?"""

import json
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks import gpu


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_how_to_try_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu", "--out", str(tmp_path / "out")])
    with pytest.raises(
        SystemExit, match=r"sees no CUDA device here. Pass --rehearsal to try the commands on a CPU."
    ):
        gpu.main()
    assert not (tmp_path / "out").exists()


def test_a_part_ends_with_its_share_and_leaves_what_it_has(tmp_path: Path) -> None:
    file = tmp_path / "row"
    code = f"import pathlib, time; pathlib.Path({str(file)!r}).write_text('measured'); time.sleep(60)"
    start = time.monotonic()
    assert gpu.run([sys.executable, "-c", code], 1.0).startswith("cut off after 1 s")
    assert time.monotonic() - start < 30 and file.read_text() == "measured"
    assert gpu.run([sys.executable, "-c", "raise SystemExit(3)"], 60.0) == "failed with status 3"
    assert sum(gpu.SHARES_S.values()) <= 570, "ten minutes, with half a one for starts"


@pytest.mark.slow
def test_a_rehearsal_runs_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = ["sampler", "encoders"]
    monkeypatch.setattr(sys, "argv", ["gpu", "--rehearsal", "--parts", *parts, "--out", str(tmp_path)])
    gpu.main()
    found = json.loads((tmp_path / "summary.json").read_text())["parts"]
    assert {name: part["outcome"] for name, part in found.items()} == dict.fromkeys(parts, "done")
    rows = json.loads((tmp_path / "sampler.json").read_text())["rows"]
    assert rows["fp32"]["ms"] > 0 and rows["fp32 compiled"] == {"outcome": "not run: it needs a GPU"}
    assert json.loads((tmp_path / "encoders.json").read_text())["cells"]
