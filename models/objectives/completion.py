"""What scene completion minimizes: occupancy where no ray passed, distances, and their gradients near surfaces."""

from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from sceneleapultra.models.completion.completer import SceneCompleter
from sceneleapultra.models.completion.metrics import OverlapPart
from sceneleapultra.models.metrics import BinaryPart, MetricPart
from sceneleapultra.models.objectives.objective import Objective
from sceneleapultra.models.objectives.term import LossTerm
from sceneleapultra.utils.geometry.voxels.batch import VoxelBatch
from sceneleapultra.utils.geometry.voxels.observe import FREE

PARTS = ("target", "others")


class CompletionContext:
    """A step of scene completion.

    Args:
        generator: what is trained.
        batch: grids with their truth.
        objective: whose settings apply.
        step: of training; nothing here is left to chance.
        training: false in validation.
    """

    def __init__(
        self, generator: Any, batch: VoxelBatch, objective: Any, *, step: int, training: bool
    ) -> None:
        self.generator, self.batch, self.objective = generator, batch, objective
        self.step, self.training = step, training

    @cached_property
    def predicted(self) -> Float[Tensor, "b 2 x y z"]:
        """Predicted distances (m)."""
        return self.generator(self.batch.observed)

    @cached_property
    def logits(self) -> Float[Tensor, "b 2 x y z"]:
        """Log-odds that voxels are inside."""
        return self.generator.occupancy_logits(self.predicted)

    @cached_property
    def inside(self) -> Float[Tensor, "b 2 x y z"]:
        """1 where a voxel's center is inside, 0 elsewhere."""
        return (self.batch.distance < 0.0).float()

    @cached_property
    def hidden(self) -> Bool[Tensor, "b 1 x y z"]:
        """Voxels that no ray passed."""
        return self.batch.observed[:, FREE : FREE + 1] == 0.0

    @cached_property
    def gradients(self) -> tuple[Float[Tensor, "b 2 3 u v w"], Float[Tensor, "b 2 3 u v w"]]:
        """Gradients of predicted and true distances by central differences."""
        length = 2.0 * self.batch.voxel_m.reshape(-1, 1, 1, 1, 1, 1)
        return _differences(self.predicted) / length, _differences(self.batch.distance) / length

    @cached_property
    def near(self) -> Bool[Tensor, "b 2 u v w"]:
        """Voxels so near to a true surface that no difference about them is cut off."""
        reach = self.generator.reach_m - self.batch.voxel_m.reshape(-1, 1, 1, 1, 1)
        return self.batch.distance[:, :, 1:-1, 1:-1, 1:-1].abs() < reach


def _differences(x: Float[Tensor, "b 2 x y z"]) -> Float[Tensor, "b 2 3 u v w"]:
    inner = slice(1, -1)
    return torch.stack(
        [
            x[:, :, 2:, inner, inner] - x[:, :, :-2, inner, inner],
            x[:, :, inner, 2:, inner] - x[:, :, inner, :-2, inner],
            x[:, :, inner, inner, 2:] - x[:, :, inner, inner, :-2],
        ],
        dim=2,
    )


def scene_mean(values: Tensor, counted: Tensor) -> Float[Tensor, ""]:
    """Return the mean over what counts of each scene, then over scenes."""
    counted = counted.expand_as(values).to(values.dtype)
    total = (values * counted).flatten(1).sum(1)
    return (total / counted.flatten(1).sum(1).clamp(min=1.0)).mean()


class OccupancyError(LossTerm):
    """Binary cross-entropy of being inside, over voxels that no ray passed; inside and outside weigh as much."""

    needs = ("logits", "inside", "hidden")

    def __call__(self, context: CompletionContext) -> Float[Tensor, ""]:  # type: ignore[override]
        """Return the mean over both, for target and others."""
        error = functional.binary_cross_entropy_with_logits(context.logits, context.inside, reduction="none")
        hidden, inside = context.hidden, context.inside > 0.0
        return 0.5 * (scene_mean(error, hidden & inside) + scene_mean(error, hidden & ~inside))


class DiceError(LossTerm):
    """One minus the overlap of predicted and true solids among voxels that no ray passed (Milletari et al. 2016)."""

    needs = ("logits", "inside", "hidden")

    def __call__(self, context: CompletionContext) -> Float[Tensor, ""]:  # type: ignore[override]
        """Return the mean over scenes and parts; a part that is not there counts where it is predicted."""
        hidden = context.hidden.float()
        share, true = context.logits.sigmoid() * hidden, context.inside * hidden
        both = (share * true).flatten(2).sum(-1)
        dice = (2.0 * both + 1.0) / ((share + true).flatten(2).sum(-1) + 1.0)
        return (1.0 - dice).mean()


class DistanceError(LossTerm):
    """Absolute error of distances, in shares of the reach: over all voxels, and over those that no ray passed."""

    needs = ("predicted", "hidden")

    def __call__(self, context: CompletionContext) -> Float[Tensor, ""]:  # type: ignore[override]
        """Return the mean of both."""
        error = (context.predicted - context.batch.distance).abs() / context.generator.reach_m
        return 0.5 * (error.mean() + scene_mean(error, context.hidden))


class GradientError(LossTerm):
    """Absolute error of the distances' gradients near true surfaces: their direction is the surface's normal."""

    needs = ("gradients", "near")

    def __call__(self, context: CompletionContext) -> Float[Tensor, ""]:  # type: ignore[override]
        """Return the mean over axes and voxels."""
        predicted, true = context.gradients
        return scene_mean((predicted - true).abs().mean(2), context.near)


class EikonalError(LossTerm):
    """How far the slope of predicted distances is from one, near true surfaces."""

    needs = ("gradients", "near")

    def __call__(self, context: CompletionContext) -> Float[Tensor, ""]:  # type: ignore[override]
        """Return the mean over voxels."""
        predicted, _ = context.gradients
        slope = predicted.square().sum(2).clamp_min(1e-8).sqrt()
        return scene_mean((slope - 1.0).abs(), context.near)


class SceneCompletion(Objective):
    """Trains a completer on grids with their truth.

    Args:
        terms: what is minimized, by name.
        seed: of what is left to chance elsewhere.
    """

    next_step = ("python test_lightning.py checkpoint=leap_table", "completion")
    measures_statistics = False  # no pose is learned
    context_type = CompletionContext

    def prepare(self, generator: Any) -> None:
        """Check what is trained.

        Raises:
            ValueError: not a completer.
        """
        if not isinstance(generator, SceneCompleter):
            raise ValueError(
                "model.objective=completion trains a scene completer, model.generator is none. Pass model=completion "
                "data=completion."
            )

    def metrics(self, context: CompletionContext) -> dict[str, MetricPart]:
        """Return overlap and calibration among voxels that no ray passed, for target and others."""
        found: dict[str, MetricPart] = {}
        for i, name in enumerate(PARTS):
            logit, true = (
                context.logits[:, i][context.hidden[:, 0]],
                context.inside[:, i][context.hidden[:, 0]],
            )
            found[f"hidden_{name}"] = OverlapPart.of(logit > 0.0, true > 0.0)
            found[f"occupancy_{name}"] = BinaryPart.of(logit, true, 1.0 - true)
        return found
