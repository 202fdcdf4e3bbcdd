"""What a network may do without: a scene, its colors, a prompt; and the learned values that stand in for them.

Dropping a condition in some training scenes is what classifier-free guidance needs (Ho & Salimans 2022).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sceneleapultra.models.network.conditions.base import Condition, PromptTokens
from sceneleapultra.models.network.context import SceneContext
from sceneleapultra.models.network.decoder.base import Decoder
from sceneleapultra.models.network.encoder.base import SceneEncoder
from sceneleapultra.models.network.tokens import Cloud
from sceneleapultra.utils.geometry.points import gather


def prompt_dim(conditions: Mapping[str, Condition]) -> int | None:
    """Return the width of prompt tokens; None without conditions.

    Raises:
        ValueError: conditions of different widths.
    """
    widths = {condition.dim for condition in conditions.values()}
    if len(widths) > 1:
        raise ValueError(
            f"model.generator.conditions must share one dim, got {sorted(widths)}: their tokens stand side by side."
        )
    return next(iter(widths), None)


class Conditioning(nn.Module):
    """Prompts, and null values for what training drops.

    Args:
        conditions: what accompanies the scene, by name.
        encoder: of the scene, for its width and whether it uses color.
        condition_dropout: share of training scenes that do without ``scene`` or ``color``.
    """

    def __init__(
        self,
        *,
        conditions: Mapping[str, Condition],
        encoder: SceneEncoder,
        condition_dropout: Mapping[str, float],
    ) -> None:
        super().__init__()
        self.conditions: dict[str, Condition] = nn.ModuleDict(conditions)  # type: ignore[assignment]
        if set(condition_dropout) != {"scene", "color"}:
            raise ValueError(
                "model.generator.condition_dropout: expected the keys scene and color, got "
                f"{sorted(condition_dropout)}."
            )
        for name, share in condition_dropout.items():
            if not 0.0 <= share < 1.0:
                raise ValueError(
                    f"model.generator.condition_dropout.{name}: expected at least 0 and less than 1, got {share}."
                )
        scene, color = condition_dropout["scene"], condition_dropout["color"]
        if color and not encoder.use_color:
            raise ValueError(
                f"model.generator.condition_dropout.color={color:g} drops colors, but model.generator.encoder uses "
                f"none. Pass {encoder.color_settings[0]}, or model.generator.condition_dropout.color=0."
            )
        self.null_scene = nn.Parameter(torch.randn(encoder.dim) * encoder.dim**-0.5) if scene else None
        self.null_color = nn.Parameter(torch.full((3,), 0.5)) if color else None
        self.drop_prob = {name: c.drop_prob for name, c in conditions.items() if c.drop_prob}
        self.drop_prob |= {name: share for name, share in condition_dropout.items() if share}

    def fill_color(self, cloud: Cloud, color_dropped: Bool[Tensor, "b"] | None) -> Cloud:
        """Return clouds with the learned color where there is none; the encoder refuses what still lacks one."""
        if self.null_color is None:
            return cloud
        null = self.null_color.expand_as(cloud.points)
        if cloud.rgb is None:
            return replace(cloud, rgb=null)
        if color_dropped is None:
            return cloud
        return replace(cloud, rgb=cloud.rgb.where(~color_dropped[:, None, None], null))

    def encode_prompts(self, scene: SceneContext, texts: Mapping[str, Sequence[str | None]]) -> SceneContext:
        """Add the prompts of each scene, by condition; ``None`` is no prompt."""
        return replace(scene, prompts={name: self.conditions[name](row) for name, row in texts.items()})

    def null_prompt(self, scene: SceneContext) -> PromptTokens:
        """Return the tokens where nothing is said of any scene, for a network with conditions."""
        nothing: list[str | None] = [None] * len(scene.scene_kept)
        prompt = self.prompt(self.encode_prompts(scene, dict.fromkeys(self.conditions, nothing)))
        assert prompt is not None
        return prompt

    def drop(
        self, scene: SceneContext, dropped: Mapping[str, Bool[Tensor, "b"]], decoder: Decoder
    ) -> SceneContext:
        """Return the scenes without ``scene``, or without one of the conditions, where ``dropped`` is true."""
        prompts = {
            name: self.conditions[name].mask_prompt(prompt, dropped[name]) if name in dropped else prompt
            for name, prompt in scene.prompts.items()
        }
        scene = replace(scene, prompts=prompts)
        if "scene" not in dropped:
            return scene
        assert self.null_scene is not None
        null = decoder.keys_values(self.null_scene.expand(1, 1, -1))
        row = dropped["scene"][:, None, None, None]
        return replace(
            scene,
            keys_values=tuple(
                (torch.where(row, n_k, k), torch.where(row, n_v, v))
                for (k, v), (n_k, n_v) in zip(scene.keys_values, null, strict=True)
            ),
            scene_kept=scene.scene_kept & ~dropped["scene"],
        )

    def mask_geometry(
        self, geometry: Float[Tensor, "b g s p"], scene_kept: Bool[Tensor, "b"]
    ) -> Float[Tensor, "b g s p"]:
        """Return pair geometry, or what stands for it in a scene that was dropped."""
        return geometry if self.null_scene is None else geometry * scene_kept[:, None, None, None]

    def anchor_features(self, scene: SceneContext, index: Int[Tensor, "b g"]) -> Float[Tensor, "b g c"]:
        """Return the features of grasps' anchors, or what stands for them in a scene that was dropped."""
        anchor = gather(scene.tokens.features, index)
        if self.null_scene is None:
            return anchor
        return torch.where(scene.scene_kept[:, None, None], anchor, self.null_scene.to(anchor.dtype))

    def prompt(self, scene: SceneContext) -> PromptTokens | None:
        """Return the tokens of all prompts side by side; None for a network without conditions."""
        if not self.conditions:
            return None
        parts = [scene.prompts[name] for name in self.conditions]
        return PromptTokens(
            tokens=torch.cat([p.tokens for p in parts], dim=1),
            valid=torch.cat([p.valid for p in parts], dim=1),
        )
