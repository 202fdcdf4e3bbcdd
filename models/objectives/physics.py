"""What a predicted hand must not do: enter the target, its neighbors, the table or itself, or exceed its joints.

What training knows of a scene: the points that one camera sees, which of them are the target's, and the world's frame,
in which a table's top is at z = 0. Meshes are not read, so a hand may enter what is hidden without being noticed.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sceneleapultra.hands import PlacedHand, energies
from sceneleapultra.models.objectives.context import PredictionContext
from sceneleapultra.models.objectives.hand_term import HandTerm, at_least
from sceneleapultra.models.objectives.schedule import NoiseFactor
from sceneleapultra.models.objectives.term import Weight
from sceneleapultra.models.observed_points import ObservedPoints, deepest, sphere_power


class ObservedPenetration(HandTerm):
    """Summed depth of some observed points in the predicted hand (m); subclasses say of which.

    Args:
        weight: see :class:`~sceneleapultra.models.objectives.term.LossTerm`.
        by_noise: see :class:`~sceneleapultra.models.objectives.hand_term.HandTerm`.
        scanned: points of the cloud that are looked at, the first ones.
        num_points: of them, those that are deepest in each hand or nearest to it.
    """

    def __init__(
        self, *, weight: Weight, by_noise: NoiseFactor | None, scanned: int, num_points: int
    ) -> None:
        super().__init__(weight=weight, by_noise=by_noise)
        self.scanned, self.num_points = at_least("scanned", scanned, 1), at_least("num_points", num_points, 1)

    def deepest(
        self, hand: PlacedHand, observed: ObservedPoints, chosen: Bool[Tensor, "b 1 n"]
    ) -> Float[Tensor, "b g m 3"]:
        """Return the chosen points that are deepest in each hand."""
        power = sphere_power(*hand.spheres(), observed.points)
        return deepest(power, observed.points, chosen, self.num_points)


class ObjectPenetration(ObservedPenetration):
    """Summed depth of observed points of the target in the predicted hand (m).

    Args:
        weight: see :class:`~sceneleapultra.models.objectives.term.LossTerm`.
        by_noise: see :class:`~sceneleapultra.models.objectives.hand_term.HandTerm`.
        scanned, num_points: see :class:`ObservedPenetration`.
        thickness_m: depths behind what is seen of the target, along the camera's rays, at which it is solid, too.
    """

    def __init__(
        self,
        *,
        weight: Weight,
        by_noise: NoiseFactor | None,
        scanned: int,
        num_points: int,
        thickness_m: tuple[float, ...],
    ) -> None:
        super().__init__(weight=weight, by_noise=by_noise, scanned=scanned, num_points=num_points)
        self.thickness_m = tuple(at_least("thickness_m", depth, 0.0) for depth in thickness_m)

    def measure(self, hand: PlacedHand, context: PredictionContext) -> Float[Tensor, "b g"]:
        """Return the summed depth (m)."""
        with torch.no_grad():
            observed = ObservedPoints.of(context.cloud, self.scanned, self.thickness_m)
            points = self.deepest(hand, observed, observed.target)
        return energies.penetration(hand.signed_distance(points))


class NeighborPenetration(ObservedPenetration):
    """Summed depth, in the predicted hand, of observed points of what is neither target nor table (m).

    Args:
        weight: see :class:`~sceneleapultra.models.objectives.term.LossTerm`.
        by_noise: see :class:`~sceneleapultra.models.objectives.hand_term.HandTerm`.
        table_m: points this near to the top of the table, z = 0 of the world, are the table's (m).
        margin_m: distance to keep (m).
        scanned, num_points: see :class:`ObservedPenetration`.
    """

    def __init__(
        self,
        *,
        weight: Weight,
        by_noise: NoiseFactor | None,
        table_m: float,
        margin_m: float,
        scanned: int,
        num_points: int,
    ) -> None:
        super().__init__(weight=weight, by_noise=by_noise, scanned=scanned, num_points=num_points)
        self.table_m, self.margin_m = at_least("table_m", table_m, 0.0), at_least("margin_m", margin_m, 0.0)

    def measure(self, hand: PlacedHand, context: PredictionContext) -> Float[Tensor, "b g"]:
        """Return the summed depth (m)."""
        with torch.no_grad():
            observed = ObservedPoints.of(context.cloud, self.scanned, ())
            height = in_world(observed.points, context.batch.T_world_frame)[..., 2]
            neighbors = observed.other & (height.abs() > self.table_m)
            points = self.deepest(hand, observed, neighbors)
        return energies.penetration(hand.signed_distance(points) - self.margin_m)


class TablePenetration(HandTerm):
    """Summed depth of the predicted hand's spheres below the top of the table, z = 0 of the world (m).

    A scene has a table where a point of it is seen: one that is not the target's, near z = 0.

    Args:
        weight: see :class:`~sceneleapultra.models.objectives.term.LossTerm`.
        by_noise: see :class:`~sceneleapultra.models.objectives.hand_term.HandTerm`.
        scanned: points of the cloud among which a table is looked for, the first ones.
        table_m: points this near to z = 0 of the world are the table's (m).
        margin_m: distance to keep (m).
    """

    def __init__(
        self, *, weight: Weight, by_noise: NoiseFactor | None, scanned: int, table_m: float, margin_m: float
    ) -> None:
        super().__init__(weight=weight, by_noise=by_noise)
        self.scanned = at_least("scanned", scanned, 1)
        self.table_m, self.margin_m = at_least("table_m", table_m, 0.0), at_least("margin_m", margin_m, 0.0)

    def measure(self, hand: PlacedHand, context: PredictionContext) -> Float[Tensor, "b g"]:
        """Return the summed depth (m)."""
        T_world_frame = context.batch.T_world_frame
        observed = ObservedPoints.of(context.cloud, self.scanned, ())
        near = in_world(observed.points, T_world_frame)[..., 2].abs() <= self.table_m
        has_table = (near & observed.other).any(-1)  # (b 1)
        centers, radii = hand.spheres()
        depth = energies.table(in_world(centers, T_world_frame), radii, height_m=self.margin_m)
        return depth * has_table


class SelfPenetration(HandTerm):
    """Summed overlap of the predicted hand's keypoints, spheres on bodies that must not touch (m)."""

    def measure(self, hand: PlacedHand, context: PredictionContext) -> Float[Tensor, "b g"]:
        """Return the summed overlap (m)."""
        return energies.self_penetration(
            hand.keypoints(), hand.hand.keypoint_radius, hand.hand.keypoint_pairs
        )


class JointLimits(HandTerm):
    """Summed excess of the joints over their limits, as predicted, before they are clamped (rad).

    Clamped joints have no gradient beyond their limits: without this term nothing calls a joint back that is there.
    """

    needs = ("hand_hat", "joints_hat", "counted")

    def measure(self, hand: PlacedHand, context: PredictionContext) -> Float[Tensor, "b g"]:
        """Return the summed excess (rad)."""
        return energies.joint_limits(context.joints_hat, hand.hand.joint_limits)


def in_world(
    points: Float[Tensor, "b g n 3"], T_world_frame: Float[Tensor, "b 4 4"]
) -> Float[Tensor, "b g n 3"]:
    """Return points of each item's frame in the world."""
    R, t = T_world_frame[:, None, :3, :3], T_world_frame[:, None, None, :3, 3]
    return points @ R.transpose(-1, -2) + t
