"""Does a graph whose weights are stored in fewer bits compute, bit for bit, what it did?"""

from pathlib import Path

import numpy as np
import pytest
from torch import nn

pytest.importorskip("onnx", reason="the extra 'export' is not installed")
pytest.importorskip("onnxruntime", reason="the extra 'export' is not installed")

import onnx
from onnx import TensorProto, helper, numpy_helper

from sceneleapultra.models.bundle.parts import Precision
from sceneleapultra.models.bundle.precision import round_weights
from sceneleapultra.models.export.compact import compact_graph
from sceneleapultra.serving.runtime.sessions import GraphSessions


def graph_of(network: nn.Sequential, path: Path) -> None:
    """Write x -> x W0^T W1 + c: one weight turned over, as exporters do, one as it is, and a constant that is none."""
    constant = np.random.default_rng(0).normal(size=(4, 96)).astype(np.float32)
    tensors = {
        "first": network[0].weight.detach().numpy().T,
        "second": network[1].weight.detach().numpy(),
        "constant": constant,
    }
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["a"]),
        helper.make_node("MatMul", ["a", "second"], ["b"]),
        helper.make_node("Add", ["b", "constant"], ["y"]),
    ]
    both = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", [4, 64]), ("y", [4, 96]))
    ]
    initializers = [numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in tensors.items()]
    graph = helper.make_graph(nodes, "g", both[:1], both[1:], initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)


@pytest.mark.parametrize(("precision", "least"), [("bf16", 1.9), ("int8", 3.5)])
def test_it_computes_the_same_bits_in_fewer_bytes(precision: Precision, least: float, tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(64, 80, bias=False), nn.Linear(96, 80, bias=False))
    stored = round_weights(network, precision)
    for folder in ("whole", "small"):
        (tmp_path / folder).mkdir()
        graph_of(network, tmp_path / folder / "g.onnx")
    compact_graph(tmp_path / "small" / "g.onnx", stored)
    x = np.random.default_rng(1).normal(size=(4, 64)).astype(np.float32)
    whole, small = (
        GraphSessions(tmp_path / folder, threads=1).run("g", {"x": x})["y"] for folder in ("whole", "small")
    )
    assert np.array_equal(whole, small) and np.abs(whole).max() > 0.1
    sizes = [
        (tmp_path / folder / "g.onnx").stat().st_size - 4 * 4 * 96 for folder in ("whole", "small")
    ]  # without the constant, which is no weight and stays
    assert sizes[0] > least * sizes[1]
