"""How an encoder learns from clouds alone: shown a cloud with holes, its tokens say how far the full surface is.

Masked autoencoding with an implicit decoder. Patches of a cloud are hidden and the rest is thinned by a grid; for
places about every token, a small network that sees the token and the place in the token's frame predicts the distance
to the nearest point of the cloud as it was. No grasp is read. Compare Pang et al. 2022 ("Masked Autoencoders for Point
Cloud Self-supervised Learning"), whose decoder gives points instead, and Chibane et al. 2020 for unsigned distances.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sceneleapultra.models.density import ThinDraw, reordered, stratified
from sceneleapultra.models.network.encoder.base import SceneEncoder
from sceneleapultra.models.network.tokens import Cloud, SceneTokens
from sceneleapultra.models.optim import build_param_groups
from sceneleapultra.models.sampling import cloud_of
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.core.seeding import keyed_generator
from sceneleapultra.utils.geometry.grid_sampling import cell_shares, cells, kept
from sceneleapultra.utils.geometry.points import gather

_STREAM = 2  # tells these draws from those of other objectives
_FREQUENCIES = 4


@dataclass(frozen=True)
class Hidden:
    """The random numbers of one step: what is hidden of each cloud, and where it is asked for."""

    thin: ThinDraw
    center: Float[Tensor, "b m"]  # of hidden patches, as places among the valid points in [0, 1)
    choice: Float[Tensor, "b s q"]  # of the points that queries lie about, likewise among those near a token
    noise: Float[Tensor, "b s q 3"]  # standard normal


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
            raise ValueError(f"model.masking.num_patches: expected at least 0, got {self.num_patches}.")
        if self.num_queries < 1:
            raise ValueError(f"model.masking.num_queries: expected at least 1, got {self.num_queries}.")
        for key in ("patch_radius_m", "cell_m", "query_reach_m", "query_noise_m", "max_distance_m"):
            if not getattr(self, key) > 0.0:
                raise ValueError(f"model.masking.{key}: expected more than 0 m, got {getattr(self, key)}.")

    def draw(self, items: Sequence[int], num_points: int, num_tokens: int, seed: int, step: int) -> Hidden:
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
        return Hidden(ThinDraw(order, uniform, shares), center, choice, noise)

    def hide(self, cloud: Cloud, hidden: Hidden) -> Cloud:
        """Return the cloud without its hidden patches, thinned, in stratified farthest-point order."""
        thin = hidden.thin
        stays = kept(cells(cloud.points, self.cell_m), cloud.valid, thin.order, thin.uniform, thin.shares)
        counts = cloud.valid.sum(1, keepdim=True)
        centers = gather(cloud.points, (hidden.center * counts).long())  # valid points stand first
        near = torch.cdist(cloud.points, centers) <= self.patch_radius_m
        stays = stays & ~near.any(-1)
        return reordered(cloud, *stratified(cloud.points, stays, cloud.target, self.target_share))

    def queries(
        self, tokens: SceneTokens, full: Cloud, hidden: Hidden
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
        seen = self.place(torch.cat([offset, waves.sin(), waves.cos()], dim=-1))
        out = self.out(seen + self.token(tokens.features)[:, :, None])
        return nn.functional.softplus(out.squeeze(-1).float())


class EncoderPretrainer(pl.LightningModule):
    """Trains any scene encoder without labels; its checkpoint is what ``encoder_weights`` reads.

    Args:
        encoder: scene encoder.
        masking: what is hidden and what is asked.
        dim: width of the network that answers.
        seed: of all draws, together with the step and the item.
        optimizer: partial of an optimizer over parameter groups.
        scheduler: partial of a learning-rate schedule over an optimizer.
    """

    next_command = "python train_lightning.py experiment=quickstart encoder_weights={}"

    def __init__(
        self,
        *,
        encoder: SceneEncoder,
        masking: Masking,
        dim: int,
        seed: int,
        optimizer: Callable[..., Any] | None,
        scheduler: Callable[..., Any] | None,
    ) -> None:
        super().__init__()
        self.encoder, self.masking, self.seed = encoder, masking, seed
        self.head = DistanceHead(encoder.dim, dim, masking.query_reach_m)
        self.optimizer_factory, self.scheduler_factory = optimizer, scheduler
        self.config: dict[str, Any] = {}  # what this module was built from

    @property
    def states_depend_on(self) -> None:
        """Measure nothing: clouds are in metres and no pose is learnt."""

    def loss(self, cloud: Cloud, hidden: Hidden) -> Float[Tensor, ""]:
        """Return the mean absolute error of distances, in shares of the largest, over the tokens of each scene."""
        tokens = self.encoder(self.masking.hide(cloud, hidden))
        places, distance, asked = self.masking.queries(tokens, cloud, hidden)
        error = (self.head(tokens, places) - distance / self.masking.max_distance_m).abs().mean(-1)
        return ((error * asked).sum(-1) / asked.sum(-1).clamp(min=1)).mean()

    def training_step(self, batch: GraspBatch, batch_idx: int) -> Tensor:
        """Return the loss of a batch."""
        return self._step(batch, "train", self.global_step)

    def validation_step(self, batch: GraspBatch, batch_idx: int) -> Tensor:
        """Log the loss on held-out objects, with draws that do not change from one validation to the next."""
        return self._step(batch, "val", 0)

    def _step(self, batch: GraspBatch, stage: str, step: int) -> Tensor:
        cloud = cloud_of(batch)
        num_points, num_tokens = cloud.points.shape[1], self.encoder.num_tokens
        hidden = self.masking.draw(batch.item_index, num_points, num_tokens, self.seed, step)
        loss = self.loss(cloud, to_device(hidden, self.device))
        self.log(
            f"{stage}/loss",
            loss.detach(),
            batch_size=batch.size,
            sync_dist=stage == "val",
            on_step=stage == "train",
        )
        return loss

    def configure_optimizers(self) -> Any:
        """Build the optimizer over decay and no-decay groups, and its schedule in steps."""
        if self.optimizer_factory is None or self.scheduler_factory is None:
            raise ValueError("Pretraining needs optimizer= and scheduler=; pass those of config/.")
        optimizer = self.optimizer_factory(build_param_groups(self))
        scheduler = self.scheduler_factory(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def to_device(hidden: Hidden, device: torch.device) -> Hidden:
    """Move everything."""
    moved = (x.to(device) for x in (hidden.center, hidden.choice, hidden.noise))
    return Hidden(hidden.thin.to(device), *moved)
