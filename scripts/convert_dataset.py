"""Turn a foreign data set into a store: `python scripts/convert_dataset.py SOURCE DEST --format bodex [key=value ...]`.

A killed conversion continues with the same command. Keys are those of config/conversion/<format>.yaml, without the
group: grasps.max_grasps=64 reader.objects=/data/objects hand=allegro_right.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sceneleapultra.datasets.foreign.readers import Conversion, Report, Summary
from sceneleapultra.datasets.store.schema import parts_folder
from sceneleapultra.utils.core.config import CONFIG_DIR, build
from sceneleapultra.utils.core.console import card, console, sentences, setup_logging
from sceneleapultra.utils.core.names import unknown_name

FORMATS = sorted(p.stem for p in (CONFIG_DIR / "conversion").glob("*.yaml") if p.stem != "common")
_LISTED = 10


def main(words: Sequence[str]) -> int:
    """Convert what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="the folder of the foreign data set")
    parser.add_argument("dest", type=Path, help="the store to write (.h5)")
    parser.add_argument("--format", required=True, help=f"one of {', '.join(FORMATS)}")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings of the conversion")
    arguments = parser.parse_intermixed_args(words)
    setup_logging()
    with sentences():
        conversion = configured(arguments.format, arguments.overrides)
        convert(conversion, arguments.source, arguments.dest)
    return 0


def configured(name: str, overrides: Sequence[str]) -> Conversion:
    """Build the conversion of a format.

    Raises:
        ValueError: no such format or key, or a wrong value.
    """
    if name not in FORMATS:
        raise unknown_name("--format", name, FORMATS)
    words = [o if _is_group(o) else f"conversion.{o}" for o in overrides]
    try:
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            cfg = compose("convert", overrides=[f"conversion={name}", *words])
    except HydraException as error:
        raise ValueError(f"{str(error).splitlines()[0]} Keys: config/conversion/{name}.yaml.") from error
    return build(cfg.conversion)


def _is_group(override: str) -> bool:
    """Tell hand=<name of config/hand> from hand=<path of a model file>."""
    return override.startswith("hand=") and not override.endswith((".urdf", ".xml"))


def convert(conversion: Conversion, source: Path, dest: Path) -> Summary:
    """Convert under a progress bar, and say what became of the source."""
    if parts_folder(dest).is_dir():
        console.print(f"{parts_folder(dest)} is there already; continuing.")
    start = time.monotonic()
    # Refreshed by hand: a refreshing thread would be running when the workers are forked.
    text = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*text, console=console, auto_refresh=False) as progress:
        bar = progress.add_task("scenes", total=None)

        def advance(report: Report, total: int) -> None:
            progress.update(bar, advance=1, total=total, refresh=True)

        summary = conversion(source, dest, advance)
    _say(summary, time.monotonic() - start)
    return summary


def _say(summary: Summary, seconds: float) -> None:
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
        console.print(f"{report.status}: {report.reason}", markup=False, highlight=False, soft_wrap=True)
    if len(left_out) > _LISTED:
        console.print(f"and {len(left_out) - _LISTED} more, all in {summary.store}.left_out.json")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
