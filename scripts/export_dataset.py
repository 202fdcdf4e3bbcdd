"""Write a store as a folder that other people's code reads: `export_dataset.py STORE DEST --format sceneleapplus`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rich.progress import Progress

from sceneleapultra.datasets import GraspStore
from sceneleapultra.datasets.foreign.exporters import EXPORTERS
from sceneleapultra.hands import load_hand
from sceneleapultra.utils.core.console import console, sentences, setup_logging
from sceneleapultra.utils.core.names import unknown_name


def main(words: Sequence[str]) -> int:
    """Export what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path, help="the data set (.h5)")
    parser.add_argument("dest", type=Path, help="the folder to write")
    parser.add_argument("--format", required=True, help=f"one of {', '.join(EXPORTERS)}")
    arguments = parser.parse_args(words)
    setup_logging()
    with sentences():
        if arguments.format not in EXPORTERS:
            raise unknown_name("--format", arguments.format, EXPORTERS)
        hand = load_hand(GraspStore(arguments.store).attributes["hand_name"])
        store = GraspStore(arguments.store, hand)
        with Progress(console=console, transient=True) as progress:
            bar = progress.add_task("scenes", total=store.num_scenes)
            EXPORTERS[arguments.format](
                store, hand, arguments.dest, lambda done: progress.update(bar, completed=done)
            )
    console.print(
        f"{store.num_scenes} scenes of {store.path} written to {arguments.dest} ({arguments.format})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
