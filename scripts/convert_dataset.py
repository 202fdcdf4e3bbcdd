"""Turn a foreign data set into a store; ``--help`` lists the overrides. A killed conversion continues."""

from __future__ import annotations

import sceneleapultra.utils.core.environment  # noqa: F401

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from sceneleapultra.utils.core.cli import hydra_program
from sceneleapultra.utils.core.config import build
from sceneleapultra.utils.core.console import (
    ProgressBars,
    card,
    say,
    setup_logging,
)
from sceneleapultra.utils.core.files import make_folder
from sceneleapultra.utils.core.signals import says_where

if TYPE_CHECKING:
    from sceneleapultra.datasets.foreign.readers import Report, Summary

_LISTED = 10  # scenes that were left out, on the terminal


def convert(cfg: DictConfig) -> Summary:
    """Convert what ``cfg`` names under a progress bar; return what became of the source."""
    from sceneleapultra.datasets.store.schema import parts_folder

    make_folder(Path(cfg.dest).parent)
    conversion, source, dest = build(cfg.conversion), Path(cfg.source), Path(cfg.dest)
    if parts_folder(dest).is_dir():
        say(f"{parts_folder(dest)} is there already; continuing.")
    start = time.monotonic()
    read = 0
    with says_where(lambda: f"with {read} scenes read"), ProgressBars() as bars:
        advance = bars.start_bar("scenes", None)

        def report(_: Report, total: int) -> None:
            nonlocal read
            read += 1
            advance(total=total)

        summary: Summary = conversion(source, dest, report)
    print_summary(summary, time.monotonic() - start)
    return summary


def print_summary(summary: Summary, seconds: float) -> None:
    """Print what was written, what was left out and why."""
    written, left_out = summary.counted("written"), summary.counted("skipped") + summary.counted("bad")
    splits, grasps = Counter(r.split for r in written), summary.grasps
    rows: dict[str, Any] = {
        "scenes read": f"{len(summary.reports)}, {summary.already} more by an earlier run",
        "written": f"{len(written)} ({', '.join(f'{n} {s}' for s, n in sorted(splits.items()))})",
        "grasps": f"{grasps.written} written, {grasps.dropped} dropped (of objects of another split, or above "
        f"max_grasps), {grasps.moved} left out because their wrist moves",
        "wrist": f"moves at most {1e3 * grasps.motion_m:.1f} mm and {grasps.motion_deg:.1f} deg in what is written",
        "left out": f"{len(summary.counted('skipped'))} without a grasp, {len(summary.counted('bad'))} bad",
        "time": f"{seconds:.0f} s",
        "store": summary.store,
    }
    card("converted", rows)
    for report in left_out[:_LISTED]:
        say(f"{report.status}: {report.reason}")
    if len(left_out) > _LISTED:
        say(f"and {len(left_out) - _LISTED} more, all in {summary.store}.left_out.json")


@hydra_program("convert")
def main(cfg: DictConfig) -> None:
    """Convert with the configuration composed from ``config/convert.yaml`` and the command line."""
    setup_logging()
    convert(cfg)


if __name__ == "__main__":
    main()
