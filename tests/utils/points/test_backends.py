"""Do other libraries give the reference's indices, and does one that is not there say so?"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sceneleapultra.utils.geometry.points import ball_query, farthest_point_order, knn, require_backend

ROOT = Path(__file__).resolve().parents[3]
KERNELS = Path(__file__).with_name("compare_kernels.py")


def run_kernels(device: str, **environ: str) -> None:
    done = subprocess.run(
        [sys.executable, str(KERNELS), device],
        cwd=ROOT,
        env={**os.environ, **environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
def test_triton_kernels_equal_the_reference_under_the_interpreter() -> None:
    run_kernels("cpu", TRITON_INTERPRET="1")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_triton_kernels_equal_the_reference_on_the_gpu() -> None:
    run_kernels("cuda")


@pytest.mark.skipif(importlib.util.find_spec("pytorch3d") is None, reason="pytorch3d is not installed")
def test_pytorch3d_equals_the_reference() -> None:
    g = torch.Generator().manual_seed(0)
    points = torch.rand(3, 200, 3, generator=g)
    for valid in (None, torch.rand(3, 200, generator=g) < 0.4):
        for start in (0, 17):
            expected = farthest_point_order(points, 150, start, valid)
            assert torch.equal(farthest_point_order(points, 150, start, valid, backend="pytorch3d"), expected)
        index, distance = knn(points, points, 9, valid)
        other_index, other_distance = knn(points, points, 9, valid, backend="pytorch3d")
        assert torch.equal(other_index, index)
        torch.testing.assert_close(other_distance, distance)
        assert torch.equal(
            ball_query(points, points, 0.2, 9, valid, backend="pytorch3d")[1],
            ball_query(points, points, 0.2, 9, valid)[1],
        )


@pytest.mark.parametrize("backend", ["pytorch3d", "triton"])
def test_a_backend_that_cannot_run_says_what_to_do(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    if importlib.util.find_spec(backend) is not None and (
        backend == "pytorch3d" or torch.cuda.is_available()
    ):
        pytest.skip(f"{backend} can run here")
    absent = importlib.util.find_spec(backend) is None
    words = (
        f"{backend} is not installed; " if absent else "its kernels need a CUDA device and there is none; "
    )
    for call in (
        lambda: require_backend(backend),
        lambda: farthest_point_order(torch.zeros(1, 4, 3), 2, backend=backend),
        lambda: knn(torch.zeros(1, 4, 3), torch.zeros(1, 4, 3), 2, backend=backend),
    ):
        with pytest.raises(ImportError, match=f"backend={backend}: {words}.*pass backend=torch"):
            call()


@pytest.mark.untyped
def test_misspelt_backend_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"Unknown backend 'trition'. Did you mean 'triton'"):
        require_backend("trition")
