"""The contract of every scene encoder."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sceneleapultra.models.network.tokens import Cloud, SceneTokens


class SceneEncoder(nn.Module, ABC):
    """Turns a cloud into a bounded number of tokens that carry their position and a local frame.

    A cloud's tokens depend neither on its padding nor on the clouds beside it in the batch; moving a cloud moves
    the tokens' positions and changes nothing else. Coordinates, neighborhoods and frames are float32 under any
    autocast. No encoder normalizes over the batch unless asked to, so small batches train like large ones.
    """

    dim: int
    """Width of the token features."""

    num_tokens: int
    """Tokens per cloud: the decoder's cost is bounded by this, never by the cloud."""

    min_points: int
    """Fewest valid points of a cloud that the encoder accepts."""

    num_centers: int
    """Points that a cloud must have room for."""

    static_shapes: bool = True
    """Whether all sizes inside follow from the number of points alone, none from where they are."""

    use_color: bool
    """Whether it reads the points' colors."""

    color_settings = ("model.generator.encoder.use_color=true", "model.generator.encoder.use_color=false")
    """The settings that make it read them, and that make it not."""

    @abstractmethod
    def forward(self, cloud: Cloud) -> SceneTokens:
        """Encode; tokens of clouds that are short of points are marked invalid, their features are zero."""

    def layers(self) -> list[list[nn.Module]]:
        """Return the modules of each layer, from the points on; what is in none of them comes after the last."""
        return []

    def point_features(self, cloud: Cloud) -> Float[Tensor, "b n f"]:
        """Return what is known of each point besides its place: whether it is the target's, and its color, 0 to 1.

        Raises:
            ValueError: see ``check_color``.
        """
        self.check_color(cloud)
        target = (cloud.target & cloud.valid).to(torch.float32)[..., None]
        return target if cloud.rgb is None else torch.cat([target, cloud.rgb.float()], dim=-1)

    def check_color(self, cloud: Cloud) -> None:
        """Refuse a cloud whose colors the encoder does not know what to do with, or lacks.

        Raises:
            ValueError: colors are missing, or given to an encoder that does not use them.
        """
        if (cloud.rgb is not None) == self.use_color:
            return
        what, (color_setting, other_setting) = type(self).__name__, self.color_settings
        if self.use_color:
            raise ValueError(
                f"{what} was built to use colors, but the cloud has none. Give scene_rgb (data.colors=true), or "
                f"train a model with {other_setting}, or one that does without now and then "
                "(model.generator.condition_dropout.color=0.1)."
            )
        raise ValueError(
            f"{what} was built without colors, but the cloud has some. Leave scene_rgb out (data.colors=false), or "
            f"train a model with {color_setting}."
        )


class PyramidEncoder(SceneEncoder):
    """An encoder whose tokens come from a hierarchy that others can read level by level."""

    level_sizes: tuple[int, ...]
    """Tokens of each level, from fine to coarse."""

    level_dims: tuple[int, ...]
    """Width of each level's features."""

    token_modules: tuple[str, ...]
    """Submodules that make tokens of the levels: whoever reads the levels alone does not train them."""

    @abstractmethod
    def levels(self, cloud: Cloud) -> tuple[SceneTokens, ...]:
        """Encode; return every level, from fine to coarse."""
