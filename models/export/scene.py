"""An encoded scene as tensors with names, and back."""

from collections.abc import Mapping

import torch
from torch import Tensor

from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.network.context import SceneContext
from sceneleapultra.models.network.surface import Surface
from sceneleapultra.models.network.tokens import SceneTokens

TOKENS = ("token_xyz", "token_features", "token_valid", "token_target", "token_frames")
SURFACE = ("surface_xyz", "surface_normal", "surface_target", "surface_valid")
SCENE = (*TOKENS, *SURFACE)


def key_names(generator: GraspGenerator) -> tuple[str, ...]:
    """Name the keys and values of each block of the decoder."""
    count = len(getattr(generator.decoder, "blocks"))  # noqa: B009 every decoder of blocks has them
    return tuple(f"{kind}_{i}" for i in range(count) for kind in ("keys", "values"))


def scene_tensors(scene: SceneContext) -> list[Tensor]:
    """Return the tensors of an encoded scene, in the order of ``SCENE`` and :func:`key_names`."""
    tokens, surface = scene.tokens, scene.surface
    return [
        *(tokens.xyz, tokens.features, tokens.valid, tokens.target, tokens.frames),
        *(surface.xyz, surface.normal, surface.target, surface.valid),
        *(x for pair in scene.keys_values for x in pair),
    ]


def scene_of(tensors: Mapping[str, Tensor]) -> SceneContext:
    """Return the encoded scene that these tensors are of; what is not among them is empty."""
    xyz = tensors["token_xyz"]
    nothing = xyz.new_zeros(())
    tokens, surface = ([tensors.get(name, nothing) for name in names] for names in (TOKENS, SURFACE))
    blocks = sum(name.startswith("keys_") for name in tensors)
    return SceneContext(
        tokens=SceneTokens(*tokens),
        surface=Surface(*surface),
        keys_values=tuple((tensors[f"keys_{i}"], tensors[f"values_{i}"]) for i in range(blocks)),
        up=tensors.get("up", nothing),
        outputs={},
        scene_kept=torch.ones(xyz.shape[0], dtype=torch.bool, device=xyz.device),
        prompts={},
        hand=None,
        completion=None,
    )
