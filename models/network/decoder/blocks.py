"""What decoders of attention blocks share: attention to the set, the scene and a prompt in each of their blocks."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sceneleapultra.models.network.decoder.attention import (
    Attended,
    AttendedScene,
    GeometricCrossAttention,
    PromptAttention,
    SetAttention,
    scene_keys_values,
)
from sceneleapultra.models.network.decoder.base import (
    Decoder,
    DecoderConfig,
    DecoderDims,
    GraspContext,
    KeysValues,
    StepView,
)
from sceneleapultra.models.network.decoder.time import FourierTime, time_layers
from sceneleapultra.models.network.hand_encoder import StateIn, StateOut
from sceneleapultra.models.network.low_rank import add_product


class BlockView(NamedTuple):
    """What one block attends to."""

    set_id: Int[Tensor, "b g"]
    geometry: Float[Tensor, "bg s p"]
    scene: AttendedScene
    prompt: Attended | None
    completion: tuple[AttendedScene, Float[Tensor, "bg s p"]] | None


@runtime_checkable
class AttentionBlock(Protocol):
    """A block of a :class:`BlockDecoder`."""

    self_attn: SetAttention | None
    cross_attn: GeometricCrossAttention
    prompt_attn: PromptAttention | None
    completion_attn: GeometricCrossAttention | None

    def __call__(self, x: Float[Tensor, "b g c"], time: Tensor, view: BlockView) -> Float[Tensor, "b g d"]:
        """Refine the vectors of grasps."""


class BlockDecoder(Decoder, ABC):
    """A decoder whose ``blocks`` attend to the set, the scene and the prompt."""

    blocks: Sequence[AttentionBlock]
    out: nn.Module

    def __init__(
        self, config: DecoderConfig, dims: DecoderDims, *, state_in: nn.Module, dim_time: int
    ) -> None:
        super().__init__()
        self.dim, self.checkpointing = config.dim, config.checkpointing
        self.state_in = state_in
        self.anchor_in = nn.Linear(dims.dim_scene, config.dim)
        self.fourier_time, self.time = FourierTime(config.dim), time_layers(config.dim, dim_time)

    def keys_values(self, features: Float[Tensor, "b s c"]) -> KeysValues:
        """See :class:`Decoder`."""
        return scene_keys_values([block.cross_attn for block in self.blocks], features)

    def prompt_keys_values(self, tokens: Float[Tensor, "b l c"]) -> KeysValues:
        """See :class:`Decoder`."""
        return tuple(b.prompt_attn.keys_values(tokens) for b in self.blocks if b.prompt_attn is not None)

    def completion_keys_values(self, features: Float[Tensor, "b s c"]) -> KeysValues:
        """See :class:`Decoder`."""
        layers = [b.completion_attn for b in self.blocks if b.completion_attn is not None]
        return scene_keys_values(layers, features) if layers else ()

    def embed_anchor(self, features: Float[Tensor, "b g c"]) -> Float[Tensor, "b g d"]:
        """See :class:`Decoder`."""
        embedded: Tensor = self.anchor_in(features)
        return embedded + self.state_in.bias if isinstance(self.state_in, nn.Linear) else embedded

    def embed_level(self, t: Float[Tensor, "n"]) -> Float[Tensor, "n *m"]:
        """See :class:`Decoder`."""
        time: Tensor = self.time(self.fourier_time(t))
        return time

    def forward(
        self, x_t: Float[Tensor, "b g d"], level: Float[Tensor, "n *m"], view: StepView, context: GraspContext
    ) -> Float[Tensor, "b g o"]:
        """See :class:`Decoder`."""
        of_hand = (context.hand,) if isinstance(self.state_in, StateIn) else ()
        if isinstance(self.state_in, nn.Linear):
            x = add_product(context.anchor.flatten(0, 1), self.state_in, x_t.flatten(0, 1))
            x = x.view_as(context.anchor)
        else:
            x = self.state_in(x_t, *of_hand) + context.anchor
        if view.grasp_features is not None:
            features, share = view.grasp_features, view.share
            x = x + features if share is None else torch.addcmul(x, share, features)
        geometry = view.geometry.flatten(0, 1)
        prompts: list[Attended] | list[None] = [None] * len(self.blocks)
        if context.prompt is not None and context.prompt_valid is not None:
            prompts = [Attended(*keys_values, context.prompt_valid) for keys_values in context.prompt]
        completions: list[tuple[AttendedScene, Tensor]] | list[None] = [None] * len(self.blocks)
        if context.completion is not None:
            places = context.completion.geometry.flatten(0, 1)
            completions = [(tokens, places) for tokens in context.completion.scenes]
        views = [
            BlockView(context.set_id, geometry, *parts)
            for parts in zip(context.scenes, prompts, completions, strict=True)
        ]
        x = self.refine(x, level, views)
        out: Tensor = self.out(x, *of_hand) if isinstance(self.out, StateOut) else self.out(x)
        return out

    @abstractmethod
    def refine(
        self, x: Float[Tensor, "b g c"], level: Float[Tensor, "n *m"], views: Sequence[BlockView]
    ) -> Float[Tensor, "b g c"]:
        """Run the blocks, each on its view, up to the output layer ``out``."""

    def run_block(
        self, block: AttentionBlock, x: Float[Tensor, "b g c"], time: Tensor, view: BlockView
    ) -> Float[Tensor, "b g d"]:
        """Run a block; in training with ``checkpointing``, recompute it in the backward pass."""
        if self.checkpointing and self.training:
            recomputed: Tensor = checkpoint(block, x, time, view, use_reentrant=False)
            return recomputed
        return block(x, time, view)


class AttentionLayers(NamedTuple):
    """What a block attends with; the set, a prompt and a completion where there is one."""

    self_attn: SetAttention | None
    cross_attn: GeometricCrossAttention
    prompt_attn: PromptAttention | None
    completion_attn: GeometricCrossAttention | None


def attention_layers(config: DecoderConfig, dims: DecoderDims) -> AttentionLayers:
    """Return a block's attention to its set, to the scene, to a prompt and to a completion.

    That to a completion starts at zero: a model that learned without one is continued as it is.
    """
    dim, heads, dim_geometry = config.dim, config.heads, config.dim_geometry

    def to_tokens(width: int) -> GeometricCrossAttention:
        return GeometricCrossAttention(dim=dim, dim_scene=width, dim_geometry=dim_geometry, heads=heads)

    completion = None if dims.dim_completion is None else to_tokens(dims.dim_completion)
    if completion is not None:
        nn.init.zeros_(completion.out.weight)
        nn.init.zeros_(completion.out.bias)
    return AttentionLayers(
        SetAttention(dim=dim, heads=heads, attention=config.attention) if config.set_attention else None,
        to_tokens(dims.dim_scene),
        None
        if dims.dim_prompt is None
        else PromptAttention(dim=dim, dim_prompt=dims.dim_prompt, heads=heads),
        completion,
    )


def attend_to_scene(
    block: AttentionBlock, x: Float[Tensor, "b g d"], view: BlockView
) -> Float[Tensor, "b g d"]:
    """Return what a block takes from the scene's tokens, and from those of a completion where there are some."""
    attended: Tensor = block.cross_attn(x, view.scene, view.geometry)
    if block.completion_attn is not None and view.completion is not None:
        attended = attended + block.completion_attn(x, *view.completion)
    return attended
