"""Consistency between a sparse view of a cloud and the full one: robustness to the density of points.

The same network reads the full cloud, which training does anyhow and which gets no gradient here, and a *sparse view*,
what a grid leaves of it. The sparse view's tokens shall agree with the nearest ones of the full view, and its predicted
clean states, for the same noised ones and anchors, with those of the full view.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.losses import masked_mean
from sceneleapultra.models.network.context import AnchoredScene, SceneContext
from sceneleapultra.models.network.tokens import Cloud, SceneTokens
from sceneleapultra.models.objectives.term import GraspTerm, LossTerm, Weight
from sceneleapultra.utils.core.keyed_random import keyed_generator
from sceneleapultra.utils.geometry.grid_numpy import cell_shares
from sceneleapultra.utils.geometry.grid_sampling import cells, kept
from sceneleapultra.utils.geometry.points import farthest_point_order, gather

if TYPE_CHECKING:
    from sceneleapultra.models.objectives.denoising import DenoisingContext

_STREAM = 1  # separates these random numbers from those of the noise


@dataclass(frozen=True)
class SparsifyNoise:
    """The random numbers that thin a batch of clouds."""

    order: Int[Tensor, "b n"]
    uniform: Float[Tensor, "b n"]
    shares: Float[Tensor, "b 2"]

    def to(self, device: torch.device) -> "SparsifyNoise":
        """Move everything."""
        return SparsifyNoise(self.order.to(device), self.uniform.to(device), self.shares.to(device))


@dataclass(frozen=True, kw_only=True)
class SparseView:
    """How clouds are thinned for the sparse view; ``config/model/objective`` says what each number means."""

    scenarios: dict[str, float]
    cell_m: float
    ratio: tuple[float, float]
    target_share: float

    def __post_init__(self) -> None:
        """Refuse settings without a meaning."""
        for name in self.scenarios:
            cell_shares(name, self.ratio)
        chances = self.scenarios.values()
        rules = {
            "scenarios": (
                min(chances, default=-1.0) >= 0.0 and sum(chances) > 0.0,
                "chances of at least 0, not all 0",
            ),
            "cell_m": (self.cell_m > 0.0, "more than 0"),
        }
        for key, (holds, expected) in rules.items():
            if not holds:
                raise ValueError(
                    f"model.objective.sparse_view.{key}: expected {expected}, got {getattr(self, key)}."
                )

    def draw(self, items: Sequence[int], num_points: int, seed: int, step: int) -> SparsifyNoise:
        """Draw a scenario and its random numbers for each item, keyed by (seed, step, item)."""
        names = list(self.scenarios)
        chance = torch.tensor([self.scenarios[name] for name in names])
        ranges = torch.tensor([cell_shares(name, self.ratio) for name in names])
        order, uniform, shares = [], [], []
        for item in items:
            generator = keyed_generator(seed, step, item, _STREAM)
            shares.append(ranges[torch.multinomial(chance, 1, generator=generator)[0]])
            order.append(torch.randperm(num_points, generator=generator))
            uniform.append(torch.rand(num_points, generator=generator))
        return SparsifyNoise(torch.stack(order), torch.stack(uniform), torch.stack(shares))

    def sparsify(self, cloud: Cloud, draw: SparsifyNoise) -> Cloud:
        """Return what the grid leaves of each cloud, in stratified farthest-point order, padded to the same size."""
        stays = kept(cells(cloud.points, self.cell_m), cloud.valid, draw.order, draw.uniform, draw.shares)
        return reordered(cloud, *stratified(cloud, stays, self.target_share))


class SparseFeatures(LossTerm):
    """One minus the cosine between tokens of the sparse view and the full view's nearest of the same kind.

    The full view's tokens get no gradient. Averaged over each scene's tokens that have a partner within reach.

    Args:
        reach_m: tokens further than this from every token of the full cloud are not compared (m).
        weight: see :class:`~sceneleapultra.models.objectives.term.LossTerm`.
    """

    needs = ("scene", "sparse_scene")
    validated = False

    def __init__(self, *, reach_m: float, weight: Weight) -> None:
        super().__init__(weight=weight)
        if not reach_m > 0.0:
            raise ValueError(f"model.objective.terms: expected reach_m more than 0, got {reach_m}.")
        self.reach_m = reach_m

    def __call__(self, context: "DenoisingContext") -> Float[Tensor, ""]:  # type: ignore[override]
        """Return the mean difference."""
        return self.difference(context.sparse_scene.tokens, context.scene.tokens)

    def difference(self, sparse: SceneTokens, full: SceneTokens) -> Float[Tensor, ""]:
        """Return the mean difference of tokens."""
        distances = torch.cdist(sparse.xyz, full.xyz)
        alike = sparse.target[:, :, None] == full.target[:, None]
        distance, index = distances.masked_fill(~(alike & full.valid[:, None]), torch.inf).min(-1)
        counts = sparse.valid & (distance <= self.reach_m)
        partner = gather(full.features.detach(), index)
        difference = 1.0 - torch.cosine_similarity(sparse.features.float(), partner.float(), dim=-1)
        return masked_mean(difference, counts)


class SparsePrediction(GraspTerm):
    """Squared difference between the clean states predicted on the sparse and on the full view.

    The full view's prediction gets no gradient; weighted by noise level.
    """

    needs = ("x0_hat", "sparse_x0_hat", "sample_weight", "positive")
    validated = False

    def values(self, context: "DenoisingContext") -> tuple[Float[Tensor, "b g"], Bool[Tensor, "b g"]]:  # type: ignore[override]
        """Return the mean over the state."""
        difference = (context.sparse_x0_hat - context.x0_hat.detach()).square().mean(-1)
        return context.sample_weight[:, None] * difference, context.positive


def reordered(cloud: Cloud, index: Int[Tensor, "b n"], valid: Bool[Tensor, "b n"]) -> Cloud:
    """Return the cloud with these of its points, in this order; those that are not ``valid`` are zero."""

    def picked(values: Tensor) -> Tensor:
        return gather(values, index).masked_fill(~valid.reshape(*valid.shape, *[1] * (values.dim() - 2)), 0)

    # All that is known of a cloud, but for the camera and gravity, is known of each of its points.
    names = [f.name for f in fields(cloud) if f.name not in ("valid", "viewpoint", "up")]
    known = {name: getattr(cloud, name) for name in names if getattr(cloud, name) is not None}
    return replace(cloud, valid=valid, **{name: picked(values) for name, values in known.items()})


@torch.no_grad()
def stratified(
    cloud: Cloud, stays: Bool[Tensor, "b n"], target_share: float
) -> tuple[Int[Tensor, "b n"], Bool[Tensor, "b n"]]:
    """Order what stays of clouds as :mod:`utils.geometry.cloud` does.

    Farthest points of target and rest, every prefix with its share of both.

    Returns:
        Indices, those of points that do not stay last, and which of them stay.
    """
    points, n = cloud.points, cloud.points.shape[1]
    sides = torch.stack([stays & cloud.target, stays & ~cloud.target])
    longest = max(1, int(sides.sum(-1).max()))
    order = farthest_point_order(points.repeat(2, 1, 1), longest, valid=sides.flatten(0, 1))
    order = order.unflatten(0, (2, -1))
    there = sides.gather(-1, order)
    # The i-th target point comes at (i + 1/2) / share, and so on.
    share = torch.tensor([target_share, 1.0 - target_share], dtype=torch.float64, device=points.device)
    place = (torch.arange(longest, device=points.device) + 0.5) / share[:, None, None]
    place = place.expand(order.shape).masked_fill(~there, torch.inf)
    place, merged = place.transpose(0, 1).flatten(1).sort(dim=1, stable=True)
    index = order.transpose(0, 1).flatten(1).gather(1, merged)
    missing = max(0, n - index.shape[1])
    index = torch.nn.functional.pad(index, (0, missing))[:, :n]
    found = torch.nn.functional.pad(place.isfinite(), (0, missing))[:, :n]
    return index, found


def same_anchors(
    generator: GraspGenerator,
    sparse: SceneContext,
    full: AnchoredScene,
    dropped: Mapping[str, Bool[Tensor, "b"]],
) -> AnchoredScene:
    """Return the sparse scene as the full one's anchors see it: same frames, the sparse view's nearest tokens.

    Args:
        generator: whose scenes they are.
        sparse: the encoded sparse views, without prompts.
        full: the full scenes with their anchors; prompts are theirs.
        dropped: scenes without a condition.
    """
    sparse = replace(sparse, prompts=full.scene.prompts)
    unprompted = {name: rows for name, rows in dropped.items() if name in ("scene", "color")}
    sparse = generator.conditioning.drop(sparse, unprompted, generator.decoder)
    origin = gather(full.scene.tokens.xyz, full.index)
    index, _ = nearest(origin, sparse.tokens.xyz, sparse.tokens.valid)
    tokens = sparse.tokens
    geometry, anchor = generator.view(sparse, index, full.origins, full.frames)
    context = replace(
        full.context,
        keys_values=sparse.keys_values,
        geometry=geometry,
        anchor=anchor,
        token_valid=tokens.valid,
    )
    return replace(full, scene=sparse, index=index, context=context)


def nearest(
    query: Float[Tensor, "b q 3"], points: Float[Tensor, "b n 3"], valid: Bool[Tensor, "b n"]
) -> tuple[Int[Tensor, "b q"], Float[Tensor, "b q"]]:
    """Return the nearest valid point of each query and its distance."""
    distance, index = torch.cdist(query, points).masked_fill(~valid[:, None], torch.inf).min(-1)
    return index, distance
