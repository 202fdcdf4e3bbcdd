"""Measure the statistics by which training normalizes poses; ``--help`` lists the overrides."""

from __future__ import annotations

import sceneleapultra.utils.core.environment  # noqa: F401

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig
from rich.table import Table

from sceneleapultra.utils.core.cli import hydra_program
from sceneleapultra.utils.core.config import build
from sceneleapultra.utils.core.console import console, say
from sceneleapultra.utils.core.plugins import use_plugins

if TYPE_CHECKING:
    from sceneleapultra.utils.training.pose_statistics import Statistics


def find_statistics(cfg: DictConfig) -> tuple[Statistics, Path]:
    """Return the statistics of a training configuration, and the file that holds them.

    Raises:
        ValueError: the model needs none, or statistics=<file> describes something else.
    """
    from sceneleapultra.datasets.store.missing import check_data_there
    from sceneleapultra.utils.training.validate import validate

    check_data_there(cfg)
    validate(cfg)
    from sceneleapultra.models.checks import check_data
    from sceneleapultra.models.module import build_module
    from sceneleapultra.models.statistics import statistics_file, statistics_of

    use_plugins(cfg.plugins)
    data = build(cfg.data)
    parts = {name: build(cfg[name]) for name in ("optimizer", "scheduler")}
    module = build_module(cfg.model, cloud=data.cloud, **parts)
    check_data(module, data)
    data.setup("fit")
    found = statistics_of(module, data, scenes=cfg.normalizer_scenes, path=cfg.statistics)
    if found is None:
        raise ValueError(
            f"{cfg.model.objective._target_} measures no statistics: it learns no poses, or takes them from a teacher."
        )
    return found, statistics_file(data, found.describes, cfg.statistics)


def print_statistics(found: Statistics, path: Path) -> None:
    """Print a line for each number of a pose."""
    title = f"{found.describes['frame']}: {found.count} grasps of {found.describes['scenes']} items"
    table = Table(title=title, title_justify="left", box=None)
    headings = ("number", "low", "high", "mean", "std")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "number" else "right", no_wrap=True)
    for name, entry in found.numbers.items():
        table.add_row(name, *(f"{entry[key]:.4f}" for key in headings[1:]))
    console.print(table)
    say(str(path))


@hydra_program("compute_statistics")
def main(cfg: DictConfig) -> None:
    """Measure with the configuration of training, composed from ``config/`` and the command line."""
    print_statistics(*find_statistics(cfg))


if __name__ == "__main__":
    main()
