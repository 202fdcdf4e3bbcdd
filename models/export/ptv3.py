"""Point Transformer V3 in a form that can be traced: the same modules and weights, over levels of any size.

How many voxels, neighbors and patches there are depends on the cloud. A program that runs ahead of it cannot branch on
that, so here nothing does: neighbors stand in a table with a column for each tap, patches all have one width, and the
sizes of clouds are a tensor. Nothing is refused either; see :mod:`sceneleapultra.models.span`.
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.network.encoder.ptv3 import PTv3
from sceneleapultra.models.network.encoder.ptv3.level import SerializedLevel, inverse_of
from sceneleapultra.models.network.encoder.ptv3.patches import Group, PatchRule
from sceneleapultra.models.network.encoder.ptv3.row_gather import RowGather
from sceneleapultra.models.network.encoder.ptv3.serialization import encode
from sceneleapultra.models.network.encoder.ptv3.sparse_conv import Neighbors
from sceneleapultra.models.network.encoder.ptv3.voxels import Voxels, own_cells
from sceneleapultra.models.network.tokens import Cloud

_MOST = 1 << 40  # voxels: whoever traces counts on, from there, in 64 bits
_BEYOND = 1 << 61  # every key is less, even twice as large


class TracedPTv3(PTv3):
    """A Point Transformer V3 that can be traced.

    Args:
        encoder: whose modules it shares.
    """

    def __init__(self, encoder: PTv3) -> None:
        nn.Module.__init__(self)
        self.__dict__.update(encoder.__dict__)

    def _check(self, cloud: Cloud) -> None:
        """Refuse nothing: what is wrong with a cloud is in its numbers."""

    def _serialized(self, cloud: Cloud) -> tuple[Voxels, SerializedLevel]:
        voxels = traced_voxels(cloud, self.grid_size, self.depth)
        code = (
            encode(voxels.grid, self.depth, self.network.architecture.order) | voxels.batch << 3 * self.depth
        )
        order = code.argsort(1)
        level = TracedLevel(
            coord=voxels.coord,
            grid=voxels.grid,
            batch=voxels.batch,
            count=_counts(voxels.batch, cloud.points[:, 0, 0]),
            depth=self.depth,
            code=code,
            order=order,
            inverse=inverse_of(order),
            finer=None,
            cluster=None,
        )
        return voxels, level


def ptv3_of(generator: GraspGenerator) -> PTv3 | None:
    """Return the Point Transformer V3 of a generator's encoder; None where there is none."""
    return next((module for module in generator.encoder.modules() if isinstance(module, PTv3)), None)


def traceable(generator: GraspGenerator) -> GraspGenerator:
    """Return a copy of a generator that can be traced, without gradients."""
    made = copy.deepcopy(generator).requires_grad_(False)
    for name, module in list(made.named_modules()):
        if isinstance(module, PTv3):
            made.set_submodule(name, TracedPTv3(module))
    return made


def traced_voxels(cloud: Cloud, size: float, depth: int) -> Voxels:
    """Sort points into voxels, see :func:`~sceneleapultra.models.network.encoder.ptv3.voxels.voxelise`."""
    points, cells, origin, rotation = own_cells(cloud, size)
    place = _where(cloud.valid.flatten())
    x, y, z = cells.flatten(0, 1)[place].clamp(max=(1 << depth) - 1).long().unbind(1)
    clouds = torch.arange(points.shape[0], device=points.device)[:, None].expand_as(cloud.valid)
    keys, along = (((clouds.flatten()[place] << depth | x) << depth | y) << depth | z).sort()
    begins = torch.cat([torch.ones_like(keys[:1], dtype=torch.bool), keys[1:] != keys[:-1]])
    index = torch.empty_like(along).scatter_(0, along, begins.cumsum(0) - 1)
    keys = keys[_where(begins)]
    rows = TracedRows(index=index, num_sources=keys.shape[0])
    share = 1.0 / rows.sum(torch.ones_like(points.flatten(0, 1)[place, :1]))[:, 0]
    mask = (1 << depth) - 1
    of_point = torch.zeros_like(cloud.valid, dtype=torch.long).flatten()
    return TracedVoxels(
        coord=(rows.sum(points.flatten(0, 1)[place]) * share[:, None]).float(),
        grid=torch.stack([keys >> 2 * depth & mask, keys >> depth & mask, keys & mask], dim=1),
        batch=keys >> 3 * depth,
        valid=cloud.valid,
        points=rows,
        share=share.float(),
        of_point=of_point.scatter(0, place, index).view(cloud.valid.shape),
        origin=origin,
        rotation=rotation,
        place=place,
    )


@dataclass(frozen=True, kw_only=True)
class TracedVoxels(Voxels):
    """Occupied voxels, with the places of the valid points among all."""

    place: Int[Tensor, "p"]

    def mean(self, values: Float[Tensor, "b n c"]) -> Float[Tensor, "v c"]:
        """Average over the valid points of each voxel."""
        return self.points.sum(values.flatten(0, 1)[self.place]) * self.share[:, None].to(values.dtype)


@dataclass(frozen=True, kw_only=True)
class TracedRows(RowGather):
    """Rows whose sums are scattered."""

    def sum(self, values: Float[Tensor, "r c"]) -> Float[Tensor, "n c"]:
        """Add up the rows that read the same source."""
        return values.new_zeros(self.num_sources, values.shape[1]).index_add(0, self.index, values)


@dataclass(frozen=True, kw_only=True)
class NeighborTable(Neighbors):
    """Neighbors in a column for each tap, and pairs for all of it: where there is no neighbor stands the last voxel."""

    index: Int[Tensor, "n t"]  # the number of voxels where there is none
    source: Int[Tensor, "p"]
    target: Int[Tensor, "p"]

    def sum(self, values: Float[Tensor, "p c"]) -> Float[Tensor, "n c"]:
        """Add up the values of a voxel's neighbors."""
        there = (self.index < self.index.shape[0])[..., None]
        return values.view(*self.index.shape, values.shape[1]).masked_fill(~there, 0.0).sum(1)

    def convolve(self, x: Float[Tensor, "n c"], weight: Float[Tensor, "t c d"]) -> Float[Tensor, "n d"]:
        """Return the convolution without bias: one product, over all taps."""
        rows = functional.embedding(self.index, torch.cat([x, torch.zeros_like(x[:1])]))
        return rows.flatten(1) @ weight.flatten(0, 1)


def neighbor_table(grid: Int[Tensor, "n 3"], batch: Int[Tensor, "n"], kernel: int) -> NeighborTable:
    """Find the neighbors of every voxel, by one search for each column of the kernel along z."""
    n, r = grid.shape[0], kernel // 2
    side = grid.max() + 1 + 2 * r  # margins keep columns of neighboring lines and clouds apart
    x, y, z = grid.unbind(1)
    own = ((batch * side + x) * side + y) * side + z + r
    keys, points = own.sort()
    run = torch.arange(kernel, device=grid.device)
    columns = (((run - r)[:, None] * side + run - r) * side - r).flatten()
    lowest = own[:, None] + columns
    candidates = _keys_below(keys, lowest)[..., None] + run
    dz = torch.cat([keys, torch.full_like(run, _BEYOND)])[candidates] - lowest[..., None]
    found = torch.cat([points, torch.full_like(run, n)])[candidates]
    index = torch.full_like(torch.cat([dz, dz[..., :1]], -1), n)  # a last place for what is no neighbor
    index = index.scatter(2, torch.where(dz < kernel, dz, kernel), found)
    index = index[..., :kernel].flatten(1)
    return NeighborTable(
        index=index,
        source=index.clamp(max=n - 1).flatten(),
        target=torch.arange(n, device=grid.device)[:, None].expand_as(index).flatten(),
    )


def _keys_below(keys: Int[Tensor, "n"], values: Int[Tensor, "n t"]) -> Int[Tensor, "n t"]:
    """Count the keys less than each value, by sorting all of them: ONNX has no binary search."""
    joined = torch.cat([2 * values.flatten(), 2 * keys + 1])  # a value comes before the key that equals it
    order = joined.argsort()
    passed = (order >= values.numel()).long().cumsum(0)
    return torch.empty_like(order).scatter_(0, order, passed)[: values.numel()].view(values.shape)


@dataclass(frozen=True, kw_only=True)
class TracedLevel(SerializedLevel):
    """Voxels of a batch of clouds; how many each cloud has is a tensor."""

    count: Int[Tensor, "b"]
    counts: tuple[int, ...] = ()

    @property
    def num_clouds(self) -> int:
        """Clouds of the batch."""
        return self.count.shape[0]

    def bits(self) -> Int[Tensor, "n 3"]:
        """Return the coordinates as what single precision holds of them."""
        return float_bits(self.coord)

    def pairs(self, kernel: int) -> NeighborTable:
        """Return the neighbors under a cubic kernel."""
        table: NeighborTable = self.once(
            ("pairs", kernel), lambda: neighbor_table(self.grid, self.batch, kernel)
        )
        return table

    def dense_rows(
        self, largest: int, rule: PatchRule, curve: int
    ) -> tuple[tuple[Group, ...], RowGather, RowGather]:
        """Return patches of one width, those of short clouds padded to it."""
        patches = self.once(("patches", largest, rule), lambda: self._patches(largest, rule))
        rows = RowGather(index=self.order[curve][patches.place], num_sources=self.grid.shape[0])
        back = RowGather(index=patches.home[self.inverse[curve]], num_sources=patches.place.shape[0])
        return (patches.group,), rows, back

    def _patches(self, largest: int, rule: PatchRule) -> "PaddedPatches":
        if rule == "cloud":
            return padded_patches(self.count, self.batch, largest)
        smallest = torch.where(self.count > 0, self.count, largest).amin(0).clamp(max=largest)
        return padded_patches(self.count, self.batch, smallest)

    def pooled(self, stride: int) -> "TracedLevel":
        """Return a coarser level, see :func:`~sceneleapultra.models.network.encoder.ptv3.level.pool`."""
        bits = stride.bit_length() - 1
        bits = bits if bits <= self.depth else 0
        shifted = self.code >> 3 * bits
        along = shifted[0][self.order[0]]
        begins = torch.cat([torch.ones_like(along[:1], dtype=torch.bool), along[1:] != along[:-1]])
        index = (begins.cumsum(0) - 1)[self.inverse[0]]
        members = self.order[0][_where(begins)]
        rows = TracedRows(index=index, num_sources=members.shape[0])
        batch, code = self.batch[members], shifted[:, members]
        order = code.argsort(1)
        return TracedLevel(
            coord=rows.sum(self.coord) / rows.sum(torch.ones_like(self.coord[:, :1])),
            grid=self.grid[members] >> bits,
            batch=batch,
            count=_counts(batch, self.count),
            depth=self.depth - bits,
            code=code,
            order=order,
            inverse=inverse_of(order),
            finer=self,
            cluster=rows,
        )


@dataclass(frozen=True, kw_only=True)
class PaddedPatches:
    """Positions along a curve in patches of one width; which keys are there is in ``group``."""

    group: Group
    place: Int[Tensor, "r"]  # position read by each row
    home: Int[Tensor, "n"]  # row that answers for each position


def padded_patches(count: Int[Tensor, "b"], batch: Int[Tensor, "n"], size: int | Tensor) -> PaddedPatches:
    """Divide clouds into patches: runs of ``size`` points, the last of a cloud being its last ``size``."""
    begin, num = count.cumsum(0) - count, -(-count // size)
    ends = num.cumsum(0)
    # At least 2, because lengths of 1 are special to whoever traces.
    width: Any = count.amax(0).clamp(max=size).clamp(min=2).item()
    num_patches: Any = ends[-1].item()
    torch._check(width > 1)
    patch = torch.arange(num_patches, device=count.device)
    cloud = (patch[:, None] >= ends).sum(1)
    last = (count - size).clamp(min=0)  # where the last patch of a cloud begins
    start = torch.minimum((patch - (ends - num)[cloud]) * size, last[cloud])
    step = torch.arange(width, device=count.device)
    column = start[:, None] + step
    there = (column < count[cloud][:, None]) & (step < size)
    place = begin[cloud][:, None] + torch.where(there, column, 0)
    # Clouds lie one after the other along every curve, as voxels are numbered.
    within = torch.arange(batch.shape[0], device=count.device) - begin[batch]
    run = within // size
    home = ((ends - num)[batch] + run) * width + within - torch.minimum(run * size, last[batch])
    return PaddedPatches(
        group=Group(num_patches=num_patches, width=width, key_valid=there), place=place.flatten(), home=home
    )


def float_bits(x: Float[Tensor, "n 3"]) -> Int[Tensor, "n 3"]:
    """Return the bits of finite numbers in single precision, by arithmetic: reading them anew needs opset 26."""
    powers = 2.0 ** torch.arange(-126, 128, dtype=torch.double, device=x.device)
    x = x.to(torch.float32)
    size = x.double().abs()
    exponent = (size[..., None] >= powers).sum(-1)
    last_place = powers[:1] * 2.0**-23 * 2.0 ** (exponent - 1).clamp(min=0).double()
    mantissa = (size / last_place).long() & (1 << 23) - 1
    return (exponent << 23 | mantissa) - torch.where(1.0 / x < 0, 1 << 31, 0)


def _where(mask: Bool[Tensor, "n"]) -> Int[Tensor, "m"]:
    """Return the places of what is true, which something is."""
    place = mask.nonzero().squeeze(1)
    torch._check(place.shape[0] > 0)
    torch._check(place.shape[0] <= _MOST)
    return place


def _counts(batch: Int[Tensor, "n"], clouds: Tensor) -> Int[Tensor, "b"]:
    """Count the voxels of each of as many clouds."""
    return torch.zeros_like(clouds, dtype=torch.long).index_add(0, batch, torch.ones_like(batch))
