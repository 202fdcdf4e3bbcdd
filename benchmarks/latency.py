"""What do encoding, denoising, sampling and a training step cost, in operations and time, beside another commit?

    git worktree add ../before v0.2.0
    python -m benchmarks.latency --against ../before

Each checkout has one process on one thread; the two are asked for one call after the other, in turn, so that whatever
else the machine does falls on both. Time is the process's own. An operation is whatever reaches torch's dispatcher; a
launch is one that computes something: no view, no empty memory. They are counted for what they mean to a GPU, so with
work cut into as few pieces as there, not into those that fit a CPU's cache. Writes benchmarks/results/latency.json.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, command_line, table, write
from benchmarks.latency_work import WORK

HERE = Path(__file__).resolve().parent.parent
WORKER = "import sys; sys.path.insert(0, sys.argv[1]); from latency_work import work_of; work_of(sys.argv[2])"


def main() -> None:
    """Measure both checkouts in turn, print a table and write the file."""
    parser = command_line(__doc__)
    parser.add_argument("--against", type=Path, required=True, help="checkout of the commit to compare with")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", nargs="+", choices=WORK, default=list(WORK))
    parser.add_argument("--out", type=Path, default=RESULTS / "latency.json")
    arguments = parser.parse_args()
    sides = {"before": Side(arguments.against.resolve()), "after": Side(HERE)}
    rows: dict[str, dict[str, Any]] = {}
    for name in arguments.only:
        counts = {side: process.ask("count", name) for side, process in sides.items()}
        spent: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(arguments.rounds):
            for side, process in sides.items():
                spent[side].append(process.ask("time", name))
        ratios = sorted(a / b for b, a in zip(spent["before"], spent["after"], strict=True))
        rows[name] = {
            **{side: {**counts[side], "ms": round(_median(spent[side]), 2)} for side in sides},
            "time_ratio": round(_median(ratios), 3),
            "time_ratio_quartiles": [round(ratios[len(ratios) * q // 4], 3) for q in (1, 3)],
        }
        print(json.dumps({name: rows[name]}), file=sys.stderr, flush=True)
    head = ["", "operations", "launches", "ms", "time, after / before"]
    lines = [
        [
            name,
            *(f"{r['before'][key]} → {r['after'][key]}" for key in ("operations", "launches", "ms")),
            f"{r['time_ratio']:.2f}",
        ]
        for name, r in rows.items()
    ]
    print(table(head, lines))
    facts = {"threads": 1, "rounds": arguments.rounds, "against": _commit_of(arguments.against)}
    write({**facts, "measured": rows}, arguments.out, seed=0)


class Side:
    """A process that runs the work of one checkout when it is asked to."""

    def __init__(self, checkout: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(HERE / "benchmarks"), str(checkout)],
            cwd=checkout,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, what: str, name: str) -> Any:
        """Return what the process measured."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(what, name, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"The measurement of {name} ended without a result; its error is above.")
        return json.loads(line)


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def _commit_of(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty=+"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
