"""Is the graph of a feature pyramid, which sorts tokens by their distance to the target, the encoder?"""

import copy
from pathlib import Path

import pytest
import torch

pytest.importorskip("onnxscript", reason="the extra 'export' is not installed")
pytest.importorskip("onnxruntime", reason="the extra 'export' is not installed")

from benchmarks.double import double_precision, in_double
from benchmarks.export_parity import difference, doubled, run_torch, scene
from factories.models import small_encoder, small_generator
from sceneleapultra.models.export.graphs import EncoderGraph
from sceneleapultra.models.export.onnx import write_graphs
from sceneleapultra.models.network.encoder.fpn import FeaturePyramid
from sceneleapultra.serving.runtime.sessions import GraphSessions


@pytest.mark.traced
@pytest.mark.slow
@torch.no_grad()
def test_its_graph_is_the_encoder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = small_encoder()
    generator = small_generator(
        encoder=FeaturePyramid(backbone=backbone, num_fine=20, num_coarse=10, dim=32, backend="torch")
    )
    generator.config = {"sampling": {}}
    write_graphs(generator, tmp_path, only=("encoder",))
    engine, graph = GraphSessions(tmp_path, threads=1), EncoderGraph(generator)
    with double_precision():
        exact = EncoderGraph(in_double(copy.deepcopy(generator)))
    for b, n in ((1, 300), (2, 400), (5, 700)):
        cloud = {name: x for name, x in scene(b, n, seed=n).items() if name in graph.inputs}
        cloud["valid"][0, n // 2 :] = False
        cloud["target"][1:2] = False
        found = engine.run("encoder", {name: x.numpy() for name, x in cloud.items()})
        own = run_torch(graph, cloud)
        with double_precision():
            right = run_torch(exact, {name: doubled(x) for name, x in cloud.items()})
        for name in graph.outputs:
            near = max(1e-5, 2.0 * difference(own[name].numpy(), right[name]))
            assert difference(found[name], right[name]) <= near, name
