"""How a model is taught to say the same of a thin cloud as of a full one.

A teacher reads the full cloud, which training does anyhow, and gets no gradient; a student with the same weights reads
what a grid leaves of it. The student's tokens shall agree with the teacher's nearest ones, and its clean grasps, at the
same noised ones and seen from the same anchors, with the teacher's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sceneleapultra.models.denoiser import Anchored, Denoiser, SceneContext
from sceneleapultra.models.losses import masked_mean
from sceneleapultra.models.network.tokens import Cloud, SceneTokens
from sceneleapultra.utils.core.seeding import keyed_generator
from sceneleapultra.utils.geometry.grid_sampling import cell_shares, cells, kept
from sceneleapultra.utils.geometry.points import farthest_point_order, gather

_STREAM = 1  # tells the draws of thin clouds from those of the noise


@dataclass(frozen=True)
class ThinDraw:
    """The random numbers that thin a batch of clouds."""

    order: Int[Tensor, "b n"]
    uniform: Float[Tensor, "b n"]
    shares: Float[Tensor, "b 2"]

    def to(self, device: torch.device) -> "ThinDraw":
        """Move everything."""
        return ThinDraw(self.order.to(device), self.uniform.to(device), self.shares.to(device))


@dataclass(frozen=True, kw_only=True)
class DensityConsistency:
    """The consistency term; ``config/model`` says what each number means. Without weight nothing is computed."""

    feature_weight: float
    prediction_weight: float
    ramp_steps: int
    scenarios: dict[str, float]
    cell_m: float
    ratio: tuple[float, float]
    reach_m: float
    target_share: float

    def __post_init__(self) -> None:
        for name in self.scenarios:
            cell_shares(name, self.ratio)
        chances = self.scenarios.values()
        rules = {
            "feature_weight": (self.feature_weight >= 0.0, "at least 0"),
            "prediction_weight": (self.prediction_weight >= 0.0, "at least 0"),
            "ramp_steps": (self.ramp_steps >= 1, "at least 1"),
            "scenarios": (
                min(chances, default=-1.0) >= 0.0 and sum(chances) > 0.0,
                "chances of at least 0, not all 0",
            ),
            "cell_m": (self.cell_m > 0.0, "more than 0"),
            "reach_m": (self.reach_m > 0.0, "more than 0"),
        }
        for key, (holds, expected) in rules.items():
            if not holds:
                raise ValueError(f"model.density.{key}: expected {expected}, got {getattr(self, key)}.")

    @property
    def active(self) -> bool:
        """Whether there is anything to compute."""
        return self.feature_weight > 0.0 or self.prediction_weight > 0.0

    def weights(self, step: int) -> dict[str, float]:
        """Return the weight of each term, rising linearly over the first steps."""
        ramp = min(1.0, (step + 1) / self.ramp_steps)
        return {
            "density_features": ramp * self.feature_weight,
            "density_prediction": ramp * self.prediction_weight,
        }

    def draw(self, items: Sequence[int], num_points: int, seed: int, step: int) -> ThinDraw:
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
        return ThinDraw(torch.stack(order), torch.stack(uniform), torch.stack(shares))

    def thin(self, cloud: Cloud, draw: ThinDraw) -> Cloud:
        """Return what the grid leaves of each cloud, in stratified farthest-point order, padded to the same size."""
        stays = kept(cells(cloud.points, self.cell_m), cloud.valid, draw.order, draw.uniform, draw.shares)
        return reordered(cloud, *stratified(cloud.points, stays, cloud.target, self.target_share))

    def feature_difference(self, student: SceneTokens, teacher: SceneTokens) -> Float[Tensor, ""]:
        """Return one minus the cosine between tokens of the student and the teacher's nearest of the same kind.

        Averaged over each scene's tokens that have a partner within reach, then over scenes.
        """
        distances = torch.cdist(student.xyz, teacher.xyz)
        alike = student.target[:, :, None] == teacher.target[:, None]
        distance, index = distances.masked_fill(~(alike & teacher.valid[:, None]), torch.inf).min(-1)
        counts = student.valid & (distance <= self.reach_m)
        partner = gather(teacher.features.detach(), index)
        difference = 1.0 - torch.cosine_similarity(student.features.float(), partner.float(), dim=-1)
        return masked_mean(difference, counts)


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
    points: Float[Tensor, "b n 3"],
    valid: Bool[Tensor, "b n"],
    target: Bool[Tensor, "b n"],
    target_share: float,
) -> tuple[Int[Tensor, "b n"], Bool[Tensor, "b n"]]:
    """Order clouds as :mod:`utils.cloud` does: farthest points of target and rest, every prefix with its share of both.

    Returns:
        Indices, those of points that are not ``valid`` last, and which are valid.
    """
    n = points.shape[1]
    sides = torch.stack([valid & target, valid & ~target])
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


def same_grasps(denoiser: Denoiser, student: SceneContext, teacher: Anchored) -> Anchored:
    """Look at the student's scene from the teacher's anchors: same frames, the student's nearest token for each."""
    origin = gather(teacher.scene.tokens.xyz, teacher.index)
    index, _ = nearest(origin, student.tokens.xyz, student.tokens.valid)
    tokens = student.tokens
    geometry, anchor = denoiser.view(student, index, teacher.origins, teacher.frames)
    context = replace(
        teacher.context,
        keys_values=student.keys_values,
        geometry=geometry,
        anchor=anchor,
        token_valid=tokens.valid,
    )
    return Anchored(
        scene=student, index=index, origins=teacher.origins, frames=teacher.frames, context=context
    )


def nearest(
    query: Float[Tensor, "b q 3"], points: Float[Tensor, "b n 3"], valid: Bool[Tensor, "b n"]
) -> tuple[Int[Tensor, "b q"], Float[Tensor, "b q"]]:
    """Return the nearest valid point of each query and its distance."""
    distance, index = torch.cdist(query, points).masked_fill(~valid[:, None], torch.inf).min(-1)
    return index, distance
