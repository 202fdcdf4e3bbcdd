"""A scorer that attends to the encoder's tokens, as the generator's decoder does."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sceneleapultra.models.network.contacts import ContactFeatures
from sceneleapultra.models.network.context import DecodedGrasps, SceneContext
from sceneleapultra.models.network.decoder.base import DecoderDims, GraspContext, StepView
from sceneleapultra.models.network.decoder.dit import DiTConfig
from sceneleapultra.models.network.heads.base import HeadInputs
from sceneleapultra.models.network.heads.score import ScoreHead, ScoreHeadConfig
from sceneleapultra.models.network.pair_geometry import PairGeometry
from sceneleapultra.utils.geometry.points import gather


class TokenScoreHead(ScoreHead):
    """A small transformer over scene tokens and the distances of the hand's links to the surface.

    Args:
        inputs: hand, codec and token width of the generator.
        config: sizes.
    """

    def __init__(self, inputs: HeadInputs, config: "TokenScoreConfig") -> None:
        super().__init__()
        sizes = DiTConfig(
            dim=config.dim,
            depth=config.depth,
            heads=config.heads,
            set_attention=False,
            dim_geometry=config.dim_geometry,
            geometry_scale=config.geometry_scale,
            hand_geometry=False,
            contact_scale=config.contact_scale,
            attention="sdpa",
            checkpointing=False,
            mlp_ratio=4.0,
            dim_time=config.dim,
        )
        self.decoder = sizes.build(
            DecoderDims(
                dim_state=inputs.codec.layout.dim,
                dim_scene=inputs.dim_token,
                dim_out=2,
                dim_prompt=None,
                dim_hand=inputs.dim_hand,
                dim_completion=None,
            )
        )
        self.geometry = PairGeometry(config.dim_geometry, config.geometry_scale)
        self.codec = inputs.codec
        self.contacts = ContactFeatures(
            inputs.hand, dim=config.dim, scale=config.contact_scale, dim_hand=inputs.dim_hand
        )

    def forward(
        self, grasps: DecodedGrasps, scene: SceneContext, kept: Bool[Tensor, "b s"] | None = None
    ) -> Float[Tensor, "b g 2"]:
        """See :class:`~sceneleapultra.models.network.heads.base.GraspHead`; all tokens are shown."""
        tokens, states, axes = scene.tokens, grasps.states, self.codec.axes(grasps.pose)
        features = tokens.features.detach()
        context = GraspContext(
            keys_values=self.decoder.keys_values(features),
            geometry=self.geometry(grasps.point, axes, tokens),
            anchor=self.decoder.embed_anchor(gather(features, grasps.index)),
            token_valid=tokens.valid,
            set_id=torch.zeros_like(grasps.index),
            prompt=None,
            prompt_valid=None,
            hand=scene.hand,
            completion=None,
        )
        clean = self.decoder.embed_level(torch.zeros(1, device=states.device))
        contacts = self.contacts(grasps.pose, axes, scene.surface, scene.hand)
        return self.decoder(states, clean, StepView(context.geometry, contacts), context).float()


@dataclass(frozen=True, kw_only=True)
class TokenScoreConfig(ScoreHeadConfig):
    """Sizes of a :class:`TokenScoreHead`.

    Args:
        dim: width.
        depth: blocks.
        heads: attention heads.
        dim_geometry: width of pair embeddings.
        geometry_scale: length that pair geometry is measured in (m).
        contact_scale: length that distances of links to the surface are measured in (m).
    """

    at_least_one = ("dim", "depth", "heads", "dim_geometry")
    dim: int
    depth: int
    heads: int
    dim_geometry: int
    geometry_scale: float

    def __post_init__(self) -> None:
        """Refuse sizes that no head can have."""
        super().__post_init__()
        if self.dim % self.heads or self.dim % 2:
            raise ValueError(
                f"model.generator.heads.score.dim={self.dim} must be even and divisible by heads={self.heads}."
            )

    def build(self, inputs: HeadInputs) -> TokenScoreHead:
        """Make the head."""
        return TokenScoreHead(inputs, self)
