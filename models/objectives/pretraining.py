"""How an encoder is trained on clouds alone: from a cloud with holes, its tokens predict distances to the full surface.

Masked autoencoding with an implicit decoder. Patches of a cloud are hidden and the rest is thinned by a grid; for
places about every token, a small network that reads the token and the place in the token's frame predicts the distance
to the nearest point of the cloud as it was. No grasp is read. Compare Pang et al. 2022 ("Masked Autoencoders for Point
Cloud Self-supervised Learning"), whose decoder gives points instead, and Chibane et al. 2020 for unsigned distances.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sceneleapultra.models.network.encoder.base import SceneEncoder
from sceneleapultra.models.network.tokens import Cloud, SceneTokens
from sceneleapultra.models.objectives.context import StepInputs
from sceneleapultra.models.objectives.objective import Objective
from sceneleapultra.models.objectives.sparse import SparsifyNoise, reordered, stratified
from sceneleapultra.models.objectives.term import LossTerm
from sceneleapultra.utils.core.keyed_random import keyed_generator
from sceneleapultra.utils.geometry.grid_numpy import cell_shares
from sceneleapultra.utils.geometry.grid_sampling import cells, kept
from sceneleapultra.utils.geometry.points import gather

_STREAM = 2  # tells these draws from those of other objectives
_FREQUENCIES = 4


@dataclass(frozen=True)
class MaskingNoise:
    """The random numbers of one step: what is hidden of each cloud, and where it is asked for."""

    sparsify: SparsifyNoise
    center: Float[Tensor, "b m"]  # of hidden patches, as places among the valid points in [0, 1)
    choice: Float[Tensor, "b s q"]  # of the points that queries lie about, likewise among those near a token
    noise: Float[Tensor, "b s q 3"]  # standard normal

    def to(self, device: torch.device) -> "MaskingNoise":
        """Move everything."""
        moved = (x.to(device) for x in (self.center, self.choice, self.noise))
        return MaskingNoise(self.sparsify.to(device), *moved)


@dataclass(frozen=True, kw_only=True)
class Masking:
    """What is hidden and what is asked; ``config/model/pretrain.yaml`` says what each number means."""

    num_patches: int
    patch_radius_m: float
    cell_m: float
    ratio: tuple[float, float]
    target_share: float
    num_queries: int
    query_reach_m: float
    query_noise_m: float
    max_distance_m: float

    def __post_init__(self) -> None:
        cell_shares("half", self.ratio)
        if self.num_patches < 0:
            raise ValueError(
                f"model.objective.masking.num_patches: expected at least 0, got {self.num_patches}."
            )
        if self.num_queries < 1:
            raise ValueError(
                f"model.objective.masking.num_queries: expected at least 1, got {self.num_queries}."
            )
        for key in ("patch_radius_m", "cell_m", "query_reach_m", "query_noise_m", "max_distance_m"):
            if not getattr(self, key) > 0.0:
                raise ValueError(
                    f"model.objective.masking.{key}: expected more than 0 m, got {getattr(self, key)}."
                )

    def draw(
        self, items: Sequence[int], num_points: int, num_tokens: int, seed: int, step: int
    ) -> MaskingNoise:
        """Draw the random numbers of a step, keyed by (seed, step, item)."""
        rows = []
        for item in items:
            g = keyed_generator(seed, step, item, _STREAM)
            rows.append(
                (
                    torch.randperm(num_points, generator=g),
                    torch.rand(num_points, generator=g),
                    torch.rand(self.num_patches, generator=g),
                    torch.rand(num_tokens, self.num_queries, generator=g),
                    torch.randn(num_tokens, self.num_queries, 3, generator=g),
                )
            )
        order, uniform, center, choice, noise = (torch.stack(column) for column in zip(*rows, strict=True))
        shares = torch.tensor([self.ratio]).expand(len(rows), 2)
        return MaskingNoise(SparsifyNoise(order, uniform, shares), center, choice, noise)

    def hide(self, cloud: Cloud, hidden: MaskingNoise) -> Cloud:
        """Return the cloud without its hidden patches, thinned, in stratified farthest-point order."""
        sparsify = hidden.sparsify
        stays = kept(
            cells(cloud.points, self.cell_m), cloud.valid, sparsify.order, sparsify.uniform, sparsify.shares
        )
        counts = cloud.valid.sum(1, keepdim=True)
        centers = gather(cloud.points, (hidden.center * counts).long())  # valid points stand first
        near = torch.cdist(cloud.points, centers) <= self.patch_radius_m
        stays = stays & ~near.any(-1)
        return reordered(cloud, *stratified(cloud, stays, self.target_share))

    def queries(
        self, tokens: SceneTokens, full: Cloud, hidden: MaskingNoise
    ) -> tuple[Float[Tensor, "b s q 3"], Float[Tensor, "b s q"], Bool[Tensor, "b s"]]:
        """Return places about each token, their true distance to the full cloud, and which tokens have any."""
        apart = torch.cdist(tokens.xyz, full.points)
        near = (apart <= self.query_reach_m) & full.valid[:, None]
        number = near.sum(-1)
        # The k-th near point of a token is where the running count first exceeds k.
        wanted = (hidden.choice * number[..., None]).long() + 1
        index: Int[Tensor, "b s q"] = torch.searchsorted(near.cumsum(-1), wanted).clamp(
            max=near.shape[-1] - 1
        )
        places = gather(full.points, index) + self.query_noise_m * hidden.noise
        gap = torch.cdist(places.flatten(1, 2), full.points).masked_fill(~full.valid[:, None], torch.inf)
        distance = gap.amin(-1).clamp(max=self.max_distance_m)
        return places, distance.unflatten(1, places.shape[1:3]), tokens.valid & (number > 0)


class DistanceHead(nn.Module):
    """Predicts a distance from a token and a place in the token's frame."""

    def __init__(self, dim_token: int, dim: int, reach_m: float) -> None:
        super().__init__()
        self.reach_m = reach_m
        self.place = nn.Linear(3 + 6 * _FREQUENCIES, dim)
        self.token = nn.Linear(dim_token, dim)
        self.out = nn.Sequential(nn.GELU(), nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, 1))

    def forward(self, tokens: SceneTokens, places: Float[Tensor, "b s q 3"]) -> Float[Tensor, "b s q"]:
        """Return distances in units of the largest one that counts, at least 0."""
        offset = (places - tokens.xyz[:, :, None]) @ tokens.frames / self.reach_m
        waves = torch.cat([offset * (torch.pi * 2.0**k) for k in range(_FREQUENCIES)], dim=-1)
        placed = self.place(torch.cat([offset, waves.sin(), waves.cos()], dim=-1))
        out = self.out(placed + self.token(tokens.features)[:, :, None])
        return nn.functional.softplus(out.squeeze(-1).float())


class EncoderOnly(nn.Module):
    """A scene encoder alone, in the place of a generator; its checkpoint is what ``encoder_weights`` reads.

    Args:
        encoder: scene encoder.
    """

    def __init__(self, *, encoder: SceneEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.config: dict[str, Any] | None = None  # as that of a generator

    @property
    def device(self) -> torch.device:
        """Where the encoder is."""
        return next(self.encoder.parameters()).device


class PretrainingContext(StepInputs):
    """A step of pretraining: a full cloud, and tokens of the same cloud with holes.

    Args:
        generator: whose encoder is trained.
        batch: scenes; no grasp is read.
        objective: whose masking and head apply.
        step: of training; with the objective's seed and the item it decides every random number.
        training: false in validation.
    """

    generator: EncoderOnly
    objective: "MaskedDistance"

    @property
    def masking(self) -> Masking:
        """What is hidden and what is predicted."""
        return self.objective.masking

    @cached_property
    def noise(self) -> MaskingNoise:
        """The random numbers of the step."""
        num_points, num_tokens = self.batch.scene_pc.shape[1], self.generator.encoder.num_tokens
        seed = self.objective.seed
        drawn = self.masking.draw(self.batch.item_index, num_points, num_tokens, seed, self.step)
        return drawn.to(self.generator.device)

    @cached_property
    def tokens(self) -> SceneTokens:
        """Tokens of the clouds with holes."""
        return self.generator.encoder(self.masking.hide(self.cloud, self.noise))

    @cached_property
    def distance_error(self) -> tuple[Float[Tensor, "b s"], Bool[Tensor, "b s"]]:
        """Mean absolute error of the distances about each token, in shares of the largest, and which tokens count."""
        places, distance, counts = self.masking.queries(self.tokens, self.cloud, self.noise)
        error = (
            (self.objective.head(self.tokens, places) - distance / self.masking.max_distance_m).abs().mean(-1)
        )
        return error, counts


class DistanceError(LossTerm):
    """Mean absolute error of distances, in shares of the largest, over the tokens of each scene."""

    needs = ("distance_error",)

    def __call__(self, context: PretrainingContext) -> Float[Tensor, ""]:  # type: ignore[override]
        """Return the mean over tokens, then over scenes."""
        error, counts = context.distance_error
        return ((error * counts).sum(-1) / counts.sum(-1).clamp(min=1)).mean()


class MaskedDistance(Objective):
    """Trains any scene encoder without labels.

    Args:
        terms: what is minimized, by name.
        masking: what is hidden and what is predicted.
        dim: width of the network that predicts distances.
        seed: of all random numbers, together with the step and the item.
    """

    next_step = ("python train_lightning.py experiment=quickstart", "encoder_weights")
    measures_statistics = False  # clouds are in metres and no pose is learned
    context_type = PretrainingContext

    def __init__(self, *, terms: dict[str, LossTerm], masking: Masking, dim: int, seed: int) -> None:
        super().__init__(terms=terms, seed=seed)
        self.masking, self._dim = masking, dim

    def prepare(self, generator: Any) -> None:
        """Build the network that predicts distances."""
        if not isinstance(generator, EncoderOnly):
            raise ValueError(
                "model.objective=pretraining trains an encoder alone; model.generator is a whole generator. Pass "
                "model=pretrain."
            )
        self.head = DistanceHead(generator.encoder.dim, self._dim, self.masking.query_reach_m)
