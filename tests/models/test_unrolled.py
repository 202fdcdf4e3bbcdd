"""Is a sampler without a loop, as one graph, the solver that it was made of?"""

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("onnxscript", reason="the extra 'export' is not installed")
pytest.importorskip("onnxruntime", reason="the extra 'export' is not installed")

from benchmarks.double import double_precision
from benchmarks.export_parity import doubled, run_torch, scene, starts, twin_of, untrained
from sceneleapultra.models.export.graphs import SamplerGraph, graphs_of
from sceneleapultra.models.export.onnx import write_graphs
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.serving.runtime.sessions import GraphSessions

STEPS = 4


def inputs_of(generator: GraspGenerator, b: int, g: int) -> dict[str, torch.Tensor]:
    """Return a scene, and noise for grasps that are anchored in it."""
    tensors = scene(b, 512, seed=2)
    encoder, anchor, *_ = graphs_of(generator)
    tensors |= run_torch(encoder, tensors)
    tensors |= starts(generator, b, g, tensors["token_target"], seed=2)
    return tensors | {"noise": tensors["x_t"]} | run_torch(anchor, tensors)


@pytest.mark.traced
@pytest.mark.slow
@torch.no_grad()
def test_it_is_the_solver_in_double_precision(tmp_path: Path) -> None:
    generator = untrained("pointnet_lite", "cosine")
    write_graphs(generator, tmp_path, only=("sampler",), unrolled=STEPS)
    engine = GraphSessions(tmp_path, threads=1)
    with double_precision():
        twin = SamplerGraph(twin_of(generator), STEPS)
    for b, g in ((1, 1), (3, 5)):
        tensors = inputs_of(generator, b, g)
        found = engine.run("sampler", {name: tensors[name].numpy() for name in twin.inputs})["x0"]
        with double_precision():
            right = run_torch(twin, {name: doubled(tensors[name]) for name in twin.inputs})["x0"]
        np.testing.assert_allclose(found, right.numpy(), rtol=0, atol=1e-5)
        assert np.abs(found).max() > 0.1


@pytest.mark.traced
@pytest.mark.slow
@torch.no_grad()
def test_what_cannot_be_unrolled_is_a_sentence() -> None:
    generator = untrained("pointnet_lite", "cosine")
    with pytest.raises(ValueError, match="--unrolled 9: expected 1 to 8 steps"):
        SamplerGraph(generator, 9)
    generator.sampling = generator.sampling.changed(solver="ddpm")
    with pytest.raises(ValueError, match=r"sampling\.solver=ddpm draws noise on its way"):
        run_torch(SamplerGraph(generator, 2), inputs_of(generator, 1, 2))
