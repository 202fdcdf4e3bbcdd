"""Which training view looks most like a test view, and how must it be turned and moved to lie on it.

Gravity is known, so two clouds of tabletop objects differ by a turn about the vertical and a shift. Candidates pass
three sieves: quantiles of height and radius (blind to the turn), symmetric chamfer distance over a grid of turns, and a
few steps of alignment by nearest neighbors (Besl & McKay 1992, restricted to the vertical turn).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sceneleapultra.evaluation.items import Item
from sceneleapultra.evaluation.methods.base import Proposal, unscored
from sceneleapultra.evaluation.methods.training_index import TrainingIndex, transform_grasps
from sceneleapultra.hands import GraspPose, Hand
from sceneleapultra.reporting.results import Role
from sceneleapultra.utils.records import Grasps

_QUANTILES = torch.tensor([0.02, 0.25, 0.5, 0.75, 0.98])
_CHUNK = 4_000_000  # distances held at once
_SEEN_POINTS = 384  # points of each kind in which the hand may lie
_REACH_M = 0.25  # other points further from the target are out of the hand's way


@dataclass(frozen=True)
class Match:
    """A training view laid on a test view."""

    view: int
    T_test_train: Float[np.ndarray, "4 4"]  # world of the training scene into the world of the test scene
    distance_m: float  # symmetric chamfer distance after alignment


class NearestView:
    """Baseline that transplants grasps of the training views that look most alike; it sees only the cloud.

    Grasps of the nearest few objects compete: the distance of their view counts, and how deep the transplanted hand
    lies in the points that are seen, of the target and of everything else.

    Args:
        hand: the hand.
        pool: what may be retrieved.
        keep_height: leave the height of grasps over the table as it was, instead of aligning the clouds in height too:
            safer for the hand, less exact on the object.
        points: points of a cloud that are compared.
        coarse_points: points compared while searching over turns.
        shortlist: candidates that pass the first sieve.
        turns: yaw angles tried.
        refined: candidates that are aligned.
        alignment_steps: steps of alignment.
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
        keep_height: bool,
        points: int,
        coarse_points: int,
        shortlist: int,
        turns: int,
        refined: int,
        alignment_steps: int,
        competing: int,
        depth_weight: float,
        tolerance_m: float,
        seed: int,
    ) -> None:
        self.hand, self.pool, self.keep_height = hand, pool, keep_height
        self.name = "nearest view, height kept" if keep_height else "nearest training view"
        self.num_points, self.num_coarse = points, min(points, coarse_points)
        self.shortlist, self.refined, self.alignment_steps = shortlist, refined, alignment_steps
        self.competing, self.depth_weight, self.tolerance_m = competing, depth_weight, tolerance_m
        self.seed = seed
        self.centers = torch.stack([center(view.points, view.on_table) for view in pool.views])
        clouds = [self._cloud(view.points, c) for view, c in zip(pool.views, self.centers, strict=True)]
        self.clouds = torch.stack(clouds)
        self.descriptors = torch.stack([describe(cloud) for cloud in clouds])
        yaw = torch.arange(turns) * (2 * torch.pi / turns)
        self.rotations = rotation_about_z(yaw)

    def sample_items(self, items: Sequence[Item], k: int) -> list[Proposal]:
        """Return the ``k`` best transplanted grasps for each item; a smaller pool repeats them."""
        return [self._sample(item, k) for item in items]

    def _sample(self, item: Item, k: int) -> Proposal:
        rng = np.random.default_rng([self.seed, item.index])
        parts: list[Grasps] = []
        cost: list[float] = []
        used: set[int] = set()
        for match in self.matches(item.target_points, item.scene.table):
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
            seen = torch.from_numpy(np.asarray(points[:_SEEN_POINTS], dtype=np.float32)).expand(
                len(grasps), -1, -1
            )
            for pose in (grasp, replace(grasp, qpos=opened)):
                inside = -self.hand.signed_distance(seen, pose).amin(-1).numpy() - self.tolerance_m
                total += np.maximum(0.0, inside)
        return total

    @torch.no_grad()
    def matches(self, points: Float[np.ndarray, "n 3"], on_table: bool) -> list[Match]:
        """Return the training views most like a cloud, best first."""
        target_center = center(points, on_table)
        query = self._cloud(points, target_center)
        far = (self.descriptors - describe(query)).norm(dim=-1)
        candidates = far.topk(min(self.shortlist, len(far)), largest=False).indices
        table = self._turn_table(query[: self.num_coarse], candidates)
        best, turn = table.min(-1)
        kept = best.topk(min(self.refined, len(best)), largest=False).indices
        views = candidates[kept]
        clouds = self.clouds[views]
        R, shift, distance = align(
            clouds, query, self.rotations[turn[kept]], self.alignment_steps, self.keep_height and on_table
        )
        T = torch.eye(4, dtype=torch.float64).repeat(len(views), 1, 1)
        T[:, :3, :3] = R
        T[:, :3, 3] = target_center + shift - (R @ self.centers[views][..., None]).squeeze(-1)
        order = distance.argsort(stable=True)
        return [Match(int(views[i]), T[i].numpy(), float(distance[i])) for i in order]

    def _turn_table(self, query: Float[Tensor, "n 3"], candidates: Int[Tensor, "m"]) -> Float[Tensor, "m y"]:
        """Chamfer distance of every candidate in every turn."""
        # Turning the query back is turning the candidate forth.
        queries = query @ self.rotations  # (y n 3): rows times R = R^T applied to points
        per_candidate = queries.shape[0] * queries.shape[1] * self.num_coarse
        parts = []
        for chunk in candidates.split(max(1, _CHUNK // per_candidate)):
            clouds = self.clouds[chunk, None, : self.num_coarse]
            parts.append(
                chamfer(clouds.expand(-1, len(queries), -1, -1), queries.expand(len(chunk), -1, -1, -1))
            )
        return torch.cat(parts)

    def _cloud(self, points: Float[np.ndarray, "n 3"], origin: Float[Tensor, "3"]) -> Float[Tensor, "p 3"]:
        """Return the first points of a cloud about its center; a cloud with fewer repeats them."""
        chosen = torch.from_numpy(np.resize(np.arange(len(points)), self.num_points))
        return torch.from_numpy(np.asarray(points, dtype=np.float32))[chosen] - origin


def center(points: Float[np.ndarray, "n 3"], on_table: bool) -> Float[Tensor, "3"]:
    """Return the mean of the visible points; on a table its height is kept, for the table is in view."""
    mean = torch.from_numpy(np.asarray(points, dtype=np.float32)).mean(0)
    return mean * torch.tensor([1.0, 1.0, 0.0 if on_table else 1.0])


def describe(cloud: Float[Tensor, "n 3"]) -> Float[Tensor, "q"]:
    """Return quantiles of height and of distance to the vertical axis, in metres."""
    return torch.cat([cloud[:, 2].quantile(_QUANTILES), cloud[:, :2].norm(dim=-1).quantile(_QUANTILES)])


def rotation_about_z(yaw: Float[Tensor, "*b"]) -> Float[Tensor, "*b 3 3"]:
    """Return rotations about the vertical."""
    c, s, zero, one = yaw.cos(), yaw.sin(), torch.zeros_like(yaw), torch.ones_like(yaw)
    return torch.stack([c, -s, zero, s, c, zero, zero, zero, one], dim=-1).unflatten(-1, (3, 3))


def chamfer(a: Float[Tensor, "*b n 3"], b: Float[Tensor, "*b m 3"]) -> Float[Tensor, "*b"]:
    """Return the mean distance to the nearest neighbor, averaged over both directions."""
    distance = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
    return (distance.amin(-1).mean(-1) + distance.amin(-2).mean(-1)) / 2


def align(
    source: Float[Tensor, "m n 3"],
    target: Float[Tensor, "n 3"],
    R: Float[Tensor, "m 3 3"],
    steps: int,
    keep_height: bool,
) -> tuple[Float[Tensor, "m 3 3"], Float[Tensor, "m 3"], Float[Tensor, "m"]]:
    """Move clouds onto one by turns about the vertical and shifts, starting from turns; return the best state met.

    Returns:
        Rotation, shift and symmetric chamfer distance of each source cloud.
    """
    shift = torch.zeros(len(source), 3)
    best_R, best_shift, best = R, shift, torch.full((len(source),), float("inf"))
    for _ in range(steps + 1):
        now = source @ R.transpose(-1, -2) + shift[:, None]
        distance = torch.cdist(
            now, target.expand(len(now), -1, -1), compute_mode="donot_use_mm_for_euclid_dist"
        )
        reached, nearest = distance.min(-1)
        reached_back, nearest_back = distance.min(-2)
        value = (reached.mean(-1) + reached_back.mean(-1)) / 2
        better = value < best
        best = torch.where(better, value, best)
        best_R = torch.where(better[:, None, None], R, best_R)
        best_shift = torch.where(better[:, None], shift, best_shift)
        # Pairs in both directions, then the closed-form turn (planar Procrustes) and shift between them.
        a = torch.cat([source, take(source, nearest_back)], dim=1)
        b = torch.cat([target[nearest], target.expand(len(now), -1, -1)], dim=1)
        mean_a, mean_b = a.mean(1), b.mean(1)
        ac, bc = a - mean_a[:, None], b - mean_b[:, None]
        sine = (ac[..., 0] * bc[..., 1] - ac[..., 1] * bc[..., 0]).sum(-1)
        cosine = (ac[..., 0] * bc[..., 0] + ac[..., 1] * bc[..., 1]).sum(-1)
        R = rotation_about_z(torch.atan2(sine, cosine))
        shift = mean_b - (R @ mean_a[..., None]).squeeze(-1)
        if keep_height:
            shift[:, 2] = 0.0
    return best_R, best_shift, best


def take(points: Float[Tensor, "m n 3"], index: Int[Tensor, "m k"]) -> Float[Tensor, "m k 3"]:
    """Gather points of each cloud."""
    return points.gather(1, index[..., None].expand(-1, -1, 3))
