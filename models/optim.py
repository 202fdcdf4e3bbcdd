"""How weights are updated, and how the learning rate moves with the step.

The schedules are factories over an optimizer, for ``_partial_`` configs. Each wraps its rule in a plain function,
because LambdaLR saves and restores the fields of callable objects: a run continued with more steps would keep its
old end.
"""

import math
from typing import Any

from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

# Of a group of parameters: what it consists of, and how a step is computed, which hardware decides.
_KEPT = ("params", "fused", "foreach", "capturable", "differentiable", "maximize")
_MOVED = ("lr", "betas", "momentum", "max_lr", "min_lr", "max_momentum", "base_momentum")  # by some schedules


def adamw(
    groups: list[dict[str, Any]],
    *,
    lr: float,
    weight_decay: float,
    betas: tuple[float, float],
    eps: float,
    fused: bool,
) -> AdamW:
    """Build AdamW (Loshchilov & Hutter 2019) over parameter groups; fused, a step is one pass over each of them.

    A function of our own because the annotations of torch's constructor cannot be checked: they do not tell a list of
    groups from an iterator of tensors.
    """
    # None, not False, leaves torch the choice between many small kernels and few for lists of tensors.
    return AdamW(groups, lr=lr, weight_decay=weight_decay, betas=betas, eps=eps, fused=fused or None)


def warmup_cosine(
    optimizer: Optimizer, *, warmup_steps: int, total_steps: int, final_ratio: float
) -> LambdaLR:
    """Rise linearly over ``warmup_steps``, then fall by a cosine to ``final_ratio`` of the peak at ``total_steps``."""

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
        return _cosine(1.0, final_ratio, progress)

    return LambdaLR(optimizer, factor)


def warmup_constant(optimizer: Optimizer, *, warmup_steps: int) -> LambdaLR:
    """Rise linearly over ``warmup_steps``, then stay."""
    return LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / (warmup_steps + 1)))


def one_cycle(
    optimizer: Optimizer, *, total_steps: int, rise: float, initial_ratio: float, final_ratio: float
) -> LambdaLR:
    """Rise by a cosine over a share ``rise`` of the steps, then fall by one (Smith & Topin 2018, without momentum)."""
    peak = max(1.0, rise * total_steps)

    def factor(step: int) -> float:
        if step < peak:
            return _cosine(initial_ratio, 1.0, step / peak)
        return _cosine(1.0, final_ratio, (step - peak) / max(1.0, total_steps - peak))

    return LambdaLR(optimizer, factor)


def use_settings(optimizer: Optimizer, configured: Optimizer, scheduler: Any) -> None:
    """Give an optimizer that came out of a checkpoint the settings of this configuration; what it has learned stays.

    Args:
        optimizer: with the settings of the checkpoint.
        configured: built by this configuration, with its schedule, over the same parameters.
        scheduler: of ``optimizer``.

    Raises:
        ValueError: the settings differ, and the schedule is no factor of the learning rate, so holds settings itself.
    """
    pairs = list(zip(optimizer.param_groups, configured.param_groups, strict=True))
    if isinstance(scheduler, LambdaLR):
        for (old, new), factor in zip(pairs, scheduler.lr_lambdas, strict=True):
            old |= {key: value for key, value in new.items() if key not in _KEPT}
            old["lr"] = new["initial_lr"] * factor(scheduler.last_epoch)
        scheduler.base_lrs = [new["initial_lr"] for _, new in pairs]
        scheduler._last_lr = [old["lr"] for old, _ in pairs]
        return
    fixed = [key for key in pairs[0][1] if key not in (*_KEPT, *_MOVED)]
    if changes := [f"{k}={n[k]} (until now {o[k]})" for o, n in pairs for k in fixed if n[k] != o[k]]:
        raise ValueError(
            f"optimizer: a run with the schedule {type(scheduler).__name__} cannot be continued with "
            f"{', '.join(changes)}. Pass the value of before, or another run_dir."
        )


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
