"""Write a store as a folder that other people's code reads.

python scripts/export_dataset.py data/quick.h5 exported/ --format sceneleapplus
"""

import sceneleapultra.utils.core.environment  # noqa: F401

from pathlib import Path

from sceneleapultra.utils.core import cli
from sceneleapultra.utils.core.console import ProgressBars, say, setup_logging
from sceneleapultra.utils.core.files import make_folder
from sceneleapultra.utils.core.names import unknown_name


def export(store: Path, dest: Path, *, format: str) -> None:
    """Export a data set.

    Args:
        store: the data set (.h5)
        dest: the folder to write
        format: sceneleapplus or another format of datasets/foreign/exporters

    Raises:
        ValueError: no such format.
    """
    from sceneleapultra.datasets.store.missing import check_there

    check_there(store)
    from sceneleapultra.datasets import GraspStore
    from sceneleapultra.datasets.foreign.exporters import EXPORTERS
    from sceneleapultra.hands import load_hand

    setup_logging()
    make_folder(dest.parent)
    if format not in EXPORTERS:
        raise unknown_name("--format", format, EXPORTERS)
    hand = load_hand(GraspStore(store).attributes["hand_name"])
    source = GraspStore(store, hand)
    with ProgressBars() as bars:
        advance = bars.start_bar("scenes", source.num_scenes)
        EXPORTERS[format](source, hand, dest, lambda done: advance(completed=done))
    say(f"{source.num_scenes} scenes of {source.path} written to {dest} ({format})")


def main() -> None:
    """Export what the command line names."""
    cli.run(export, __doc__)


if __name__ == "__main__":
    main()
