"""Which stored cloud looks most like another one, and how must it be turned and moved to lie on it.

Gravity is known, so two clouds of tabletop objects differ by a turn about the vertical and a shift. Candidates pass
three sieves: quantiles of height and radius (blind to the turn), symmetric chamfer distance over a grid of turns, and a
few steps of alignment by nearest neighbors (Besl & McKay 1992, restricted to the vertical turn).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

_QUANTILES = torch.tensor([0.02, 0.25, 0.5, 0.75, 0.98])
_CHUNK = 4_000_000  # distances held at once


@dataclass(frozen=True)
class Match:
    """A stored view laid on another one."""

    view: int
    T_test_train: Float[np.ndarray, "4 4"]  # world of the stored view into the world of the other
    distance_m: float  # symmetric chamfer distance after alignment


@dataclass(frozen=True, kw_only=True)
class Matching:
    """How views are compared; ``config/evaluation/method/nearest_view.yaml`` says what each number means."""

    points: int
    coarse_points: int
    shortlist: int
    turns: int
    refined: int
    alignment_steps: int


class ViewMatcher:
    """Finds the stored views most like a cloud.

    Args:
        clouds: points of each stored view, in the world of its scene (m).
        on_table: which of them stand on a table.
        settings: how views are compared.
        keep_height: never shift a cloud on a table in height.
    """

    def __init__(
        self,
        clouds: Sequence[Float[np.ndarray, "_n 3"]],
        on_table: Sequence[bool],
        settings: Matching,
        *,
        keep_height: bool,
    ) -> None:
        self.settings, self.keep_height = settings, keep_height
        self.num_coarse = min(settings.points, settings.coarse_points)
        self.centers = torch.stack([center(*view) for view in zip(clouds, on_table, strict=True)])
        stored = [self._cloud(points, c) for points, c in zip(clouds, self.centers, strict=True)]
        self.clouds = torch.stack(stored)
        self.descriptors = torch.stack([describe(cloud) for cloud in stored])
        self.rotations = rotation_about_z(torch.arange(settings.turns) * (2 * torch.pi / settings.turns))

    @torch.no_grad()
    def matches(self, points: Float[np.ndarray, "n 3"], on_table: bool) -> list[Match]:
        """Return the stored views most like a cloud, best first."""
        target_center = center(points, on_table)
        query = self._cloud(points, target_center)
        far = (self.descriptors - describe(query)).norm(dim=-1)
        candidates = far.topk(min(self.settings.shortlist, len(far)), largest=False).indices
        table = self._turn_table(query[: self.num_coarse], candidates)
        best, turn = table.min(-1)
        kept = best.topk(min(self.settings.refined, len(best)), largest=False).indices
        views = candidates[kept]
        clouds = self.clouds[views]
        R, shift, distance = align(
            clouds,
            query,
            self.rotations[turn[kept]],
            self.settings.alignment_steps,
            self.keep_height and on_table,
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
        chosen = torch.from_numpy(np.resize(np.arange(len(points)), self.settings.points))
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
