"""Is an exported program, compiled ahead of time to machine code, the graph that it was made of?"""

import shutil
from pathlib import Path

import pytest
import torch

pytest.importorskip("onnxscript", reason="the extra 'export' is not installed")

from benchmarks.double import double_precision
from benchmarks.export_parity import difference, doubled, run_torch, scene, starts, twin_of, untrained
from sceneleapultra.models.export.graphs import graphs_of
from sceneleapultra.models.export.onnx import write_graphs


@pytest.mark.slow
@pytest.mark.traced
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler: apt-get install g++")
@torch.no_grad()
def test_the_denoiser_as_machine_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One export and one compilation, of the command that docs/export.md names."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    generator = untrained("pointnet_lite", "cosine")
    write_graphs(generator, tmp_path, pt2=True, only=("denoiser",))
    program = torch.export.load(tmp_path / "denoiser.pt2")
    package = torch._inductor.aoti_compile_and_package(program, package_path=str(tmp_path / "aoti.pt2"))
    compiled = torch._inductor.aoti_load_package(package)
    encoder, anchor, denoiser, *_ = graphs_of(generator)
    exact = graphs_of(twin_of(generator))[2]
    for b, n, g in ((1, 512, 1), (2, 700, 16), (5, 1024, 33)):
        tensors = scene(b, n, seed=b)
        tensors |= run_torch(encoder, tensors)
        tensors |= starts(generator, b, g, tensors["token_target"], seed=b)
        tensors |= run_torch(anchor, tensors)
        inputs = {name: tensors[name] for name in denoiser.inputs}
        with double_precision():
            right = run_torch(exact, {name: doubled(x) for name, x in inputs.items()})["x0"]
        made = compiled(*inputs.values())
        found = made if isinstance(made, torch.Tensor) else made[0]
        assert difference(found.numpy(), right) <= 1e-5
        assert found.abs().max() > 0.1
