"""How near the graphs of a bundle come to the network they were exported from, and how long both take.

python -m benchmarks.export_parity leap_table bundles/leap_table          # the checkpoint, and its bundle with graphs
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import command_line, machine, table, write
from sceneleapultra.models import load_grasp_model
from sceneleapultra.models.beside import MEASURED
from sceneleapultra.models.export.graphs import Graph, graphs_of
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.serving.runtime.engine import Engine

BATCHES, POINTS, GRASPS = (1, 2, 5), (512, 1024, 2048), (1, 16, 33)


def scene(b: int, n: int, seed: int) -> dict[str, Tensor]:
    """Return clouds of a bent surface on a table: their normals are well defined, as those of a blob are not."""
    random = np.random.default_rng(seed)
    half = n // 2
    angle, height = random.uniform(-1.2, 1.2, (b, half)), random.uniform(0.0, 0.1, (b, half))
    target = np.stack([0.04 * np.cos(angle), 0.04 * np.sin(angle), height], -1)
    table_top = np.stack([*random.uniform(-0.05, 0.05, (2, b, n - half)), np.zeros((b, n - half))], -1)
    points = np.stack([target, table_top[:, :half]], 2).reshape(b, -1, 3)
    points = np.concatenate([points, table_top[:, half:]], 1).astype(np.float32)
    marked = (np.arange(n) % 2 == 0) & (np.arange(n) < 2 * half)
    return {
        "points": torch.from_numpy(points),
        "valid": torch.ones(b, n, dtype=torch.bool),
        "target": torch.from_numpy(marked).repeat(b, 1),
        "viewpoint": torch.tensor([0.5, 0.1, 0.5]).repeat(b, 1),
        "up": torch.tensor([0.0, 0.0, 1.0]).repeat(b, 1),
        "rgb": torch.from_numpy(random.random((b, n, 3), dtype=np.float32)),
    }


def grasps(
    generator: GraspGenerator, b: int, g: int, made: dict[str, Tensor], seed: int
) -> dict[str, Tensor]:
    """Return what the other graphs read: anchors on the target, noise at a middle time."""
    random = torch.Generator().manual_seed(seed)
    index = torch.multinomial(made["token_target"].float(), g, replacement=True, generator=random)
    return {
        "index": index,
        "set_id": torch.zeros_like(index),
        "x_t": torch.randn(b, g, generator.dim_input, generator=random),
        "t": torch.linspace(0.2, 0.8, b),
        "times": torch.linspace(1.0, 0.0, g + 1),
        "beside": 0.2 * torch.rand(MEASURED + 7 * b, 3, generator=random),
    }


@torch.no_grad()
def parity(generator: GraspGenerator, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield, for each size and graph, the largest difference, relative beyond 1, and both times (ms)."""
    engine, graphs = Engine(folder, threads=1), graphs_of(generator)
    for i, (b, n) in enumerate((b, n) for b in BATCHES for n in POINTS):
        g = GRASPS[i % len(GRASPS)]
        tensors = scene(b, n, seed=i)
        for graph in graphs:
            if graph.name == "anchor":
                tensors |= grasps(generator, b, g, tensors, seed=i)
            if graph.name == "clearance":
                tensors["hands"] = tensors["hand_pose"].flatten(0, 1)
            yield {"b": b, "n": n, "g": g, **compare(graph, engine, tensors)}


def compare(graph: Graph, engine: Engine, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Run a graph in both; what it gives is added to the tensors."""
    inputs = [tensors[name] for name in graph.inputs]
    begin = time.perf_counter()
    made = graph(*inputs)
    eager = time.perf_counter() - begin
    expected = dict(zip(graph.outputs, made if isinstance(made, tuple) else (made,), strict=True))
    arrays = {name: tensors[name].numpy() for name in graph.inputs}
    begin = time.perf_counter()
    found = engine.run(graph.name, arrays)
    exported = time.perf_counter() - begin
    tensors |= expected
    apart = {name: difference(found[name], value.numpy()) for name, value in expected.items()}
    return {
        "graph": graph.name,
        "apart": max(apart.values()),
        "of": max(apart, key=apart.__getitem__),
        "torch_ms": 1e3 * eager,
        "onnx_ms": 1e3 * exported,
    }


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference, relative where numbers are beyond 1; equal infinities are equal."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return float("inf")
    same = found == expected
    one, two = (np.where(same, 0.0, values.astype(np.float64)) for values in (found, expected))
    return float((np.abs(one - two) / np.maximum(1.0, np.abs(two))).max(initial=0.0))


def main() -> None:
    """Measure, and print a table."""
    parser = command_line(__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--output", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    rows = list(parity(load_grasp_model(chosen.checkpoint).generator, chosen.bundle))
    lines = []
    for graph in dict.fromkeys(row["graph"] for row in rows):
        own = [row for row in rows if row["graph"] == graph]
        ms = [np.median([row[name] for row in own]) for name in ("torch_ms", "onnx_ms")]
        lines.append([graph, f"{max(row['apart'] for row in own):.1e}", *(f"{x:.1f}" for x in ms)])
    print(table(["graph", "largest difference", "torch (ms)", "onnxruntime (ms)"], lines))
    write({"machine": machine("cpu"), "torch": torch.__version__, "rows": rows}, chosen.output)


if __name__ == "__main__":
    main()
