"""The cards of a training run: what it trains on what at its start, the checkpoint and the next command at its end."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from sceneleapultra.utils.core.console import card, shown
from sceneleapultra.utils.core.overrides import written
from sceneleapultra.utils.training.run_folder import git_state

if TYPE_CHECKING:
    from torch import nn


@contextlib.contextmanager
def run_cards(cfg: DictConfig, model: nn.Module, trainer: Any, *facts: Any) -> Iterator[None]:
    """Print the card of the start, and the one of the end with the time between them; see the functions below."""
    print_start_card(cfg, model, trainer, *facts)
    start = time.monotonic()
    yield
    print_end_card(cfg, trainer, time.monotonic() - start)


def print_start_card(
    cfg: DictConfig,
    model: nn.Module,
    trainer: Any,
    overrides: list[str],
    resumed_step: int,
    changed: list[str],
) -> None:
    """Print what is trained, on what, and where it is written."""
    commit, difference = git_state()
    parts = ", ".join(f"{name} {amount(n)}" for name, n in parameters(model).items())
    micro, accumulation, world = cfg.data.batch_size, trainer.accumulate_grad_batches, trainer.world_size
    divided = getattr(model, "passes", None)
    passes = (
        f", each computed in {divided.number} passes" if divided is not None and divided.number > 1 else ""
    )
    start = (
        f"continues from step {resumed_step}"
        if resumed_step
        else "starts fresh (no checkpoints/last.ckpt in it)"
    )
    if changed:
        start += f"; changed since: {', '.join(changed)}"
    rows = {
        "run folder": "none: dry run" if cfg.dry_run else f"{cfg.run_dir}, {start}",
        "commit": commit[:10] + (" + uncommitted changes" if difference else ""),
        "overrides": " ".join(overrides) or "none",
        "hand": cfg.hand.name,
        "parameters": f"{amount(sum(parameters(model).values()))}: {parts}",
        "devices": f"{world} x {trainer.strategy.root_device.type}, precision {trainer.precision}"
        + (", weights divided among them (FSDP)" if cfg.trainer.strategy == "fsdp" else ""),
        "batch": f"{micro} scenes x {accumulation} accumulated x {world} processes = {micro * accumulation * world}"
        + passes,
        "memory": getattr(model, "memory_note", "") or "`sceneleap plan` with these overrides foretells it",
        "steps": str(cfg.trainer.max_steps),
    }
    if phases := OmegaConf.select(cfg, "data.loading.progressive"):
        rows["phases"] = (
            "; ".join(f"{p.steps} steps of {p.batch_size} scenes with {p.points} points" for p in phases)
            + "; then as above"
        )
    commands = {}
    if not cfg.dry_run and "tensorboard" in cfg.logger:
        commands["curves"] = f"tensorboard --logdir {shlex.quote(shown(cfg.run_dir))}"
    elif not cfg.dry_run:
        rows["curves"] = f"{cfg.run_dir}/metrics.csv"
    card(cfg.name, rows, commands)


def print_end_card(cfg: DictConfig, trainer: Any, seconds: float) -> None:
    """Print the steps, the best checkpoint and the command that tests it."""
    if cfg.dry_run:
        rows = {
            "one batch": f"forward, backward, validation: {seconds:.1f} s",
            "next": "the same command without dry_run=true",
        }
        card("dry run passed", rows)
        return
    best = next((c for c in trainer.checkpoint_callbacks if getattr(c, "best_model_path", "")), None)
    checkpoint = best.best_model_path if best else str(Path(cfg.run_dir) / "checkpoints" / "last.ckpt")
    rows = {"steps": f"{trainer.global_step} in {seconds / 60:.1f} min"}
    if best and best.best_model_score is not None:
        rows["best"] = f"{best.monitor} {float(best.best_model_score):.4g}"
    rows["checkpoint"] = shown(checkpoint)
    command, key = trainer.lightning_module.objective.next_step
    named = [shlex.quote(f"plugins=[{','.join(cfg.plugins)}]")] if cfg.plugins else []
    card(
        "stopped" if trainer.interrupted or trainer.should_stop else "finished",
        rows,
        {"next": " ".join([command, written(key, shown(checkpoint)), *named])},
    )


def parameters(model: nn.Module) -> dict[str, int]:
    """Count the parameters of the parts of a module's children; parts without any are left out."""
    parts = [part for _, child in model.named_children() for part in child.named_children()]
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in parts}
    return {name: n for name, n in counts.items() if n}


def amount(n: int) -> str:
    """Write a count with a unit: 950, 12.3 k, 4.56 M."""
    if n < 1000:
        return str(n)
    return f"{n / 1e3:.3g} k" if n < 1e6 else f"{n / 1e6:.3g} M"
