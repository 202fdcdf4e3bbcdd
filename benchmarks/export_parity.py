"""How near exported graphs come to the network they were made of, and how long both take: the tables of docs/export.md.

    python -m benchmarks.export_parity                                # the shipped model, every encoder, every process
    python -m benchmarks.export_parity --models encoder=fpn process=flow

Each model is exported, and compared over three numbers of scenes and three numbers of points; what was measured before
stays in benchmarks/results/export.json. But for the shipped model weights are random and decoders have one block: of an
encoder its own graphs are compared, of a process those that it alters. One thread; of each time the second run counts.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import json
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor

from benchmarks.common import RESULTS, ROOT, command, command_line, commit, machine, table, write
from sceneleapultra.models import load_grasp_model
from sceneleapultra.models.beside import MEASURED
from sceneleapultra.models.checkpoints.load import build_generator
from sceneleapultra.models.export.graphs import Graph, graphs_of
from sceneleapultra.models.export.onnx import write_graphs
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.serving.runtime.sessions import GraphSessions
from sceneleapultra.utils.core.config import CONFIG_DIR

BATCHES, POINTS, GRASPS = (1, 2, 5), (512, 1024, 2048), (1, 16, 33)
RESULT, PAGE = RESULTS / "export.json", ROOT / "docs" / "export.md"
BEGIN, END = "<!-- python -m benchmarks.export_parity -->", "<!-- end -->"
SHIPPED = "leap_table"
OF_ENCODER, OF_PROCESS = ("encoder", "anchor"), ("denoiser", "schedule")
SMALL = ("model.generator.decoder.depth=1", "model/generator/encoder=pointnet_lite")


def models() -> list[str]:
    """Name everything that is measured."""
    folder = CONFIG_DIR / "model" / "generator"
    found = [
        f"{kind}={path.stem}"
        for kind in ("encoder", "process")
        for path in sorted((folder / kind).glob("*.yaml"))
    ]
    return [
        SHIPPED,
        *(name for name in found if name != "process=latent"),
    ]  # a decoder of its own: not exported


def untrained(name: str) -> GraspGenerator:
    """Return a generator of the shipped configuration with random weights and one part exchanged."""
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("config", overrides=["run_dir=none", *SMALL, f"model/generator/{name}"])
    torch.manual_seed(0)
    return build_generator(cfg.model.generator).eval()


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
def parity(generator: GraspGenerator, folder: Path, only: Collection[str] = ()) -> Iterator[dict[str, Any]]:
    """Yield, for each size and graph, the largest difference, relative beyond 1, and both times (ms)."""
    engine = GraphSessions(folder, threads=1)
    for i, (b, n) in enumerate((b, n) for b in BATCHES for n in POINTS):
        g = GRASPS[i % len(GRASPS)]
        tensors = scene(b, n, seed=i)
        for graph in graphs_of(generator):
            if graph.name == "anchor":
                tensors |= grasps(generator, b, g, tensors, seed=i)
            if graph.name == "clearance":
                tensors["hands"] = tensors["hand_pose"].flatten(0, 1)
            expected, eager_ms = timed_torch(graph, tensors)
            tensors |= expected
            if not only or graph.name in only:
                yield {"graph": graph.name, "b": b, "n": n, "g": g, "torch_ms": eager_ms} | compare(
                    engine, graph, tensors, expected
                )


def timed_torch(graph: Graph, tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], float]:
    """Return what the network gives, by name, and the milliseconds that it took."""
    inputs = [tensors[name] for name in graph.inputs]
    graph(*inputs)
    begin = time.process_time()
    made = graph(*inputs)
    took = time.process_time() - begin
    return dict(zip(graph.outputs, made if isinstance(made, tuple) else (made,), strict=True)), 1e3 * took


def compare(
    engine: GraphSessions, graph: Graph, tensors: dict[str, Tensor], expected: dict[str, Tensor]
) -> dict[str, Any]:
    """Run an exported graph; return how far which of its outputs is from the network's."""
    arrays = {name: tensors[name].numpy() for name in graph.inputs}
    engine.run(graph.name, arrays)  # reads the file, plans for these sizes
    begin = time.process_time()
    found = engine.run(graph.name, arrays)
    took = time.process_time() - begin
    apart = {name: difference(found[name], value.numpy()) for name, value in expected.items()}
    worst = max(apart, key=apart.__getitem__)
    return {"onnx_ms": 1e3 * took, "output": worst, "apart": apart[worst]}


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference, relative where numbers are beyond 1; equal infinities are equal."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return float("inf")
    same = found == expected
    one, two = (np.where(same, 0.0, values.astype(np.float64)) for values in (found, expected))
    return float((np.abs(one - two) / np.maximum(1.0, np.abs(two))).max(initial=0.0))


def measure(name: str) -> dict[str, Any]:
    """Export a model and compare; a model that cannot be exported says why."""
    generator = load_grasp_model(name).generator if name == SHIPPED else untrained(name)
    only = {"encoder": OF_ENCODER, "process": OF_PROCESS}.get(name.split("=")[0], ())
    with tempfile.TemporaryDirectory() as folder:
        try:
            write_graphs(generator, Path(folder), only=only)
        except ValueError as error:
            return {"refused": str(error)}
        size = sum(file.stat().st_size for file in Path(folder).glob("*.onnx"))
        return {
            "command": command(),
            "commit": commit(),
            "megabytes": size / 1e6,
            "rows": list(parity(generator, Path(folder), only)),
        }


def tables(document: dict[str, Any]) -> str:
    """Write what was measured as Markdown."""
    lines = []
    for name in models():
        found = document["models"].get(name, {"rows": []})
        for graph in dict.fromkeys(row["graph"] for row in found.get("rows", [])):
            own = [row for row in found["rows"] if row["graph"] == graph]
            one, many = own[0], own[-1]
            lines.append(
                [
                    name,
                    graph,
                    f"{max(row['apart'] for row in own):.1e}",
                    *(f"{row['torch_ms']:.1f} / {row['onnx_ms']:.1f}" for row in (one, many)),
                ]
            )
    sizes = [f"{b} scenes of {n} points, {g} grasps" for b, n, g in ((1, 512, 1), (5, 2048, 33))]
    header = ["model", "graph", "largest difference", *(f"torch / onnxruntime, ms: {size}" for size in sizes)]
    refused = [
        f"`{name}`: {found['refused']}" for name, found in document["models"].items() if "refused" in found
    ]
    about = f"{document['machine']}, one thread, processor time; torch {document['torch']}."
    return "\n\n".join([table(header, lines), about, *refused])


def main() -> None:
    """Measure what is asked for; write results and the page's tables."""
    parser = command_line(__doc__)
    parser.add_argument("--models", nargs="*", default=models(), help="names as the table has them")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    document = json.loads(RESULT.read_text()) if RESULT.is_file() else {"models": {}}
    document |= {"machine": machine("cpu"), "torch": torch.__version__}
    for name in chosen.models:
        document["models"][name] = measure(name)
        write(document, RESULT, seed=0)
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n{tables(document)}\n\n{END}{rest.partition(END)[2]}")
        print(name, flush=True)


if __name__ == "__main__":
    main()
