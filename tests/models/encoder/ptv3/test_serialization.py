"""Are the curves curves: each voxel once, neighbors next to each other, coarse codes prefixes of fine ones?"""

import pytest
import torch

from factories.ptv3 import level_of, surface
from sceneleapultra.models.network.encoder.ptv3.level import pool, serialize
from sceneleapultra.models.network.encoder.ptv3.serialization import CURVES, encode, spread_bits


def cube(depth: int) -> torch.Tensor:
    side = torch.arange(1 << depth)
    return torch.cartesian_prod(side, side, side)


def test_bits_are_spread():
    # 0b1011 -> bits 0, 3 and 9; all 16 bits -> every third bit.
    assert spread_bits(torch.tensor([0b1011, (1 << 16) - 1])).tolist() == [0b1000001001, int("001" * 16, 2)]


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_every_voxel_has_its_own_place(curve, depth):
    codes = encode(cube(depth), depth, [curve])[0]
    assert torch.equal(codes.sort().values, torch.arange(8**depth))


@pytest.mark.parametrize("curve", ["hilbert", "hilbert-trans"])
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_hilbert_steps_from_face_to_face(curve, depth):
    grid = cube(depth)
    along = grid[encode(grid, depth, [curve])[0].argsort()]
    assert (along.diff(dim=0).abs().sum(1) == 1).all()


@pytest.mark.parametrize("curve", CURVES)
def test_a_coarse_code_is_a_prefix_of_a_fine_one(curve):
    grid = torch.randint(0, 1 << 12, (500, 3))
    assert torch.equal(encode(grid, 12, [curve]) >> 3, encode(grid >> 1, 11, [curve]))


def test_all_curves_in_one_pass_and_a_single_point():
    grid = torch.randint(0, 64, (50, 3))
    together = encode(grid, 6, CURVES)
    for name, codes in zip(CURVES, together, strict=True):
        assert torch.equal(codes, encode(grid, 6, [name])[0])
    assert encode(grid[:1], 6, CURVES).shape == (4, 1)


def test_unknown_curve_names_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'hilbert'"):
        encode(torch.zeros(1, 3, dtype=torch.long), 2, ["hilbrt"])


def test_clouds_stay_together_and_in_order():
    level = level_of([surface(200, 0), surface(70, 1), surface(130, 2)], CURVES)
    for order in level.order:
        assert torch.equal(
            level.batch[order], torch.arange(3).repeat_interleave(torch.tensor([200, 70, 130]))
        )
    assert torch.equal(level.order.gather(1, level.inverse), torch.arange(400).expand(4, -1))


def test_pooling_equals_serializing_the_coarse_voxels_anew():
    fine = level_of([surface(200, 0), surface(70, 1)], CURVES, depth=8)
    for stride in (2, 4):
        coarse = pool(fine, stride)
        bits = stride.bit_length() - 1
        anew = serialize(coarse.coord, coarse.grid, coarse.batch, num_clouds=2, depth=8 - bits, curves=CURVES)
        for name in ("code", "order", "inverse", "counts"):
            assert str(getattr(coarse, name)) == str(getattr(anew, name))
        # Clusters are the cubes, their points' mean the new position.
        cubes, index = torch.cat([fine.batch[:, None], fine.grid >> bits], 1).unique(
            dim=0, return_inverse=True
        )
        assert len(cubes) == len(coarse.grid)
        assert len(torch.stack([index, coarse.cluster.index]).unique(dim=1).T) == len(cubes)
        for c in range(0, len(cubes), 7):
            mean = fine.coord[coarse.cluster.index == c].mean(0)
            torch.testing.assert_close(coarse.coord[c], mean)


def test_depth_of_the_official_rule_and_its_limits():
    # bit_length(max + 1): 7 for 63, not 6.
    grid = torch.tensor([[0, 0, 0], [63, 0, 0]])
    assert level_of([grid], depth=None).depth == 7
    with pytest.raises(ValueError, match="spans 64 voxels, but serialization of depth 5 holds 32 per axis"):
        level_of([grid], depth=5)
    with pytest.raises(ValueError, match="spans 70001 voxels, but serialization of depth 16 holds 65536"):
        level_of([torch.tensor([[0, 0, 0], [70_000, 0, 0]])], depth=None)
    with pytest.raises(ValueError, match="32768 clouds at depth 16 do not fit into a 64-bit code"):
        serialize(torch.zeros(2, 3), grid, torch.zeros(2).long(), num_clouds=2**15, depth=16, curves=["z"])
