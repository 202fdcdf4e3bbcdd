"""Measure the statistics that training normalizes poses by: `compute_statistics.py experiment=x [key=value ...]`.

The words are those of train_lightning.py, which does the same at its first run. A file that describes this data and
model already is read instead; it lies in <store>.statistics, or where statistics=<file> says. With
modes=[tabletop,camera_centric] it is done for several coordinate modes (camera modes with data/augment=camera).
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from rich.table import Table

from sceneleapultra.models.checks import check_data
from sceneleapultra.models.module import build_module
from sceneleapultra.models.statistics import statistics_file, statistics_of
from sceneleapultra.utils.core.config import CONFIG_DIR, build
from sceneleapultra.utils.core.console import console, sentences
from sceneleapultra.utils.core.names import unknown_name
from sceneleapultra.utils.geometry.frames import CAMERA_MODES, MODES
from sceneleapultra.utils.training.pose_statistics import Statistics
from sceneleapultra.utils.training.validate import validate


def main(words: Sequence[str]) -> int:
    """Measure, or find, what the command line asks for; return the exit status."""
    if {"-h", "--help"} & set(words):
        console.print(__doc__, markup=False)
        return 0
    chosen = [w for w in words if w.startswith("modes=")]
    rest = [w for w in words if w not in chosen]
    modes: list[Any] = list(OmegaConf.from_dotlist(chosen).modes) if chosen else [None]
    with sentences():
        for mode in modes:
            if mode is not None and mode not in MODES:
                raise unknown_name("mode", mode, MODES)
        for mode in modes:
            report(*find_statistics(compose_training(rest, mode)))
    return 0


def compose_training(overrides: Sequence[str], mode: str | None) -> DictConfig:
    """Return the configuration of training, in another coordinate mode where one is given."""
    words = [*overrides, *([] if mode is None else [f"data.cloud.frame={mode}"])]
    if mode in CAMERA_MODES and not any(w.startswith("data/augment") for w in overrides):
        words.append("data/augment=camera")
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("config", overrides=words)
    validate(cfg)
    return cfg


def find_statistics(cfg: DictConfig) -> tuple[Statistics, Path]:
    """Return the statistics of a configuration, and the file that holds them.

    Raises:
        ValueError: the model needs none, or statistics=<file> describes something else.
    """
    data = build(cfg.data)
    module = build_module(
        cfg.model, cloud=data.cloud, optimizer=build(cfg.optimizer), scheduler=build(cfg.scheduler)
    )
    check_data(module, data)
    data.setup("fit")
    found = statistics_of(module, data, scenes=cfg.normalizer_scenes, path=cfg.statistics)
    if found is None:
        raise ValueError(
            f"{cfg.model.objective._target_} measures no statistics: it learns no poses, or takes them from a teacher."
        )
    return found, statistics_file(data, found.describes, cfg.statistics)


def report(found: Statistics, path: Path) -> None:
    """Print a line for each number of a pose."""
    title = f"{found.describes['frame']}: {found.count} grasps of {found.describes['scenes']} items"
    table = Table(title=title, title_justify="left", box=None)
    headings = ("number", "low", "high", "mean", "std")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "number" else "right", no_wrap=True)
    for name, entry in found.numbers.items():
        table.add_row(name, *(f"{entry[key]:.4f}" for key in headings[1:]))
    console.print(table)
    console.print(f"{path}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
