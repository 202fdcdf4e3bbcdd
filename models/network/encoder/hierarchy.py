"""Levels of patches over prefixes of a farthest-point order, seen from local frames: what PointNets share.

Points arrive in farthest-point order, so the centers of each level are a prefix and farthest-point sampling costs
nothing. Source: Qi et al. 2017, PointNet++, section 3; frames: see :mod:`sceneleapultra.models.network.frames`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sceneleapultra.models.network.encoder.base import PyramidEncoder
from sceneleapultra.models.network.encoder.propagation import FeaturePropagation
from sceneleapultra.models.network.frames import local_frames
from sceneleapultra.models.network.tokens import Cloud, SceneTokens
from sceneleapultra.utils.core.precision import full_precision
from sceneleapultra.utils.geometry.points import Backend, gather, knn, require_backend


class Patch(NamedTuple):
    """The neighbors of every center at one scale.

    ``geometry``: offset over the radius, a direction, and on the first level what is known of the points.
    ``neighbors``: their index among the points of the level before; places that no neighbor within the radius fills
    repeat the nearest one, so that a maximum needs no mask.
    """

    geometry: Float[Tensor, "b s k g"]
    neighbors: Int[Tensor, "b s k"]


@dataclass(frozen=True, kw_only=True)
class AbstractionLevel:
    """One level of a hierarchy; ``config/model/encoder`` says what each number means."""

    centers: int
    radii: tuple[float, ...]
    neighbors: tuple[int, ...]
    widths: tuple[int, ...]

    def __post_init__(self) -> None:
        rules = {
            "centers": (self.centers >= 1, "at least 1"),
            "radii": (len(self.radii) > 0 and min(self.radii) > 0, "lengths of more than 0 m"),
            "neighbors": (
                len(self.neighbors) == len(self.radii) and min(self.neighbors, default=0) >= 1,
                f"one number of at least 1 for each of the {len(self.radii)} radii",
            ),
            "widths": (len(self.widths) > 0 and min(self.widths) >= 1, "one width of at least 1 or several"),
        }
        for key, (holds, expected) in rules.items():
            if not holds:
                raise ValueError(
                    f"{key} of an encoder's level: expected {expected}, got {getattr(self, key)}."
                )

    @property
    def dim(self) -> int:
        """Width of the level's features: all scales, one after the other."""
        return self.widths[-1] * len(self.radii)


class PatchNetwork(nn.Module, ABC):
    """Pools the neighbors of a center into one feature; one network per scale of a level."""

    @abstractmethod
    def __init__(self, dim_geometry: int, dim_in: int, widths: tuple[int, ...]) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, patch: Patch, features: Float[Tensor, "b n c"] | None) -> Float[Tensor, "b s c2"]:
        """Pool the neighbors of every center.

        Args:
            patch: the neighbors.
            features: of the points of the level before; none on the first level.
        """


class PointHierarchy(PyramidEncoder):
    """Levels of patches, each pooled by a ``network``.

    Args:
        levels: from fine to coarse.
        propagate: how many levels back, towards the fine ones, features are passed from the coarsest; the level
            reached gives the tokens.
        dim: width of the tokens.
        use_color: read the points' colors.
        checkpointing: recompute each level in the backward pass instead of keeping its activations.
        backend: of the search for neighbors.

    Raises:
        ValueError: levels do not fit each other.
        ImportError: the backend cannot run here.
    """

    token_modules = ("back", "out")
    network: ClassVar[type[PatchNetwork]]
    """Pools a patch."""

    def __init__(
        self,
        *,
        levels: dict[str, AbstractionLevel],
        propagate: int,
        dim: int,
        use_color: bool,
        checkpointing: bool,
        backend: Backend,
    ) -> None:
        super().__init__()
        _check_levels(levels, propagate)
        self.plan, self.propagate, self.dim = levels, propagate, dim
        self.use_color, self.checkpointing = use_color, checkpointing
        self.backend = require_backend(backend)
        each = list(levels.values())
        self.level_sizes = tuple(level.centers for level in each)
        self.level_dims = tuple(level.dim for level in each)
        self.num_tokens = self.level_sizes[-1 - propagate]
        self.num_centers = self.level_sizes[0]
        self.min_points = max(each[0].neighbors)
        # Of a point itself the first level sees, beside its own kind, the center's and whether they differ.
        geometry = [6 + 3 + 3 * use_color] + [6] * (len(levels) - 1)
        inputs = [0, *self.level_dims[:-1]]
        self.stages = nn.ModuleDict(
            {
                name: nn.ModuleList(self.network(g, c, level.widths) for _ in level.radii)
                for (name, level), g, c in zip(levels.items(), geometry, inputs, strict=True)
            }
        )
        self.skips = nn.ModuleList(
            nn.Identity() if a == b else nn.Linear(a, b) for a, b in pairwise(self.level_dims)
        )
        self.back = nn.ModuleList(
            FeaturePropagation(self.level_dims[-1 - i], self.level_dims[-2 - i], self.level_dims[-2 - i])
            for i in range(propagate)
        )
        self.out = nn.Linear(self.level_dims[-1 - propagate] + 3, dim)

    def layers(self) -> list[list[nn.Module]]:
        """Return the levels; skips, propagation and the last layer come after them."""
        return [[stage] for stage in self.stages.values()]

    def forward(self, cloud: Cloud) -> SceneTokens:
        """Encode a cloud into ``num_tokens`` tokens."""
        levels = self.levels(cloud)
        tokens = levels[-1]
        for i, step in enumerate(self.back):
            tokens = step(levels[-2 - i], tokens, self.backend)
        with full_precision(cloud.points.device.type):
            up = in_frames(tokens.frames, cloud.up.float())
        features = self.out(torch.cat([tokens.features, up], dim=-1))
        features = features.masked_fill(~tokens.valid[..., None], 0.0)
        return SceneTokens(tokens.xyz, features, tokens.valid, tokens.target, tokens.frames)

    def levels(self, cloud: Cloud) -> tuple[SceneTokens, ...]:
        """Encode; return every level, from fine to coarse.

        Raises:
            ValueError: the cloud has fewer points than the first level has centers, or see ``point_features``.
        """
        if cloud.points.shape[1] < self.level_sizes[0]:
            raise ValueError(
                f"Level '{next(iter(self.plan))}' of {type(self).__name__} takes {self.level_sizes[0]} centers from a "
                f"cloud, got clouds of {cloud.points.shape[1]} points. Raise data.cloud.num_points, or lower centers."
            )
        patches, frames = self._patches(cloud)
        made: list[SceneTokens] = []
        for i, (scales, group) in enumerate(zip(self.stages.values(), patches, strict=True)):
            before, size = made[-1].features if made else None, self.level_sizes[i]
            assert isinstance(scales, nn.ModuleList)
            pooled = torch.cat(
                [self._pooled(stage, patch, before) for stage, patch in zip(scales, group, strict=True)], -1
            )
            if before is not None:
                pooled = self.skips[i - 1](before[:, :size]) + pooled
            valid = cloud.valid[:, :size]
            xyz, target = cloud.points[:, :size].float(), cloud.target[:, :size] & valid
            made.append(SceneTokens(xyz, pooled, valid, target, frames[:, :size]))
        return tuple(made)

    def _pooled(self, stage: nn.Module, patch: Patch, before: Tensor | None) -> Tensor:
        if self.checkpointing and torch.is_grad_enabled():
            recomputed: Tensor = checkpoint(stage, patch, before, use_reentrant=False)
            return recomputed
        pooled: Tensor = stage(patch, before)
        return pooled

    def _patches(self, cloud: Cloud) -> tuple[list[list[Patch]], Float[Tensor, "b s 3 3"]]:
        """Return geometry and neighbors of every level and scale, and the frames of the first level's centers."""
        with full_precision(cloud.points.device.type):
            points, valid, known = cloud.points.float(), cloud.valid, self.point_features(cloud)
            up, frames = cloud.up.float(), points  # until there are frames
            made: list[list[Patch]] = []
            for i, level in enumerate(self.plan.values()):
                centers = points[:, : level.centers]
                index, distance = knn(centers, points, max(level.neighbors), valid, self.backend)
                scales = list(zip(level.radii, level.neighbors, strict=True))
                inside = [distance[..., :k] <= radius for radius, k in scales]
                if i == 0:
                    patch = gather(points, index[..., : level.neighbors[0]])
                    frames = local_frames(patch, inside[0], centers, cloud.viewpoint.float(), up)
                own = frames[:, : level.centers]
                group = []
                for (radius, k), near in zip(scales, inside, strict=True):
                    chosen = torch.where(near, index[..., :k], index[..., :1])
                    offsets = (gather(points, chosen) - centers[:, :, None]) @ own
                    # Gravity and kind of each point, or the way its surface faces, seen from the center's frame.
                    facts = (
                        [in_frames(own, up)[:, :, None].expand_as(offsets), *_kinds(known, chosen)]
                        if i == 0
                        else [gather(frames[..., 2], chosen) @ own]
                    )
                    group.append(Patch(torch.cat([offsets / radius, *facts], dim=-1), chosen))
                made.append(group)
                points, valid = centers, valid[:, : level.centers]
            return made, frames


def in_frames(frames: Float[Tensor, "b s 3 3"], direction: Float[Tensor, "b 3"]) -> Float[Tensor, "b s 3"]:
    """Return a direction of each cloud in the coordinates of its frames."""
    return (direction[:, None, None] @ frames).squeeze(-2)


def _kinds(known: Float[Tensor, "b n f"], index: Int[Tensor, "b s k"]) -> list[Tensor]:
    """Whether a neighbor is the target's, whether its center is, whether they differ; and its color."""
    of_neighbor = gather(known, index)
    kind = of_neighbor[..., :1]
    own = known[:, : index.shape[1], None, :1].expand_as(kind)
    return [kind, own, (kind - own).abs(), of_neighbor[..., 1:]]


def _check_levels(levels: dict[str, AbstractionLevel], propagate: int) -> None:
    if not levels:
        raise ValueError("model.generator.encoder.levels: expected at least one level, got none.")
    for (fine, before), (coarse, level) in pairwise(levels.items()):
        if level.centers > before.centers or max(level.neighbors) > before.centers:
            raise ValueError(
                f"model.generator.encoder.levels.{coarse} takes centers={level.centers} and "
                f"neighbors={level.neighbors} from the {before.centers} centers of level '{fine}', which are too few. "
                f"Lower them, or raise model.generator.encoder.levels.{fine}.centers."
            )
    if not 0 <= propagate < len(levels):
        raise ValueError(
            f"model.generator.encoder.propagate: expected 0 to {len(levels) - 1}, less than there are levels, "
            f"got {propagate}."
        )
