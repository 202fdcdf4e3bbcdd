"""Make a data set: scenes, depth images and labeled grasps, in one store; ``--help`` lists the overrides."""

from __future__ import annotations

import sceneleapultra.utils.core.environment  # noqa: F401

import shlex
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from rich.table import Table

from sceneleapultra.utils.core.cli import hydra_program
from sceneleapultra.utils.core.config import build
from sceneleapultra.utils.core.console import (
    ProgressBars,
    card,
    console,
    say,
    setup_logging,
)
from sceneleapultra.utils.core.files import make_folder
from sceneleapultra.utils.core.overrides import written
from sceneleapultra.utils.core.plugins import use_plugins
from sceneleapultra.utils.core.signals import says_where

if TYPE_CHECKING:
    from sceneleapultra.simulation.generate import GenerateSettings, SceneReport

CONTENT = ("seed", "splits", "table", "views", "objects", "scene", "camera", "grasps", "synthesis")


def generate(cfg: DictConfig) -> Path:
    """Make, or continue, the data set that ``cfg`` describes; return its path."""
    make_folder(Path(cfg.path).parent)
    from sceneleapultra.datasets import StoreWriter
    from sceneleapultra.datasets.store.pieces import Share
    from sceneleapultra.hands import load_hand
    from sceneleapultra.simulation.generate import generate_scenes, prepare_objects
    from sceneleapultra.simulation.protocols import get_protocol

    use_plugins(cfg.plugins)
    share = Share(0, 1) if cfg.shard is None else Share.parse(str(cfg.shard))
    scenes = share.scenes(cfg.scenes)
    content: dict[str, Any] = {key: OmegaConf.to_container(cfg, resolve=True)[key] for key in CONTENT}  # type: ignore[index, call-overload]
    settings: GenerateSettings = build(
        {"_target_": "sceneleapultra.simulation.generate.GenerateSettings", **content}
    )
    hand = load_hand(cfg.hand.name)
    executor = build(cfg.launcher)
    with ProgressBars(transient=True) as bars:
        source = prepare_objects(hand, settings, executor, stage_bars(bars))
    writer = StoreWriter(
        cfg.path if cfg.shard is None else share.path(Path(cfg.path)),
        hand=hand,
        protocol=settings.grasps.protocol,
        protocol_hash=get_protocol(settings.grasps.protocol).hash,
        generator=content,
        seed=cfg.seed,
    )
    writer.check_scenes(scenes)
    if writer.was_there:
        console.print(f"{writer.path} is there already, made with these settings.", soft_wrap=True)
        return writer.path
    done = writer.done_indices() & set(scenes)
    if done:
        say(f"{len(done)} of {len(scenes)} scenes are there already; continuing.")
    start = time.monotonic()
    reports: list[SceneReport] = []

    def where() -> str:
        return f"with {len(writer.done_indices())} of {len(scenes)} scenes done"

    with says_where(where), ProgressBars() as bars:
        advance = bars.start_bar("scenes", len(scenes), completed=len(done))
        for record in generate_scenes(
            hand, settings, source, scenes.stop, executor, {*range(scenes.start), *done}, reports.append
        ):
            writer.write(record)
            advance(note=f"{sum(sum(r.successes) for r in reports)} good grasps")
    path = writer.finish()
    summary(path, reports, time.monotonic() - start, cfg.hand.name)
    return path


def stage_bars(bars: ProgressBars) -> Callable[[str, int, int], None]:
    """Return what shows one bar per stage: its name, how much is done, of how much."""
    advance: dict[str, Callable[..., None]] = {}

    def progress(stage: str, done: int, total: int) -> None:
        if stage not in advance:
            advance[stage] = bars.start_bar(stage, total)
        advance[stage](completed=done)

    return progress


def summary(path: Path, reports: list[SceneReport], wall_s: float, hand: str) -> None:
    """Print what this run made of a hand, by family, and what it cost."""
    attempts, successes, objects = Counter[str](), Counter[str](), Counter[str]()
    solved = Counter[str]()
    for report in reports:
        for family, attempted, good in zip(report.families, report.attempts, report.successes, strict=True):
            objects[family] += 1
            attempts[family] += attempted
            successes[family] += good
            solved[family] += good > 0
    table = Table(title="grasps by family", title_justify="left", box=None)
    for heading in ("family", "objects", "with a grasp", "attempts", "successful", "success"):
        table.add_column(heading, justify="left" if heading == "family" else "right")
    for family in sorted(objects):
        rate = successes[family] / max(1, attempts[family])
        cells = (objects[family], solved[family], attempts[family], successes[family], f"{rate:.0%}")
        table.add_row(family, *map(str, cells))
    console.print(table)
    good, cpu_s = successes.total(), sum(r.dropped_s + r.rendered_s + r.grasped_s for r in reports)
    splits = Counter(r.split for r in reports)
    card(
        "data set",
        {
            "scenes": f"{len(reports)} ({', '.join(f'{n} {split}' for split, n in sorted(splits.items()))})",
            "objects": f"{objects.total()}, {solved.total()} with a successful grasp",
            "grasps": f"{good} successful of {attempts.total()} attempts",
            "time": f"{wall_s:.0f} s, {cpu_s:.0f} s of processor time",
            "rate": f"{good / max(wall_s, 1e-9):.1f} successful grasps per second, "
            f"{good / max(cpu_s, 1e-9):.1f} per second of one core",
            "store": path,
        },
        {
            "look at it": f"python scripts/inspect_dataset.py {shlex.quote(str(path))} --html data.html"
            + (f" --hand {shlex.quote(hand)}" if Path(hand).suffix else ""),
            "train on it": f"python train_lightning.py experiment=quickstart {written('data.store', path)}"
            + ("" if hand == "leap_right" else f" {written('hand', hand)}"),
        },
    )


@hydra_program("generate")
def main(cfg: DictConfig) -> None:
    """Generate with the configuration composed from ``config/`` and the command line."""
    setup_logging()
    generate(cfg)


if __name__ == "__main__":
    main()
