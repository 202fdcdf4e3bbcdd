"""Graphs whose weights were rounded, stored in the few bits that they need.

What a graph computes does not change by a bit: a weight is stored in another form only where that form gives back each
of its numbers, and the engine restores it once, when it reads the file.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor

from sceneleapultra.models.bundle.precision import SCALE, restored

_KEPT = 256  # numbers of a tensor that is not worth a node
_STORED = ".stored"  # behind the name of a weight: that of what it is restored from


def compact_graph(path: Path, stored: Mapping[str, Tensor]) -> None:
    """Rewrite a file of ONNX, its weights in the form in which they are stored.

    Args:
        path: of the file.
        stored: weights after rounding, see :func:`~sceneleapultra.models.bundle.precision.round_weights`.
    """
    model = onnx.load(path)
    eight_bit = {name: value for name, value in stored.items() if value.dtype == torch.int8}
    known = {_key(value.numpy()): name for name, value in restored(stored).items() if name in eight_bit}
    nodes: list[NodeProto] = []
    for tensor in list(model.graph.initializer):
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size < _KEPT:
            continue
        if eight_bit:
            made = _in_rows(tensor.name, values, known, stored)
        else:
            made = _in_half(tensor.name, values)
        if made is None:
            continue
        parts, node = made
        model.graph.initializer.remove(tensor)
        model.graph.initializer.extend(parts)
        nodes.append(node)
    for node in reversed(nodes):
        model.graph.node.insert(0, node)
    onnx.save(model, path)


def _in_half(name: str, values: np.ndarray) -> tuple[list[TensorProto], NodeProto] | None:
    """Return a tensor of bfloat16 and the node that restores it; None where that loses anything."""
    bits = values.view(np.uint32)
    if (bits & 0xFFFF).any():
        return None
    half = TensorProto(name=f"{name}{_STORED}", data_type=TensorProto.BFLOAT16, dims=values.shape)
    half.raw_data = (bits >> 16).astype("<u2").tobytes()
    return [half], helper.make_node("Cast", [half.name], [name], to=TensorProto.FLOAT)


def _in_rows(
    name: str, values: np.ndarray, known: Mapping[bytes, str], stored: Mapping[str, Tensor]
) -> tuple[list[TensorProto], NodeProto] | None:
    """Return a tensor of int8, its scales, and the node that restores it; None for what is no weight."""
    # Exporters turn weights over, so that nobody has to later.
    for axis, rows in enumerate((values, values.T)):
        weight = known.get(_key(rows))
        if weight is None:
            continue
        codes = stored[weight].numpy()
        parts = [codes if axis == 0 else codes.T, stored[weight + SCALE].numpy()]
        names = [f"{name}{_STORED}", f"{name}{SCALE}"]
        tensors = [
            numpy_helper.from_array(np.ascontiguousarray(part), own)
            for part, own in zip(parts, names, strict=True)
        ]
        return tensors, helper.make_node("DequantizeLinear", names, [name], axis=axis)
    return None


def _key(values: np.ndarray) -> bytes:
    return repr(values.shape).encode() + np.ascontiguousarray(values).tobytes()
