"""What a second worker of a cluster brings: scenes a second of one worker and of two, in turn, and the efficiency.

    ray start --head && python -m benchmarks.scaling --launcher ray
    SLURM_CONF=... python -m benchmarks.scaling --launcher slurm

The cluster is there already. What is counted begins when as many scenes are done as there are workers, so without
starts. Beside other work on the machine wall time means little, so the processor time that the workers spend on a scene
is written, too, and the load at the start of each run. The stores of all runs must have the same hash.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, ROOT, command_line, table, write
from sceneleapultra.datasets import GraspStore
from sceneleapultra.datasets.store.schema import parts_folder

# Words in the commands of processes that make scenes.
_WORKERS = {"ray": "ray::_work", "slurm": "sceneleapultra.utils.clusters.worker"}


def main() -> None:
    """Generate in turn, and write."""
    parser = command_line(__doc__)
    parser.add_argument("--launcher", choices=("ray", "slurm"), required=True)
    parser.add_argument("--overrides", nargs="*", default=[], help="of the generation: launcher.address=...")
    parser.add_argument("--scenes", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/scaling_<launcher>.json")
    options = parser.parse_args()
    runs: list[dict[str, Any]] = []
    document: dict[str, Any] = {"scenes": options.scenes, "runs": runs}
    out = options.out or RESULTS / f"scaling_{options.launcher}.json"
    for number in range(options.rounds):
        for workers in (1, 2) if number % 2 == 0 else (2, 1):
            runs.append(generate(options.launcher, workers, options.scenes, options.overrides))
            print(runs[-1], flush=True)
            write(document, out, seed=0)
    if len({run["hash"] for run in runs}) != 1:
        sys.exit("The stores differ: what a generation makes depended on its workers.")
    for name in ("scenes_per_s", "processor_s_per_scene"):
        document[name] = {
            str(n): statistics.median(r[name] for r in runs if r["workers"] == n) for n in (1, 2)
        }
    rate, processor = (document[name] for name in ("scenes_per_s", "processor_s_per_scene"))
    document["efficiency"] = round(rate["2"] / (2 * rate["1"]), 3)
    document["processor_efficiency"] = round(processor["1"] / processor["2"], 3)
    write(document, out, seed=0)
    row = [options.launcher, *(f"{value:.3f}" for value in (*rate.values(), *processor.values()))]
    row += [f"{100 * document[name]:.0f} %" for name in ("efficiency", "processor_efficiency")]
    header = [
        "launcher",
        *(f"{n} of {w}" for n in ("scenes/s", "processor s/scene") for w in ("1 worker", "2 workers")),
    ]
    print(table([*header, "efficiency", "by processor time"], [row]))


def generate(launcher: str, workers: int, scenes: int, overrides: list[str]) -> dict[str, Any]:
    """Generate a small store, and time its scenes."""
    with tempfile.TemporaryDirectory(dir=ROOT / "data") as folder:
        path = Path(folder, "store.h5")
        words = [
            "dataset=quick",
            f"path={path}",
            f"scenes={scenes}",
            f"workers={workers}",
            f"launcher={launcher}",
        ]
        words += [f"launcher.folder={folder}/jobs"] if launcher == "slurm" else []
        words += overrides
        load = os.getloadavg()[0]
        done: list[
            tuple[float, float]
        ] = []  # wall time and the workers' processor time at the end of each scene
        spent: dict[int, float] = {}
        program = subprocess.Popen(
            [sys.executable, "scripts/generate_dataset.py", *words], cwd=ROOT, stdout=subprocess.DEVNULL
        )
        while program.poll() is None:
            there = len(list(parts_folder(path).glob("[0-9]*.npz")))
            spent |= processor_s(_WORKERS[launcher])
            done += [(time.monotonic(), sum(spent.values()))] * (there - len(done))
            time.sleep(0.1)
        if program.returncode:
            sys.exit(f"the generation ended with status {program.returncode}")
        content = GraspStore(str(path)).content_hash
    count = len(done) - workers
    wall, processor = (end - begin for begin, end in zip(done[workers - 1], done[-1], strict=True))
    return {
        "workers": workers,
        "scenes_per_s": round(count / wall, 4),
        "processor_s_per_scene": round(processor / count, 3),
        "load": round(load, 2),
        "hash": content,
    }


def processor_s(words: str) -> dict[int, float]:
    """Return the processor time so far of each process whose command holds these words, by its number."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if words in (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                found[int(folder.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except (FileNotFoundError, ProcessLookupError):  # it has ended
            continue
    return found


if __name__ == "__main__":
    main()
