"""Make a data set: scenes, depth images and labeled grasps, in one store; ``--help`` lists the overrides."""

import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import hydra
from omegaconf import DictConfig, OmegaConf
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from sceneleapultra.datasets import StoreWriter
from sceneleapultra.hands import load_hand
from sceneleapultra.simulation.generate import GenerateSettings, SceneReport, generate_scenes
from sceneleapultra.simulation.protocols import get_protocol
from sceneleapultra.utils.core.config import build
from sceneleapultra.utils.core.console import card, console, run_app, sentences, setup_logging
from sceneleapultra.utils.core.parallel import Executor

CONTENT = ("seed", "splits", "table", "views", "objects", "scene", "camera", "grasps", "synthesis")


def generate(cfg: DictConfig) -> Path:
    """Make, or continue, the data set that ``cfg`` describes; return its path."""
    with sentences():
        if missing := [key for key in ("path", "scenes") if OmegaConf.is_missing(cfg, key)]:
            raise ValueError(
                f"{missing[0]}: a value is required. Pass {missing[0]}=<value> or dataset=quick."
            )
        content: dict[str, Any] = {key: OmegaConf.to_container(cfg, resolve=True)[key] for key in CONTENT}  # type: ignore[index, call-overload]
        settings: GenerateSettings = build(
            {"_target_": "sceneleapultra.simulation.generate.GenerateSettings", **content}
        )
        hand = load_hand(cfg.hand.name)
        writer = StoreWriter(
            cfg.path,
            hand=hand,
            protocol=settings.grasps.protocol,
            protocol_hash=get_protocol(settings.grasps.protocol).hash,
            generator=content,
            seed=cfg.seed,
        )
        done = {index for index in writer.done_indices() if index < cfg.scenes}
        executor: Executor = build(cfg.launcher)
        if done:
            console.print(f"{len(done)} of {cfg.scenes} scenes are there already; continuing.")
        start, reports = time.monotonic(), list[SceneReport]()
        # Refreshed by hand: a refreshing thread would be running when the workers are forked.
        with Progress(*_columns(), console=console, auto_refresh=False) as progress:
            bar = progress.add_task("scenes", total=cfg.scenes, completed=len(done), good=0)
            for record in generate_scenes(hand, settings, cfg.scenes, executor, done, reports.append):
                writer.write(record)
                progress.update(bar, advance=1, good=sum(sum(r.successes) for r in reports), refresh=True)
        path = writer.finish()
    summary(path, reports, time.monotonic() - start)
    return path


def summary(path: Path, reports: list[SceneReport], wall_s: float) -> None:
    """Print what this run made, by family, and what it cost."""
    attempts, successes, objects = Counter[str](), Counter[str](), Counter[str]()
    solved = Counter[str]()
    for report in reports:
        for family, tried, good in zip(report.families, report.attempts, report.successes, strict=True):
            objects[family] += 1
            attempts[family] += tried
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
    )


def _columns() -> tuple[Any, ...]:
    good = TextColumn("{task.fields[good]} good grasps")
    return TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), good, TimeRemainingColumn()


@hydra.main(version_base="1.3", config_path="../config", config_name="generate")
def main(cfg: DictConfig) -> None:
    """Generate with the configuration composed from ``config/`` and the command line."""
    setup_logging()
    generate(cfg)


if __name__ == "__main__":
    run_app(main, "generate")
