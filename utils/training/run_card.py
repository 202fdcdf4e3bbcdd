"""What a run says about itself when it starts and when it ends."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch import nn

from sceneleapultra.utils.training.run_folder import git_state


def opening(
    cfg: DictConfig,
    model: nn.Module,
    trainer: Any,
    overrides: list[str],
    resumed_step: int,
    changed: list[str],
) -> dict[str, str]:
    """Return the rows of the opening card: what is trained, on what, where it is written."""
    commit, difference = git_state()
    parts = ", ".join(f"{name} {amount(n)}" for name, n in parameters(model).items())
    micro, accumulation, world = cfg.data.batch_size, trainer.accumulate_grad_batches, trainer.world_size
    start = (
        f"continues from step {resumed_step}"
        if resumed_step
        else "starts fresh (no checkpoints/last.ckpt in it)"
    )
    if changed:
        start += f"; changed since: {', '.join(changed)}"
    return {
        "run folder": "none: dry run" if cfg.dry_run else f"{cfg.run_dir}, {start}",
        "commit": commit[:10] + (" + uncommitted changes" if difference else ""),
        "overrides": " ".join(overrides) or "none",
        "hand": cfg.hand.name,
        "parameters": f"{amount(sum(parameters(model).values()))}: {parts}",
        "devices": f"{world} x {trainer.strategy.root_device.type}, precision {trainer.precision}",
        "batch": f"{micro} scenes x {accumulation} accumulated x {world} processes = {micro * accumulation * world}",
        "steps": str(cfg.trainer.max_steps),
        "look": f"tensorboard --logdir {cfg.run_dir}"
        if "tensorboard" in cfg.logger
        else f"{cfg.run_dir}/metrics.csv",
    }


def closing(cfg: DictConfig, trainer: Any, seconds: float) -> dict[str, str]:
    """Return the rows of the closing card: what came out and the command that judges it."""
    if cfg.dry_run:
        return {
            "one batch": f"forward, backward, validation: {seconds:.1f} s",
            "next": "the same without dry_run=true",
        }
    best = next((c for c in trainer.checkpoint_callbacks if getattr(c, "best_model_path", "")), None)
    checkpoint = best.best_model_path if best else str(Path(cfg.run_dir) / "checkpoints" / "last.ckpt")
    rows = {"steps": f"{trainer.global_step} in {seconds / 60:.1f} min"}
    if best and best.best_model_score is not None:
        rows["best"] = f"{best.monitor} {float(best.best_model_score):.4g}"
    rows["checkpoint"] = checkpoint
    rows["next"] = trainer.lightning_module.objective.next_command.format(checkpoint)
    return rows


def parameters(model: nn.Module) -> dict[str, int]:
    """Count the parameters of the parts of a module's children; parts without any are left out."""
    parts = [part for _, child in model.named_children() for part in child.named_children()]
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in parts}
    return {name: n for name, n in counts.items() if n}


def amount(n: int) -> str:
    """Write a count the way people say it: 950, 12.3 k, 4.56 M."""
    if n < 1000:
        return str(n)
    return f"{n / 1e3:.3g} k" if n < 1e6 else f"{n / 1e6:.3g} M"
