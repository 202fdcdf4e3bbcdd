"""Measure the ranges of grasp poses in each coordinate mode: `compute_statistics.py data.store=data/x.h5`.

Writes <store>.statistics.json: per mode and number of the pose a robust range (percentiles), extremes, mean and
standard deviation, on training batches as they are served (data=..., data/augment=... change them). Options:
modes=[tabletop,...], items=2048 (training items looked at per mode), check=true (compare an existing file with the
store and its own hash, measure nothing).
"""

import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.progress import Progress

from datasets.statistics import describe, labels, packed_successes, read_statistics, write_statistics
from utils.config import CONFIG_DIR, build
from utils.console import console, sentences
from utils.frames import CAMERA_MODES, MODES
from utils.names import unknown_name


def main(words: Sequence[str]) -> int:
    """Measure, or check, what the command line asks for; return the exit status."""
    if {"-h", "--help"} & set(words):
        console.print(__doc__, markup=False)
        return 0
    own = OmegaConf.from_dotlist([w for w in words if w.split("=")[0] in ("modes", "items", "check")])
    options: dict[str, Any] = {
        "modes": list(MODES),
        "items": 2048,
        "check": False,
        **OmegaConf.to_container(own),
    }  # type: ignore[dict-item]
    rest = [w for w in words if w.split("=")[0] not in options]
    with sentences():
        for mode in options["modes"]:
            if mode not in MODES:
                raise unknown_name("mode", mode, MODES)
        document = measure(options["modes"], options["items"], rest, check=options["check"])
    for mode, found in document["modes"].items():
        t = [found["numbers"][f"translation_{a}"] for a in "xyz"]
        ranges = ", ".join(f"{1e3 * n['low']:.0f} to {1e3 * n['high']:.0f}" for n in t)
        console.print(
            f"{mode}: {found['grasps']} grasps, translation {ranges} mm", highlight=False, soft_wrap=True
        )
    console.print(f"{document['path']}", soft_wrap=True)
    return 0


def measure(modes: Sequence[str], items: int, overrides: Sequence[str], *, check: bool) -> dict[str, Any]:
    """Measure the modes on training batches and write the file, or check the one that is there."""
    found: dict[str, Any] = {}
    document: dict[str, Any] = {}
    with Progress(console=console, transient=True) as progress:
        for mode in progress.track(modes):
            with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
                given = any(w.startswith("data/augment") for w in overrides) or mode not in CAMERA_MODES
                augment = [] if given else ["data/augment=camera"]
                cfg = compose("config", overrides=[*overrides, *augment, f"data.frame={mode}"])
            data = build(cfg.data)
            path = Path(f"{cfg.data.store}.statistics.json")
            if check:
                found[mode] = {
                    "grasps": "checked",
                    "numbers": read_statistics(path, data_hash=data.data_hash, mode=mode),
                }
            else:
                batches = -(-items // cfg.data.batch_size)
                values = packed_successes(islice(data.train_dataloader(), batches))
                found[mode] = {
                    "grasps": len(values),
                    "augment": OmegaConf.to_container(cfg.data.augment, resolve=True),
                    "numbers": describe(values, labels(data.hand.joint_names)),
                }
            document = {"data_hash": data.data_hash, "path": str(path), "modes": found}
    if not check:
        write_statistics(Path(document["path"]), {"data_hash": document["data_hash"], "modes": found})
    return document


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
