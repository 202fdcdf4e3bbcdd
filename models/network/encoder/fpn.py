"""A pyramid of tokens: the whole scene coarsely and the surroundings of the target finely, on any hierarchy.

Coarse features are passed down level by level and joined with the finer ones (Lin et al. 2017, Feature Pyramid
Networks, with the interpolation of PointNet++); tokens of both ends are given, told apart by an embedding.
"""

from dataclasses import fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sceneleapultra.models.network.encoder.base import PyramidEncoder, SceneEncoder
from sceneleapultra.models.network.encoder.propagation import FeaturePropagation
from sceneleapultra.models.network.tokens import Cloud, SceneTokens
from sceneleapultra.utils.geometry.points import Backend, gather, require_backend


class FeaturePyramid(SceneEncoder):
    """Fine tokens nearest to the target, then coarse tokens of the scene.

    Args:
        backbone: gives the levels.
        num_fine: tokens of the finest level: the target's own in their order, then those nearest to it.
        num_coarse: tokens of the coarsest level, a prefix of its order.
        dim: width of the tokens.
        backend: of the interpolation.

    Raises:
        ValueError: a level is smaller than what is to be taken of it.
        ImportError: the backend cannot run here.
    """

    def __init__(
        self, *, backbone: PyramidEncoder, num_fine: int, num_coarse: int, dim: int, backend: Backend
    ) -> None:
        super().__init__()
        sizes, dims = backbone.level_sizes, backbone.level_dims
        for key, count, size in (("num_fine", num_fine, sizes[0]), ("num_coarse", num_coarse, sizes[-1])):
            if not 1 <= count <= size:
                raise ValueError(
                    f"model.generator.encoder.{key}: expected 1 to {size}, the tokens of that level of the "
                    f"backbone, got {count}."
                )
        self.backbone, self.num_fine, self.num_coarse, self.dim = backbone, num_fine, num_coarse, dim
        self.num_tokens, self.num_centers = num_fine + num_coarse, backbone.num_centers
        self.min_points = backbone.min_points
        self.use_color, self.backend = backbone.use_color, require_backend(backend)
        for name in backbone.token_modules:
            backbone.get_submodule(name).requires_grad_(False)  # parallel training waits for every gradient
        self.top = nn.Linear(dims[-1], dim)
        self.down = nn.ModuleList(FeaturePropagation(dim, width, dim) for width in reversed(dims[:-1]))
        self.which = nn.Parameter(torch.randn(2, dim) * 0.02)

    def layers(self) -> list[list[nn.Module]]:
        """Return those of the backbone."""
        return self.backbone.layers()

    def forward(self, cloud: Cloud) -> SceneTokens:
        """Encode a cloud into ``num_fine`` and ``num_coarse`` tokens, in this order."""
        *finer, coarse = self.backbone.levels(cloud)
        coarse = SceneTokens(**{**_parts(coarse), "features": self.top(coarse.features)})
        fine = coarse
        for step, level in zip(self.down, reversed(finer), strict=True):
            fine = step(level, fine, self.backend)
        near = nearest_to_target(fine.xyz, fine.target, fine.valid)[:, : self.num_fine]
        chosen = {name: gather(value, near) for name, value in _parts(fine).items()}
        rest = {name: value[:, : self.num_coarse] for name, value in _parts(coarse).items()}
        chosen["features"] = chosen["features"] + self.which[0]
        rest["features"] = rest["features"] + self.which[1]
        tokens = {name: torch.cat([chosen[name], rest[name].to(chosen[name].dtype)], 1) for name in chosen}
        tokens["features"] = tokens["features"].masked_fill(~tokens["valid"][..., None], 0.0)
        return SceneTokens(**tokens)


@torch.no_grad()
def nearest_to_target(
    xyz: Float[Tensor, "b s 3"], target: Bool[Tensor, "b s"], valid: Bool[Tensor, "b s"]
) -> Int[Tensor, "b s"]:
    """Order tokens by their distance to the target: its own first, in their order, those not valid last."""
    x, y, z = ((axis[:, :, None] - axis[:, None]).square() for axis in xyz.float().unbind(-1))
    distance = (x + y + z).masked_fill(~target[:, None], torch.finfo(torch.float32).max).amin(-1)
    distance = distance.masked_fill(target, 0.0).masked_fill(~valid, torch.inf)
    # A stable sort as exporters know it: by how many come before each, those as near in their order.
    other, own = distance[:, None], distance[:, :, None]
    index = torch.arange(xyz.shape[1], device=xyz.device)
    before = (other < own) | ((other == own) & (index < index[:, None]))
    return before.sum(-1).argsort(dim=1)


def _parts(tokens: SceneTokens) -> dict[str, Tensor]:
    return {field.name: getattr(tokens, field.name) for field in fields(tokens)}
