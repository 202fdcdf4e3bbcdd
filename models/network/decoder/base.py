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
    require_backend,
)

KeysValues = tuple[tuple[Tensor, Tensor], ...]  # per block


@dataclass(frozen=True)
class GraspContext:
    """What a decoder may know of the scene, as seen from each grasp's anchor; constant over the denoising steps."""

    keys_values: KeysValues  # of the scene's tokens, (b s h e) each
    geometry: Float[Tensor, "b g s p"]
    anchor: Float[Tensor, "b g c"]
    token_valid: Bool[Tensor, "b s"]
    together: Int[Tensor, "b g"]  # grasps of equal number are one set and see each other; -1 for padding
    prompt: KeysValues | None  # of the prompt's tokens, (b h l e) each; None for a model without prompts
    prompt_valid: Bool[Tensor, "b l"] | None


class Attending(Protocol):
    """A block as its decoder's context sees it."""

    across: GeometricCrossAttention
    told: PromptAttention | None


class Decoder(nn.Module, ABC):
    """Predicts for a set of grasps; equivariant to their order. Its ``blocks`` look at scene and prompt.

    Keys and values of scene and prompt belong to the scene alone: they are projected once and serve every grasp and
    every step; nothing of the scene is ever copied per grasp.
    """

    blocks: Sequence[Attending]

    def keys_values(self, features: Float[Tensor, "b s c"]) -> KeysValues:
        """Project the scene's tokens for every block."""
        return tuple(block.across.keys_values(features) for block in self.blocks)

    def prompt_keys_values(self, tokens: Float[Tensor, "b l c"]) -> KeysValues:
        """Project the prompt's tokens for every block; only a decoder that was built with ``dim_prompt`` can."""
        return tuple(block.told.keys_values(tokens) for block in self.blocks if block.told is not None)

    @abstractmethod
    def forward(
        self,
        x_t: Float[Tensor, "b g d"],
        t: Float[Tensor, "b"],
        geometry: Float[Tensor, "b g s p"],
        hint: Float[Tensor, "b g h"],
        context: GraspContext,
    ) -> Float[Tensor, "b g o"]:
        """Predict one output vector per grasp; ``hint`` is what else is known of each, added to its token."""


@dataclass(frozen=True, kw_only=True)
class DecoderConfig(ABC):
    """A decoder's sizes and what it is shown, as ``config/model/decoder`` names them."""

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
    def build(self, *, dim_state: int, dim_scene: int, dim_out: int, dim_prompt: int | None) -> Decoder:
        """Make the decoder for a state, a scene's tokens, an output, and a prompt's tokens if there are any."""
