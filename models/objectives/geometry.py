"""How far the predicted hand is from the true one, measured on the hands themselves (m).

A joint angle near the palm moves a fingertip further than one at the tip: what a squared error of states does not know.
"""

from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from sceneleapultra.hands import PlacedHand
from sceneleapultra.models.objectives.context import PredictionContext
from sceneleapultra.models.objectives.hand_term import HandTerm, at_least
from sceneleapultra.models.objectives.schedule import NoiseFactor
from sceneleapultra.models.objectives.term import Weight
from sceneleapultra.utils.geometry.points import gather

SurfacePoints = Float[Tensor, "b g n 3"]  # of hands (m)

_SMALLEST = 1e-12  # m^2; the gradient of a smaller distance is zero, not NaN


def mean_distance(predicted: SurfacePoints, true: SurfacePoints) -> Float[Tensor, "b g"]:
    """Return the mean distance between points of equal index (m)."""
    return (predicted - true).square().sum(-1).clamp_min(_SMALLEST).sqrt().mean(-1)


def chamfer_distance(predicted: SurfacePoints, true: Float[Tensor, "b g m 3"]) -> Float[Tensor, "b g"]:
    """Return the mean distance of a point to the nearest of the other set, averaged over both directions (m)."""
    with torch.no_grad():
        # About the middle of the hand: products of coordinates, by which cdist goes, keep their digits there.
        middle = true.mean(2, keepdim=True)
        apart = torch.cdist(predicted - middle, true - middle)
        to_true, to_predicted = apart.argmin(3).flatten(0, 1), apart.argmin(2).flatten(0, 1)
    # The nearest point is where the least distance has its gradient: no gradient through n x m distances.
    flat_predicted, flat_true = predicted.flatten(0, 1), true.flatten(0, 1)
    nearest_true = gather(flat_true, to_true).unflatten(0, predicted.shape[:2])
    nearest_predicted = gather(flat_predicted, to_predicted).unflatten(0, predicted.shape[:2])
    return 0.5 * (mean_distance(predicted, nearest_true) + mean_distance(nearest_predicted, true))


class SurfaceDistance(HandTerm):
    """Some distance between points on the surfaces of the predicted and the true hand (m).

    Args:
        weight: see :class:`~sceneleapultra.models.objectives.term.LossTerm`.
        by_noise: see :class:`~sceneleapultra.models.objectives.hand_term.HandTerm`.
        num_points: on each surface, evenly spread.
    """

    needs = ("hand_hat", "hand_true", "counted")

    def __init__(self, *, weight: Weight, by_noise: NoiseFactor | None, num_points: int) -> None:
        super().__init__(weight=weight, by_noise=by_noise)
        self.num_points = at_least("num_points", num_points, 1)

    def measure(self, hand: PlacedHand, context: PredictionContext) -> Float[Tensor, "b g"]:
        """Return the distance (m)."""
        points, true = (h.surface_points(self.num_points)[0] for h in (hand, context.hand_true))
        return self.distance(points, true)

    @abstractmethod
    def distance(self, predicted: SurfacePoints, true: SurfacePoints) -> Float[Tensor, "b g"]:
        """Return the distance of sets of points of the same number and order (m)."""


class HandPoints(SurfaceDistance):
    """Mean distance between equal points on the surfaces of the predicted and the true hand (m)."""

    def distance(self, predicted: SurfacePoints, true: SurfacePoints) -> Float[Tensor, "b g"]:
        """Return the mean distance (m)."""
        return mean_distance(predicted, true)


class HandChamfer(SurfaceDistance):
    """Chamfer distance between the surfaces of the predicted and the true hand (m).

    Unlike :class:`HandPoints` it does not mind which finger is where the true hand has one.
    """

    def distance(self, predicted: SurfacePoints, true: SurfacePoints) -> Float[Tensor, "b g"]:
        """Return the mean distance to the nearest point, over both directions (m)."""
        return chamfer_distance(predicted, true)
