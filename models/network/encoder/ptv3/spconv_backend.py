"""The submanifold convolution of the optional package spconv, on the same weights as our own."""

import torch
from jaxtyping import Float
from spconv.pytorch import SparseConvTensor, SubMConv3d
from torch import Tensor

from sceneleapultra.models.network.encoder.ptv3.level import SerializedLevel


class SpconvSubMConv3d(SubMConv3d):
    """Convolution by spconv; its tables are shared by all convolutions of a level and kernel size."""

    def __init__(self, dim_in: int, dim_out: int, kernel: int, bias: bool) -> None:
        super().__init__(dim_in, dim_out, kernel, bias=bias, indice_key=f"kernel {kernel}")

    def forward(self, x: Float[Tensor, "n c"], level: SerializedLevel) -> Float[Tensor, "n d"]:
        """Convolve over the level's neighbors."""

        def make() -> SparseConvTensor:
            indices = torch.cat([level.batch[:, None], level.grid], 1).to(torch.int32).contiguous()
            shape = (level.grid.amax(0) + 1).tolist()
            return SparseConvTensor(x, indices, shape, len(level.counts))

        return super().forward(level.once(("spconv",), make).replace_feature(x)).features
