"""Compares the Triton kernels with the torch reference; a program of its own, because Triton decides at import
whether to interpret, and its kernels cannot carry the checks of annotations.
"""

import sys

import torch

from sceneleapultra.utils.geometry.points import ball_query, farthest_point_order, interpolate, knn


def main(device: str) -> None:
    g = torch.Generator().manual_seed(0)
    axis = torch.arange(5.0)
    lattice = torch.cartesian_prod(axis, axis, axis).repeat(2, 1)[None].expand(2, -1, -1)  # exact ties
    clouds = {
        "random": torch.rand(3, 37, 3, generator=g),
        "far": torch.rand(2, 130, 3, generator=g) + 1000,
        "lattice": lattice,
    }
    for name, points in clouds.items():
        points = points.to(device)
        b, n, _ = points.shape
        masks = [None, (torch.rand(b, n, generator=g) < 0.6).to(device)]
        for valid in masks:
            for start in (0, 11):
                arguments = (points, min(n, 40), start, valid)
                reference = farthest_point_order(*arguments)
                assert torch.equal(farthest_point_order(*arguments, backend="triton"), reference), name
            query = points[:, :19]
            for one, two in zip(
                knn(query, points, 9, valid), knn(query, points, 9, valid, backend="triton"), strict=True
            ):
                assert torch.equal(one, two), name
            for one, two in zip(
                ball_query(query, points, 0.5, 9, valid),
                ball_query(query, points, 0.5, 9, valid, backend="triton"),
                strict=True,
            ):
                assert torch.equal(one, two), name
            assert torch.equal(
                interpolate(query, points, points, valid),
                interpolate(query, points, points, valid, backend="triton"),
            )
    try:
        farthest_point_order(torch.zeros(1, 20000, 3, device=device), 4, backend="triton")
    except ValueError as error:
        assert "up to 16384 points, got 20000" in str(error)
    else:
        raise AssertionError("20000 points were accepted")


if __name__ == "__main__":
    main(sys.argv[1])
