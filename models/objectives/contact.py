"""Where the predicted hand touches the target, against where the true one does; and whether its fingertips reach it."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sceneleapultra.hands import PlacedHand, energies
from sceneleapultra.models.objectives.context import PredictionContext
from sceneleapultra.models.objectives.hand_term import HandTerm, at_least
from sceneleapultra.models.objectives.schedule import NoiseFactor
from sceneleapultra.models.objectives.term import Weight
from sceneleapultra.models.observed_points import FAR_M, ObservedPoints, deepest, sphere_power

PointDistances = Float[Tensor, "b g n"]  # signed, of observed points to hands (m)


def soft_contact(distance_m: Float[Tensor, "*b"], scale_m: float) -> Float[Tensor, "*b"]:
    """Return how much a point at this signed distance counts as touched: 1 on the hand and in it, 0 far away.

    ``2 - 2 sigmoid(d / scale)``: 0.54 at one scale, 0.1 at three. How deep a point is is another term's matter.

    Source: Jiang et al. 2021 (GraspTTA); Li et al. 2023 (GenDexGrasp), equation 2.
    """
    return 2.0 - 2.0 * (distance_m.clamp_min(0.0) / scale_m).sigmoid()


def contact_map_error(
    predicted_m: PointDistances, true_m: PointDistances, counted: Bool[Tensor, "b g n"], scale_m: float
) -> Float[Tensor, "b g"]:
    """Return the mean squared difference of two contact maps over the points that count; 0 without any.

    Args:
        predicted_m: signed distance of observed points to the predicted hand (m).
        true_m: the same to the true hand.
        counted: points of the target that exist.
        scale_m: of :func:`soft_contact`.
    """
    difference = soft_contact(predicted_m, scale_m) - soft_contact(true_m, scale_m)
    weight = counted.to(difference.dtype)
    return (difference.square() * weight).sum(-1) / weight.sum(-1).clamp_min(1.0)


class ContactMap(HandTerm):
    """Mean squared difference of the contact maps of predicted and true hand, over observed points of the target.

    Args:
        weight: see :class:`~sceneleapultra.models.objectives.term.LossTerm`.
        by_noise: see :class:`~sceneleapultra.models.objectives.hand_term.HandTerm`.
        scanned: points of the cloud that are looked at, the first ones.
        num_points: of them, those of the target that are nearest to either hand; others are touched by neither.
        scale_m: distance at which contact has faded to 0.54 (m).
    """

    needs = ("hand_hat", "hand_true", "counted")

    def __init__(
        self, *, weight: Weight, by_noise: NoiseFactor | None, scanned: int, num_points: int, scale_m: float
    ) -> None:
        super().__init__(weight=weight, by_noise=by_noise)
        if not scale_m > 0.0:
            raise ValueError(f"scale_m: expected more than 0, got {scale_m:g}.")
        self.scanned, self.num_points = at_least("scanned", scanned, 1), at_least("num_points", num_points, 1)
        self.scale_m = scale_m

    def measure(self, hand: PlacedHand, context: PredictionContext) -> Float[Tensor, "b g"]:
        """Return the mean squared difference, 0 to 1."""
        with torch.no_grad():
            observed = ObservedPoints.of(context.cloud, self.scanned, ())
            predicted, true = (sphere_power(*h.spheres(), observed.points) for h in (hand, context.hand_true))
            points = deepest(
                torch.minimum(predicted, true), observed.points, observed.target, self.num_points
            )
            true_m = context.hand_true.signed_distance(points)
        exists = points[..., 0] < 0.5 * FAR_M
        return contact_map_error(hand.signed_distance(points), true_m, exists, self.scale_m)


class FingertipAttraction(HandTerm):
    """Summed distance of the fingertips to the target, of those that nearly touch it (m).

    Args:
        weight: see :class:`~sceneleapultra.models.objectives.term.LossTerm`.
        by_noise: see :class:`~sceneleapultra.models.objectives.hand_term.HandTerm`.
        scanned: points of the cloud that are looked at, the first ones.
        num_points: of them, those of the target that are nearest to each hand.
        within_m: a fingertip further away is not drawn (m).
    """

    def __init__(
        self, *, weight: Weight, by_noise: NoiseFactor | None, scanned: int, num_points: int, within_m: float
    ) -> None:
        super().__init__(weight=weight, by_noise=by_noise)
        self.scanned, self.num_points = at_least("scanned", scanned, 1), at_least("num_points", num_points, 1)
        self.within_m = at_least("within_m", within_m, 0.0)

    def measure(self, hand: PlacedHand, context: PredictionContext) -> Float[Tensor, "b g"]:
        """Return the summed distance (m)."""
        with torch.no_grad():
            observed = ObservedPoints.of(context.cloud, self.scanned, ())
            points = deepest(
                sphere_power(*hand.spheres(), observed.points),
                observed.points,
                observed.target,
                self.num_points,
            )
        candidates, _ = hand.contact_candidates()
        return energies.attraction(
            candidates,
            hand.hand.contact_finger,
            points,
            num_fingers=len(hand.hand.finger_names),
            within_m=self.within_m,
        )
