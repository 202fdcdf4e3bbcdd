"""Is a data set sound, and what is in it? Prints problems and counts, exits with status 1 on a problem.

python scripts/inspect_dataset.py data/quick.h5 --html report.html
"""

from __future__ import annotations

import sceneleapultra.utils.core.environment  # noqa: F401

from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from sceneleapultra.utils.core import cli
from sceneleapultra.utils.core.console import ProgressBars, console, say
from sceneleapultra.utils.core.files import make_folder

if TYPE_CHECKING:
    from sceneleapultra.datasets import GraspStore
    from sceneleapultra.datasets.inspection import Inspection


def inspect(store: str, *, html: Path | None = None, hand: str | None = None) -> int:
    """Inspect a data set and report; return the exit status.

    Args:
        store: the data set: a file (.h5), a pattern, or a manifest (.json)
        html: write a page with pictures here
        hand: name or model file of the hand; by default the one named in the store
    """
    from sceneleapultra.datasets.store.missing import check_there

    check_there(store)
    from sceneleapultra.datasets import GraspStore, inspection
    from sceneleapultra.evaluation.dataset_page import write_dataset_page
    from sceneleapultra.hands import load_hand

    if html is not None:
        make_folder(html.parent)
    loaded_hand = load_hand(hand or GraspStore(store).attributes["hand_name"])
    opened = GraspStore(store, loaded_hand)
    with ProgressBars(transient=True) as bars:
        advance = bars.start_bar("scenes", opened.num_scenes)
        found = inspection.inspect(opened, loaded_hand, lambda scenes: advance(completed=scenes))
    print_summary(opened, found)
    if html is not None:
        say(f"report: {write_dataset_page(opened, loaded_hand, found, html)}")
    return 1 if found.problems else 0


def print_summary(store: GraspStore, found: Inspection) -> None:
    """Print counts and problems."""
    from sceneleapultra.datasets import SPLITS
    from sceneleapultra.evaluation.dataset_page import (
        HEADINGS,
        LISTED,
        family_rows,
        quality_lines,
        type_line,
    )

    for split in SPLITS:
        counts = {family: c for (s, family), c in sorted(found.counts.items()) if s == split}
        if not counts:
            continue
        title = f"{split}: {found.scenes[split]} scenes, {found.views[split]} views"
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for heading in HEADINGS:
            table.add_column(heading, justify="left" if heading == "family" else "right", no_wrap=True)
        for cells in family_rows(counts):
            table.add_row(*cells)
        console.print(table)
    for line in (*quality_lines(list(found.objects.values())), type_line(found)):
        say(line)
    say(f"content hash {store.content_hash}")
    for problem in found.problems[:LISTED]:
        say(f"problem: {problem}", "bold red")
    if (more := len(found.problems) - LISTED) > 0:
        console.print(f"and {more} more problems", style="bold red")
    if not found.problems:
        console.print("no problems", style="green")


def main() -> None:
    """Inspect what the command line names."""
    cli.run(inspect, __doc__)


if __name__ == "__main__":
    main()
