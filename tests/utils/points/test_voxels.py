"""Does every occupied voxel get exactly one point, the first, whatever stands beside it in the batch?"""

import pytest
import torch

from utils.points import voxel_sample


def by_dictionary(points: torch.Tensor, size: float, valid: torch.Tensor) -> list[int]:
    first: dict[tuple[int, ...], int] = {}
    for i, point in enumerate(points.double()):
        if valid[i]:
            first.setdefault(tuple((point / size).floor().long().tolist()), i)
    return sorted(first.values())


def test_one_point_of_each_voxel_the_first() -> None:
    g = torch.Generator().manual_seed(0)
    points = torch.rand(3, 400, 3, generator=g) * 0.2 - 0.1  # both sides of the origin
    valid = torch.rand(3, 400, generator=g) < 0.8
    kept = voxel_sample(points, 0.03, valid)
    for b in range(3):
        assert kept[b].nonzero().flatten().tolist() == by_dictionary(points[b], 0.03, valid[b])
    assert torch.equal(voxel_sample(points[1:2], 0.03, valid[1:2]), kept[1:2])
    assert kept.sum(1).min() > 50 and kept.sum(1).max() < 320  # neither all points nor one per cloud


def test_a_voxel_that_is_larger_than_the_cloud_keeps_one_and_a_tiny_one_keeps_all() -> None:
    points = torch.rand(1, 100, 3, generator=torch.Generator().manual_seed(0))
    assert voxel_sample(points, 2.0).nonzero().tolist() == [[0, 0]]
    assert voxel_sample(points, 1e-5).all()
    assert not voxel_sample(points, 0.1, torch.zeros(1, 100, dtype=torch.bool)).any()


def test_impossible_grids_are_refused() -> None:
    with pytest.raises(ValueError, match=r"more than 0 m, got size=0"):
        voxel_sample(torch.rand(1, 5, 3), 0.0)
    with pytest.raises(ValueError, match=r"reaches 3e\+03 m from the origin, more than 1048576 voxels"):
        voxel_sample(torch.full((1, 5, 3), 3000.0), 0.001)
