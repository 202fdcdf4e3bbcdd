"""What a stage of the network knows of its points: voxels, their order along each curve, patches and neighbors.

A level is made once and shared by the encoder and the decoder stage that work on it; features travel beside it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sceneleapultra.models.network.encoder.ptv3.hashed_random import bits, cloud_keys, point_keys
from sceneleapultra.models.network.encoder.ptv3.patches import Group, Patches, PatchRule, lay_out
from sceneleapultra.models.network.encoder.ptv3.row_gather import RowGather
from sceneleapultra.models.network.encoder.ptv3.serialization import MAX_DEPTH, encode
from sceneleapultra.models.network.encoder.ptv3.sparse_conv import Neighbors, find_pairs


@dataclass(frozen=True, kw_only=True)
class SerializedLevel:
    """Voxels of a batch of clouds, one point in each.

    ``code`` holds the number of the cloud above the ``3 * depth`` bits of the curve, so that sorting keeps clouds
    together and in order.
    """

    coord: Float[Tensor, "n 3"]  # m
    grid: Int[Tensor, "n 3"]
    batch: Int[Tensor, "n"]
    counts: tuple[int, ...]  # points of each cloud
    depth: int  # bits per axis
    code: Int[Tensor, "o n"]
    order: Int[Tensor, "o n"]  # points along each curve
    inverse: Int[Tensor, "o n"]  # place of each point along each curve
    finer: "SerializedLevel | None"
    cluster: RowGather | None  # the point of this level that each point of the finer one went to
    _tables: dict[tuple[Any, ...], Any] = field(default_factory=dict, repr=False)

    @property
    def num_clouds(self) -> int:
        """Clouds of the batch."""
        return len(self.counts)

    def patch_size(self, largest: int, rule: PatchRule) -> int:
        """Return the size of patches by a rule."""
        return largest if rule == "cloud" else min(largest, *filter(None, self.counts))

    def pairs(self, kernel: int) -> Neighbors:
        """Return the neighbors under a cubic kernel."""
        return self.once(("pairs", kernel), lambda: find_pairs(self.grid, self.batch, kernel))

    def patches(self, size: int) -> Patches:
        """Return the division of every curve into patches of at most ``size`` points."""
        return self.once(("patches", size), lambda: lay_out(self.counts, size, self.grid.device))

    def dense_rows(
        self, largest: int, rule: PatchRule, curve: int
    ) -> tuple[tuple[Group, ...], RowGather, RowGather]:
        """Return the groups of patches, and the rows of the dense layout: see ``patch_rows``."""
        size = self.patch_size(largest, rule)
        return self.patches(size).groups, *self.patch_rows(size, curve, packed=False)

    def patch_rows(self, size: int, curve: int, packed: bool) -> tuple[RowGather, RowGather]:
        """Return which point each row of the patches reads along a curve, and which row each point reads back."""

        def make() -> tuple[RowGather, RowGather]:
            patches = self.patches(size)
            reads, answers = (patches.pad, patches.unpad) if packed else (patches.dense, patches.home)
            return (
                RowGather(index=self.order[curve][reads], num_sources=len(self.grid)),
                RowGather(index=answers[self.inverse[curve]], num_sources=len(reads)),
            )

        return self.once(("rows", size, curve, packed), make)

    def point_keys(self) -> Int[Tensor, "n"]:
        """Return what random draws for each point are keyed by."""
        return self.once(("point keys",), lambda: point_keys(self.cloud_key(), self.batch, self.grid))

    def cloud_key(self) -> Int[Tensor, "b"]:
        """Return what random draws for each cloud are keyed by: the coordinates of its finest points."""
        if self.finer is not None:
            return self.finer.cloud_key()
        return self.once(("cloud key",), lambda: cloud_keys(self.bits(), self.batch, self.num_clouds))

    def bits(self) -> Int[Tensor, "n 3"]:
        """Return the coordinates as what single precision holds of them."""
        return bits(self.coord)

    def shuffled(self, permutation: Int[Tensor, "b o"]) -> "SerializedLevel":
        """Return the level with the curves of each cloud exchanged among each other."""
        row = permutation.T.contiguous()
        along = row[:, self.batch[self.order[0]]]  # clouds take the same places along every curve
        order = self.order.gather(0, along)
        return replace(
            self,
            code=self.code.gather(0, row[:, self.batch]),
            order=order,
            inverse=inverse_of(order),
            _tables={},
        )

    def pooled(self, stride: int) -> "SerializedLevel":
        """Return a coarser level, see :func:`pool`."""
        return pool(self, stride)

    def once(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """Return what ``make`` gave when it was first asked for under ``key``."""
        if key not in self._tables:
            self._tables[key] = make()
        return self._tables[key]


@torch.no_grad()
def serialize(
    coord: Float[Tensor, "n 3"],
    grid: Int[Tensor, "n 3"],
    batch: Int[Tensor, "n"],
    *,
    num_clouds: int,
    depth: int | None,
    curves: Sequence[str],
) -> SerializedLevel:
    """Put the voxels of clouds in order along every curve.

    Args:
        coord: positions (m).
        grid: voxel indices, at least 0 and no two alike in a cloud.
        batch: number of the cloud of each point.
        num_clouds: clouds, of which some may be empty.
        depth: bits per axis; None takes what the largest index of the batch needs, as the official code does, by which
            a cloud's Hilbert order depends on its batch mates.
        curves: see :mod:`sceneleapultra.models.network.encoder.ptv3.serialization`.

    Raises:
        ValueError: voxel indices do not fit into ``depth`` bits, or into 16 where it is None.
    """
    largest = int(grid.max()) if len(grid) else 0
    if depth is None:
        depth = (largest + 1).bit_length()
    limit = min(depth, MAX_DEPTH)
    if largest >= 1 << limit:
        raise ValueError(
            f"A cloud spans {largest + 1} voxels, but serialization of depth {limit} holds {1 << limit} per axis. "
            "Are the coordinates in millimetres? They must be in metres; otherwise raise the voxel size or the depth "
            f"(at most {MAX_DEPTH})."
        )
    if 3 * depth + num_clouds.bit_length() > 63:
        raise ValueError(
            f"{num_clouds} clouds at depth {depth} do not fit into a 64-bit code. Lower the depth."
        )
    code = encode(grid, depth, curves) | batch << 3 * depth
    order = code.argsort(1)
    return SerializedLevel(
        coord=coord,
        grid=grid,
        batch=batch,
        counts=tuple(torch.bincount(batch, minlength=num_clouds).tolist()),
        depth=depth,
        code=code,
        order=order,
        inverse=inverse_of(order),
        finer=None,
        cluster=None,
    )


@torch.no_grad()
def pool(fine: SerializedLevel, stride: int) -> SerializedLevel:
    """Merge the points of each cube of ``stride`` voxels, a power of two; new points follow the first curve.

    Nothing is encoded or sorted anew: by the prefix property a coarse code is a fine one without its last bits, and
    points that merge are neighbors along every curve.
    """
    bits = stride.bit_length() - 1
    bits = bits if bits <= fine.depth else 0
    shifted = fine.code >> 3 * bits
    along = shifted.gather(1, fine.order)
    begins = torch.ones_like(along, dtype=torch.bool)
    begins[:, 1:] = along[:, 1:] != along[:, :-1]
    number = begins[0].cumsum(0) - 1  # of the cluster, along the first curve
    index = number[fine.inverse[0]]
    heads = fine.order[begins].view(len(shifted), -1)  # a member of each cluster, in the order of each curve
    order, members = index[heads], heads[0]
    rows = RowGather(
        index=index, num_sources=len(members), known_readers=(fine.order[0], begins[0].nonzero().squeeze(1))
    )
    size = rows.readers[1].diff(append=torch.tensor([len(index)], device=index.device))
    batch = fine.batch[members]
    return SerializedLevel(
        coord=rows.sum(fine.coord) / size[:, None],
        grid=fine.grid[members] >> bits,
        batch=batch,
        counts=tuple(torch.bincount(batch, minlength=len(fine.counts)).tolist()),
        depth=fine.depth - bits,
        code=shifted[:, members],
        order=order,
        inverse=inverse_of(order),
        finer=fine,
        cluster=rows,
    )


def inverse_of(order: Int[Tensor, "o n"]) -> Int[Tensor, "o n"]:
    """Return the place of each point along each curve."""
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)
