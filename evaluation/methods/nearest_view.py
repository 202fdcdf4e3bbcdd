"""A baseline that retrieves: grasps of the training views that look most like a test view, moved onto it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float

from sceneleapultra.evaluation.items import Item
from sceneleapultra.evaluation.methods.base import Proposal, unscored
from sceneleapultra.evaluation.methods.training_index import TrainingIndex, transform_grasps
from sceneleapultra.evaluation.methods.view_matching import Matching, ViewMatcher
from sceneleapultra.hands import GraspPose, Hand
from sceneleapultra.reporting.results import Role
from sceneleapultra.utils.records import Grasps

_VISIBLE_POINTS = 384  # points of each kind in which the hand may lie
_REACH_M = 0.25  # other points further from the target are out of the hand's way


class NearestView:
    """Transplants grasps of the training views that look most alike; it sees only the cloud.

    Grasps of the nearest few objects compete: the distance of their view counts, and how deep the transplanted hand
    lies in the points that are seen, of the target and of everything else.

    Args:
        hand: the hand.
        pool: what may be retrieved.
        matching: how views are compared.
        keep_height: leave the height of grasps over the table as it was, instead of aligning the clouds in height too:
            safer for the hand, less exact on the object.
        competing: nearest objects whose grasps compete.
        depth_weight: metres of view distance that a metre of depth in seen points is worth.
        tolerance_m: depth that does not count.
        seed: of the choice among equals.
    """

    privileged_inputs = "none"
    role = Role.BASELINE

    def __init__(
        self,
        *,
        hand: Hand,
        pool: TrainingIndex,
        matching: Matching,
        keep_height: bool,
        competing: int,
        depth_weight: float,
        tolerance_m: float,
        seed: int,
    ) -> None:
        self.hand, self.pool, self.seed = hand, pool, seed
        self.name = "nearest view, height kept" if keep_height else "nearest training view"
        self.competing, self.depth_weight, self.tolerance_m = competing, depth_weight, tolerance_m
        self.matcher = ViewMatcher(
            [view.points for view in pool.views],
            [view.on_table for view in pool.views],
            matching,
            keep_height=keep_height,
        )

    def sample_items(self, items: Sequence[Item], k: int) -> list[Proposal]:
        """Return the ``k`` best transplanted grasps for each item; a smaller pool repeats them."""
        return [self._sample(item, k) for item in items]

    def _sample(self, item: Item, k: int) -> Proposal:
        rng = np.random.default_rng([self.seed, item.index])
        parts: list[Grasps] = []
        cost: list[float] = []
        used: set[int] = set()
        for match in self.matcher.matches(item.target_points, item.scene.table):
            owner = self.pool.views[match.view].owner
            if owner in used or (len(used) >= self.competing and len(cost) >= k):
                continue
            used.add(owner)
            grasps = self.pool.objects[owner].grasps
            parts.append(transform_grasps(grasps[rng.permutation(len(grasps))], match.T_test_train))
            cost += [match.distance_m] * len(grasps)
        candidates = Grasps.concatenate(parts)
        total = np.array(cost) + self.depth_weight * self._depth(candidates, item)
        order = np.argsort(total, kind="stable")
        return unscored(candidates[np.resize(order, k)])

    @torch.no_grad()
    def _depth(self, grasps: Grasps, item: Item) -> Float[np.ndarray, "g"]:
        """Return how deep the hand lies in the target's and in other seen points, over pre-grasp and grasp, summed."""
        near = np.linalg.norm(item.view.points[:, :2] - item.target_points[:, :2].mean(0), axis=-1) < _REACH_M
        rest = item.view.points[near & ~item.target_mask]
        grasp = GraspPose.from_hand_pose(torch.from_numpy(np.asarray(grasps.hand_pose, dtype=np.float32)))
        opened = torch.from_numpy(np.asarray(grasps.pregrasp_qpos, dtype=np.float32))
        total = np.zeros(len(grasps))
        for points in (item.target_points, rest):
            if len(points) == 0:
                continue
            visible = torch.from_numpy(np.asarray(points[:_VISIBLE_POINTS], dtype=np.float32)).expand(
                len(grasps), -1, -1
            )
            for pose in (grasp, replace(grasp, qpos=opened)):
                inside = -self.hand.signed_distance(visible, pose).amin(-1).numpy() - self.tolerance_m
                total += np.maximum(0.0, inside)
        return total
