"""What every decoder keeps to: noised grasps and a scene in, one prediction per grasp out, any number of grasps."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sceneleapultra.models.network.decoder.attention import (
    AttendedScene,
    AttentionBackend,
    hidden_tokens,
    require_backend,
)
from sceneleapultra.models.network.hand_encoder import HandTokens

KeysValues = tuple[tuple[Tensor, Tensor], ...]  # per block


@dataclass(frozen=True, kw_only=True)
class DecoderDims:
    """Widths that a decoder has from the parts around it; those of its own stand in its :class:`DecoderConfig`."""

    dim_state: int  # length of a grasp's state vector
    dim_scene: int  # width of scene tokens
    dim_out: int  # outputs per grasp
    dim_prompt: int | None  # width of a prompt's tokens; None for a model without prompts
    dim_hand: int | None  # width of a hand's tokens; None for a model of one hand
    dim_completion: int | None  # width of a completion's tokens; None for a model without


@dataclass(frozen=True)
class CompletionContext:
    """A completion's tokens as seen from each grasp's anchor; constant over the denoising steps."""

    keys_values: KeysValues  # (b h s e) each
    geometry: Float[Tensor, "b g s p"]
    valid: Bool[Tensor, "b s"]

    @cached_property
    def scenes(self) -> tuple[AttendedScene, ...]:
        """What each block attends to, laid out once for all steps."""
        return _attended(self.keys_values, self.valid)


@dataclass(frozen=True)
class GraspContext:
    """The scene as seen from each grasp's anchor; constant over the denoising steps."""

    keys_values: KeysValues  # of the scene's tokens, (b h s e) each
    geometry: Float[Tensor, "b g s p"]
    anchor: Float[Tensor, "b g d"]  # of the decoder's ``embed_anchor``
    token_valid: Bool[Tensor, "b s"]
    set_id: Int[Tensor, "b g"]  # grasps of equal number are one set and attend to one another; -1 for padding
    prompt: KeysValues | None  # of the prompt's tokens, (b h l e) each; None for a model without prompts
    prompt_valid: Bool[Tensor, "b l"] | None
    hand: HandTokens | None  # None for a model of one hand
    completion: CompletionContext | None  # None for a model without

    def prepare(self) -> None:
        """Compute what every step reads, outside of what ``torch.compile`` traces: it cannot follow a cache's lock."""
        _ = self.scenes, None if self.completion is None else self.completion.scenes

    @cached_property
    def scenes(self) -> tuple[AttendedScene, ...]:
        """What each block attends to of the scene, laid out once for all steps."""
        return _attended(self.keys_values, self.token_valid)


def _attended(keys_values: KeysValues, valid: Bool[Tensor, "b s"]) -> tuple[AttendedScene, ...]:
    hidden = hidden_tokens(valid, keys_values[0][0].shape[1])
    return tuple(
        AttendedScene(keys.flatten(0, 1), values.flatten(0, 1), hidden) for keys, values in keys_values
    )


class StepView(NamedTuple):
    """The scene as seen from the grasps of one denoising step."""

    geometry: Float[Tensor, "b g s p"]
    grasp_features: Float[Tensor, "b g h"] | None  # added to the grasps' tokens
    share: Float[Tensor, "b 1 1"] | None = None  # of them that is added; None for all


class Decoder(nn.Module, ABC):
    """Predicts for a set of grasps; equivariant to their order.

    Keys and values of scene and prompt depend on the scene alone: they are projected once and serve every grasp and
    every step; nothing of the scene is copied per grasp.
    """

    @abstractmethod
    def keys_values(self, features: Float[Tensor, "b s c"]) -> KeysValues:
        """Project the scene's tokens for every block."""

    @abstractmethod
    def prompt_keys_values(self, tokens: Float[Tensor, "b l c"]) -> KeysValues:
        """Project the prompt's tokens for every block; empty for a decoder built without ``dim_prompt``."""

    @abstractmethod
    def completion_keys_values(self, features: Float[Tensor, "b s c"]) -> KeysValues:
        """Project a completion's tokens for every block; empty for a decoder built without ``dim_completion``."""

    @abstractmethod
    def embed_anchor(self, features: Float[Tensor, "b g c"]) -> Float[Tensor, "b g d"]:
        """Return what the network takes of the features of the grasps' anchors, once for all steps."""

    @abstractmethod
    def embed_level(self, t: Float[Tensor, "n"]) -> Float[Tensor, "n *m"]:
        """Return what the network takes of noise levels, for all of them at once."""

    @abstractmethod
    def forward(
        self, x_t: Float[Tensor, "b g d"], level: Float[Tensor, "n *m"], view: StepView, context: GraspContext
    ) -> Float[Tensor, "b g o"]:
        """Predict one output vector per grasp; ``level`` is that of each scene, or one for all."""


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
                raise ValueError(
                    f"model.generator.decoder.{key}: expected at least 1, got {getattr(self, key)}."
                )
        if self.dim % self.heads or self.dim % 2:
            raise ValueError(
                f"model.generator.decoder.dim={self.dim} must be even and divisible by heads={self.heads}."
            )

    @abstractmethod
    def build(self, dims: DecoderDims) -> Decoder:
        """Make the decoder."""
