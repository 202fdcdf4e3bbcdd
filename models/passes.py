"""A training step computed in passes over parts of its batch: less memory, the same gradient.

Every loss is a mean over scenes and every random number is keyed by its item, so the gradient of a batch is the
weighted mean of those of its parts, however it is divided. A pass that does not fit on the GPU is taken again in twice
as many; all processes agree on the number before any of them waits for the others' gradients.
"""

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sceneleapultra.models.objectives.objective import Objective
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.core.console import is_first_process, say

Compute = Callable[[GraspBatch], dict[str, Tensor]]  # the terms of a batch, unweighted
_DONE, _TOO_LARGE, _TOO_LARGE_FOR_ONE = 0, 1, 2


@dataclass
class Passes:
    """How the batch of a step is divided.

    Attributes:
        number: of passes that a step's batch is computed in, one after the other.
        most: up to which it is doubled where a pass does not fit on the GPU.
        group: processes that agree on the number, which talk without their GPUs; None for a single one.
        scaler: of a loss in float16 (``torch.amp.GradScaler``), whose small gradients would be zero otherwise.
    """

    number: int
    most: int
    group: Any = None
    scaler: Any = None

    def agree(self) -> None:
        """Let all processes of the training agree; called by all of them."""
        self.group = torch.distributed.new_group(backend="gloo")

    def step(
        self,
        compute: Compute,
        total: Callable[[dict[str, Tensor]], Tensor],
        batch: GraspBatch,
        model: nn.Module,
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return the loss, whose backward pass is short, and its terms.

        Args:
            compute: returns the terms of a part of the batch.
            total: sums terms as the loss does.
            batch: of the step.
            model: whose parameters get the gradient.

        Raises:
            ValueError: a single scene does not fit on the GPU, or not in ``most`` passes.
        """
        weights = [p for p in model.parameters() if p.requires_grad]
        while True:
            made, outcome = self._try(compute, total, batch, weights)
            outcome = self._worst(outcome)
            if made is not None and outcome == _DONE:
                terms, loss, gradients, scale = made
                return _KnownGradient.apply(loss, gradients, scale, *weights), terms
            del made  # before memory is given back
            self._divide_further(outcome, batch.size)

    def _try(
        self,
        compute: Compute,
        total: Callable[[dict[str, Tensor]], Tensor],
        batch: GraspBatch,
        weights: Sequence[Tensor],
    ) -> tuple[tuple[dict[str, Tensor], Tensor, list[Tensor | None], Tensor] | None, int]:
        """Return terms, loss, gradients and what they are scaled by; None with the reason where the GPU has no room."""
        number = min(self.number, batch.size)
        scale = torch.ones((), device=weights[0].device)
        scale = scale if self.scaler is None else self.scaler.scale(scale)
        try:
            terms: dict[str, Tensor] = {}
            gradients: list[Tensor | None] = [None] * len(weights)
            for part in parts_of(batch, number):
                share = part.size / batch.size
                found = compute(part)
                loss = scale * (share * total(found) if number > 1 else total(found))
                with torch.autocast(loss.device.type, enabled=False):  # as in a backward pass of its own
                    added = torch.autograd.grad(loss, weights, allow_unused=True)
                gradients = _sums(gradients, added)
                terms = {
                    name: terms.get(name, 0.0) + (share * value.detach() if number > 1 else value.detach())
                    for name, value in found.items()
                }
                del found, loss, added
        except torch.OutOfMemoryError:
            return None, _TOO_LARGE if number < min(batch.size, self.most) else _TOO_LARGE_FOR_ONE
        return (terms, total(terms), gradients, scale), _DONE

    def _worst(self, outcome: int) -> int:
        """Return the worst outcome of all processes."""
        if self.group is None:
            return outcome
        worst = torch.tensor(outcome)
        torch.distributed.all_reduce(worst, torch.distributed.ReduceOp.MAX, group=self.group)
        return int(worst)

    def _divide_further(self, outcome: int, scenes: int) -> None:
        if outcome == _TOO_LARGE_FOR_ONE:
            raise ValueError(
                f"Out of memory: a step of {scenes} scenes in {min(self.number, scenes)} passes does not fit on the "
                f"GPU (hardware.max_passes={self.most}). Pass hardware.recompute=[encoder,decoder], raise "
                "hardware.max_passes, or lower data.cloud.num_points; `sceneleap plan` says what each saves."
            )
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # once, not in every step: what is cached fits no smaller pass
        self.number = min(2 * self.number, self.most)
        if is_first_process():
            say(
                f"Out of memory: from here on each step is computed in {self.number} passes; its result stays the "
                f"same. Pass hardware.passes={self.number} to begin so."
            )


def indivisible(objective: Objective, model: nn.Module) -> str | None:
    """Say what looks at a batch as a whole, so that no step can be computed in passes; None if nothing does."""
    for name, term in objective.terms.items():
        if not term.mean_of_scenes:
            return f"model.objective.terms.{name} is not the mean of its values on the scenes of a batch"
    for name, part in model.named_modules():
        if isinstance(part, _BatchNorm):
            return f"{name} normalizes over the batch"
    return None


def parts_of(batch: GraspBatch, number: int) -> list[GraspBatch]:
    """Divide a batch into parts whose sizes differ by one at most."""
    if number == 1:
        return [batch]
    ends = [batch.size * (i + 1) // number for i in range(number)]
    return [batch.scenes(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def _sums(left: Sequence[Tensor | None], right: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Add gradients up; not in place, because one tensor may be the gradient of several weights."""
    return [b if a is None else a if b is None else a + b for a, b in zip(left, right, strict=True)]


class _KnownGradient(torch.autograd.Function):
    """A loss whose gradient is known already, scaled."""

    @staticmethod
    def forward(
        ctx: Any, loss: Tensor, gradients: list[Tensor | None], scale: Tensor, *weights: Tensor
    ) -> Tensor:
        ctx.gradients, ctx.scale = gradients, scale
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        gradients: list[Tensor | None] = ctx.gradients
        known = [i for i, gradient in enumerate(gradients) if gradient is not None]
        scaled: list[Tensor | None] = [None] * len(gradients)
        factor = scale / ctx.scale
        for i, gradient in zip(known, torch._foreach_mul([gradients[i] for i in known], factor), strict=True):
            scaled[i] = gradient
        del ctx.gradients
        return None, None, None, *scaled
