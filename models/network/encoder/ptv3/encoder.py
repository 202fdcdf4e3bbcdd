"""Point Transformer V3 as a scene encoder: a cloud in, tokens with positions and local frames out.

The network itself is not equivariant to turns: its voxels and curves have axes. It works in the frame of
:mod:`.voxels`, which turns with the scene about the vertical as long as the camera turns with it, and each token has
its local frame in those coordinates among its features. Against cameras that move around a scene, train with the data
module's ``yaw``.
"""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sceneleapultra.models.network.encoder.base import PyramidEncoder
from sceneleapultra.models.network.encoder.ptv3.architecture import Architecture
from sceneleapultra.models.network.encoder.ptv3.level import SerializedLevel, serialize
from sceneleapultra.models.network.encoder.ptv3.network import Encoded, PointTransformerV3
from sceneleapultra.models.network.encoder.ptv3.row_gather import RowGather
from sceneleapultra.models.network.encoder.ptv3.voxels import Voxels, voxelise
from sceneleapultra.models.network.encoder.ptv3.weights import load_weights
from sceneleapultra.models.network.frames import local_frames, smallest_eigenvector
from sceneleapultra.models.network.tokens import Cloud, SceneTokens
from sceneleapultra.utils.core.precision import full_precision
from sceneleapultra.utils.geometry.points import gather, knn

Input = Literal["xyz", "target", "normal", "color"]
_WIDTHS = {"xyz": 3, "target": 1, "normal": 3, "color": 3}

log = logging.getLogger(__name__)


class PTv3(PyramidEncoder):
    """Point Transformer V3 on the voxels of a cloud, read out at a prefix of the farthest-point order.

    As a pyramid it gives the encoder's levels, each at half the tokens of the one before.

    Args:
        num_tokens: centers, the first points of the cloud, which become the tokens.
        dim: width of the tokens.
        inputs: features of a voxel, in the order the network reads them: ``xyz`` relative to the target's mean,
            ``target`` (the share of its points on the target), ``normal``, ``color`` (their mean, from a cloud's
            0 to 1 to the -1 to 1 that official weights were trained on).
        grid_size: edge of a voxel (m).
        depth: bits per axis of the curves' codes: clouds may span ``2 ** depth`` voxels.
        position_scale: unit of ``xyz`` (m).
        frame_neighbors: points that a token's local frame is fitted to.
        frame_radius: largest distance of such a point (m).
        architecture: the network.
        weights: file to start from, of this project or official; None starts at random.
    """

    static_shapes = False  # voxels are as many as the cloud fills
    token_modules = ("network.dec", "norm", "out")
    color_settings = (
        "color among model.generator.encoder.inputs",
        "no color among model.generator.encoder.inputs",
    )

    def __init__(
        self,
        *,
        num_tokens: int,
        dim: int,
        inputs: tuple[Input, ...],
        grid_size: float,
        depth: int,
        position_scale: float,
        frame_neighbors: int,
        frame_radius: float,
        architecture: Architecture,
        weights: Path | None,
    ) -> None:
        super().__init__()
        self.num_tokens = self.num_centers = num_tokens
        self.dim, self.min_points = dim, frame_neighbors
        self.inputs, self.position_scale = inputs, position_scale
        self.use_color = "color" in inputs
        self.level_sizes = tuple(max(1, num_tokens >> s) for s in range(len(architecture.enc_depths)))
        self.level_dims = architecture.enc_channels
        self.grid_size, self.depth = grid_size, depth
        self.frame_neighbors, self.frame_radius = frame_neighbors, frame_radius
        self.network = PointTransformerV3(architecture, in_channels=sum(_WIDTHS[name] for name in inputs))
        width = architecture.dec_channels[0] if architecture.dec_depths else sum(architecture.enc_channels)
        self.norm = nn.LayerNorm(width)
        # Beside the network's features: the token's own frame and place in its voxel, and whether it is the target.
        self.out = nn.Linear(width + 9 + 3 + 1, dim)
        if weights is not None:
            log.info("%s", load_weights(self.network, weights))

    def layers(self) -> list[list[nn.Module]]:
        """Return the stem and the blocks, in the order features pass them."""
        return self.network.layers()

    def forward(self, cloud: Cloud) -> SceneTokens:
        """Encode a cloud into tokens.

        Raises:
            ValueError: the cloud has room for fewer points than there are tokens, or none that is valid; points are
                not finite or span too many voxels; colors are missing or not asked for.
        """
        tokens, voxels, encoded = self._encoded(cloud, decode=True)
        with full_precision(cloud.points.device.type):
            own = self._frame_features(tokens, voxels)
        read = self._read(encoded, voxels.of_point[:, : self.num_tokens])
        features = self.out(torch.cat([self.norm(read), own.to(read.dtype)], dim=-1))
        return replace(tokens, features=features.masked_fill(~tokens.valid[..., None], 0.0))

    def levels(self, cloud: Cloud) -> tuple[SceneTokens, ...]:
        """Encode; return every level of the encoder, from fine to coarse; see ``forward`` for what is refused."""
        tokens, voxels, encoded = self._encoded(cloud, decode=False)
        made, index = [], voxels.of_point
        for size, level, features in zip(self.level_sizes, encoded.levels, encoded.encoder, strict=True):
            index = index if level.cluster is None else level.cluster.index[index]
            rows = RowGather(index=index[:, :size].flatten(), num_sources=features.shape[0])
            valid = tokens.valid[:, :size]
            read = rows(features).view(*valid.shape, -1).masked_fill(~valid[..., None], 0.0)
            made.append(
                SceneTokens(
                    tokens.xyz[:, :size], read, valid, tokens.target[:, :size], tokens.frames[:, :size]
                )
            )
        return tuple(made)

    def _encoded(self, cloud: Cloud, *, decode: bool) -> tuple[SceneTokens, Voxels, Encoded]:
        """Return tokens without features, the voxels, and what the network gives for them."""
        self.check_color(cloud)
        self._check(cloud)
        with full_precision(cloud.points.device.type):  # geometry needs float32
            voxels, level = self._serialized(cloud)
            inputs = torch.cat([self._input(name, cloud, voxels, level) for name in self.inputs], dim=1)
            tokens = self._tokens(cloud)
        return tokens, voxels, self.network(level, inputs, decode=decode)

    def _serialized(self, cloud: Cloud) -> tuple[Voxels, SerializedLevel]:
        voxels = voxelise(cloud, self.grid_size, self.depth)
        level = serialize(
            voxels.coord,
            voxels.grid,
            voxels.batch,
            num_clouds=len(cloud.points),
            depth=self.depth,
            curves=self.network.architecture.order,
        )
        return voxels, level

    def _check(self, cloud: Cloud) -> None:
        if cloud.points.shape[1] < self.num_tokens:
            raise ValueError(
                f"The cloud has room for {cloud.points.shape[1]} points, fewer than the num_tokens={self.num_tokens} "
                "that the encoder takes from it. Raise data.cloud.num_points or lower num_tokens."
            )
        if not bool(cloud.valid.any()):
            raise ValueError(
                f"None of the {cloud.valid.numel()} points of the batch is valid: there is nothing to encode. Are the "
                "objects in view, and the masks of the right kind?"
            )

    def _input(
        self, name: Input, cloud: Cloud, voxels: Voxels, level: SerializedLevel
    ) -> Float[Tensor, "v c"]:
        """Return one of the input features of every voxel."""
        if name == "xyz":
            return voxels.coord / self.position_scale
        if name == "target":
            return voxels.mean(cloud.target[..., None].float())
        if name == "color":
            assert cloud.rgb is not None  # check_color
            return voxels.mean(2.0 * cloud.rgb.float() - 1.0)
        viewpoint = ((cloud.viewpoint.double() - voxels.origin)[:, None] @ voxels.rotation).squeeze(1)
        return voxel_normals(level, viewpoint.float())

    def _tokens(self, cloud: Cloud) -> SceneTokens:
        """Return the tokens without features."""
        points = cloud.points.float().masked_fill(~cloud.valid[..., None], 0.0)
        xyz, valid = points[:, : self.num_tokens], cloud.valid[:, : self.num_tokens]
        index, distance = knn(xyz, points, self.frame_neighbors, cloud.valid)
        near = gather(cloud.valid, index) & (distance <= self.frame_radius)
        frames = local_frames(gather(points, index), near, xyz, cloud.viewpoint.float(), cloud.up.float())
        return SceneTokens(
            xyz=xyz,
            features=xyz.new_empty(*xyz.shape[:2], 0),
            valid=valid,
            target=cloud.target[:, : self.num_tokens] & valid,
            frames=frames,
        )

    def _frame_features(self, tokens: SceneTokens, voxels: Voxels) -> Float[Tensor, "b s 13"]:
        """Return each token's frame, its place in its voxel and whether it is the target's, in the voxels' frame."""
        frames = voxels.rotation.mT[:, None] @ tokens.frames.double()
        own = (tokens.xyz.double() - voxels.origin[:, None]) @ voxels.rotation
        offset = own - voxels.coord[voxels.of_point[:, : self.num_tokens]]
        offset = (offset[..., None, :] @ frames).squeeze(-2) / self.grid_size
        return torch.cat([frames.flatten(2), offset, tokens.target[..., None]], dim=-1).float()

    def _read(self, encoded: Encoded, voxel: Int[Tensor, "b s"]) -> Float[Tensor, "b s c"]:
        """Look the tokens' features up: the decoder's, or those of all encoder levels side by side."""
        index = voxel.flatten()
        if encoded.decoder is not None:
            return RowGather(index=index, num_sources=encoded.decoder.shape[0])(encoded.decoder).view(
                *voxel.shape, -1
            )
        read = []
        for level, features in zip(encoded.levels, encoded.encoder, strict=True):
            index = index if level.cluster is None else level.cluster.index[index]
            read.append(RowGather(index=index, num_sources=features.shape[0])(features))
        return torch.cat([part.float() for part in read], dim=1).view(*voxel.shape, -1)


def voxel_normals(level: SerializedLevel, viewpoint: Float[Tensor, "b 3"]) -> Float[Tensor, "n 3"]:
    """Fit a plane to the voxels within two of each; return its normal on the viewpoint's side.

    Fewer than four voxels are no plane: the direction to the viewpoint stands for its normal.
    """
    pairs = level.pairs(5)
    offset = level.coord[pairs.source] - level.coord[pairs.target]
    count = pairs.sum(torch.ones_like(offset[:, :1]))
    mean = pairs.sum(offset) / count
    second = (
        pairs.sum((offset[:, :, None] * offset[:, None]).flatten(1)).unflatten(1, (3, 3)) / count[..., None]
    )
    normal = smallest_eigenvector(second - mean[:, :, None] * mean[:, None])
    view = nn.functional.normalize(viewpoint[level.batch] - level.coord, dim=1)
    normal = torch.where(count < 4, view, normal)
    return torch.where((normal * view).sum(1, keepdim=True) < 0, -normal, normal)
