"""All that only a GPU shows, in ten minutes: each part has its share of them and its own file.

    python -m benchmarks.gpu                      # make bench-gpu
    python -m benchmarks.gpu --rehearsal          # the same commands in small, on a CPU; its numbers mean nothing

Parts are programs of their own, what matters most first, and write what they have after every row: one that is cut off
at the end of its share, or fails, loses nothing that was measured and takes nothing from the others. ``summary.json``
says what became of each.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import RESULTS, ROOT, command_line, write

SHARES_S = {"sampler": 100, "training": 190, "tests": 130, "encoders": 150}  # 30 s are left for starts
_GPU = "pytest.mark." + "gpu"
_ENCODERS = ["pointnet2", "pointnet2_predecessor", "ptv3_light", "reference"]


def main() -> None:
    """Run the parts in turn."""
    parser = command_line(__doc__)
    parser.add_argument("--rehearsal", action="store_true")
    parser.add_argument("--parts", nargs="+", choices=SHARES_S, default=list(SHARES_S))
    parser.add_argument("--out", type=Path, default=RESULTS / "gpu")
    options = parser.parse_args()
    if not options.rehearsal and not torch.cuda.is_available():
        sys.exit(
            f"torch {torch.__version__} sees no CUDA device here. Pass --rehearsal to try the commands on a CPU."
        )
    device = "cpu" if options.rehearsal else "cuda"
    options.out.mkdir(parents=True, exist_ok=True)
    outcomes: dict[str, dict[str, Any]] = {}
    for name in options.parts:
        start = time.monotonic()
        print(f"{name}, at most {SHARES_S[name]} s", flush=True)
        outcomes[name] = {"outcome": run(command_of(name, device, options.out), SHARES_S[name])}
        outcomes[name]["seconds"] = round(time.monotonic() - start)
        print(f"{name}: {outcomes[name]['outcome']}", flush=True)
        write(
            {"rehearsal": options.rehearsal, "parts": outcomes},
            options.out / "summary.json",
            seed=0,
            device=device,
        )
    if any(part["outcome"].startswith("failed") for part in outcomes.values()):
        sys.exit(1)


def command_of(name: str, device: str, folder: Path) -> list[str]:
    """Return the command of a part, in small for a CPU."""
    small = device == "cpu"
    if name == "tests":
        # On a CPU the tests are collected, and not run: they need a GPU.
        how = ["--collect-only"] if small else [f"--junit-xml={folder / 'tests.xml'}"]
        files = [
            str(path) for path in sorted((ROOT / "tests").rglob("test_*.py")) if _GPU in path.read_text()
        ]
        return [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu", *how, *files]
    if name == "encoders":
        size = ["--encoders", "pointnet2_small", "--points", "1000", "--batch", "1"]
        size = size if small else ["--encoders", *_ENCODERS, "--points", "4000", "10000"]
        out = ["--out", str(folder / "encoders.json")]
        return [sys.executable, "-m", "benchmarks.encoders", "--device", device, *size, *out]
    return [
        sys.executable,
        "-m",
        "benchmarks.gpu_work",
        name,
        "--device",
        device,
        "--out",
        str(folder / f"{name}.json"),
    ]


def run(command: list[str], limit_s: float) -> str:
    """Run a part with all that it starts; return ``done``, ``cut off …`` or ``failed …``."""
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    try:
        status = process.wait(limit_s)
    except subprocess.TimeoutExpired:
        return f"cut off after {limit_s:g} s; its file holds what was measured until then"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return "done" if status == 0 else f"failed with status {status}"


if __name__ == "__main__":
    main()
