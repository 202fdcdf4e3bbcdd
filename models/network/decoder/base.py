"""What every decoder keeps to: noised grasps and a scene in, one prediction per grasp out, any number of grasps."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sceneleapultra.models.network.decoder.attention import (
    AttentionBackend,
    GeometricCrossAttention,
    PromptAttention,
    SetAttention,
    require_backend,
)

KeysValues = tuple[tuple[Tensor, Tensor], ...]  # per block


@dataclass(frozen=True, kw_only=True)
class DecoderDims:
    """Widths that a decoder has from the parts around it; those of its own stand in its :class:`DecoderConfig`."""

    dim_state: int  # length of a grasp's state vector
    dim_scene: int  # width of scene tokens
    dim_out: int  # outputs per grasp
    dim_prompt: int | None  # width of a prompt's tokens; None for a model without prompts


@dataclass(frozen=True)
class GraspContext:
    """The scene as seen from each grasp's anchor; constant over the denoising steps."""

    keys_values: KeysValues  # of the scene's tokens, (b s h e) each
    geometry: Float[Tensor, "b g s p"]
    anchor: Float[Tensor, "b g c"]
    token_valid: Bool[Tensor, "b s"]
    set_id: Int[Tensor, "b g"]  # grasps of equal number are one set and attend to one another; -1 for padding
    prompt: KeysValues | None  # of the prompt's tokens, (b h l e) each; None for a model without prompts
    prompt_valid: Bool[Tensor, "b l"] | None


class AttentionBlock(Protocol):
    """What :class:`Decoder` needs of each of its blocks."""

    cross_attn: GeometricCrossAttention
    prompt_attn: PromptAttention | None


class Decoder(nn.Module, ABC):
    """Predicts for a set of grasps; equivariant to their order. Its ``blocks`` attend to scene and prompt.

    Keys and values of scene and prompt depend on the scene alone: they are projected once and serve every grasp and
    every step; nothing of the scene is copied per grasp.
    """

    blocks: Sequence[AttentionBlock]

    def keys_values(self, features: Float[Tensor, "b s c"]) -> KeysValues:
        """Project the scene's tokens for every block."""
        return tuple(block.cross_attn.keys_values(features) for block in self.blocks)

    def prompt_keys_values(self, tokens: Float[Tensor, "b l c"]) -> KeysValues:
        """Project the prompt's tokens for every block; empty for a decoder built without ``dim_prompt``."""
        return tuple(b.prompt_attn.keys_values(tokens) for b in self.blocks if b.prompt_attn is not None)

    @abstractmethod
    def forward(
        self,
        x_t: Float[Tensor, "b g d"],
        t: Float[Tensor, "b"],
        geometry: Float[Tensor, "b g s p"],
        grasp_features: Float[Tensor, "b g h"],
        context: GraspContext,
    ) -> Float[Tensor, "b g o"]:
        """Predict one output vector per grasp; ``grasp_features`` are added to the grasps' tokens."""


@dataclass(frozen=True, kw_only=True)
class DecoderConfig(ABC):
    """A decoder's sizes and inputs, as ``config/model/decoder`` names them."""

    dim: int
    depth: int
    heads: int
    set_attention: bool
    dim_geometry: int
    geometry_scale: float
    hand_geometry: bool
    contact_scale: float
    attention: AttentionBackend
    checkpointing: bool

    def __post_init__(self) -> None:
        """Refuse sizes that no decoder can have, and an attention that is not installed."""
        require_backend(self.attention)
        for key in ("dim", "depth", "heads", "dim_geometry"):
            if getattr(self, key) < 1:
                raise ValueError(f"model.decoder.{key}: expected at least 1, got {getattr(self, key)}.")
        if self.dim % self.heads or self.dim % 2:
            raise ValueError(
                f"model.decoder.dim={self.dim} must be even and divisible by heads={self.heads}."
            )

    @abstractmethod
    def build(self, dims: DecoderDims) -> Decoder:
        """Make the decoder."""


def attention_layers(
    config: DecoderConfig, dims: DecoderDims
) -> tuple[SetAttention | None, GeometricCrossAttention, PromptAttention | None]:
    """Return a block's attention to its set, to the scene and to a prompt, the first and last where there is one."""
    dim, heads = config.dim, config.heads
    return (
        SetAttention(dim=dim, heads=heads, attention=config.attention) if config.set_attention else None,
        GeometricCrossAttention(
            dim=dim, dim_scene=dims.dim_scene, dim_geometry=config.dim_geometry, heads=heads
        ),
        None
        if dims.dim_prompt is None
        else PromptAttention(dim=dim, dim_prompt=dims.dim_prompt, heads=heads),
    )
