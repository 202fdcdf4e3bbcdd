"""How near exported graphs come to the model in double precision, and how long both take: the tables of docs/export.md.

    python -m benchmarks.export_parity                                # the shipped model, every encoder, every process
    python -m benchmarks.export_parity --models leap_table
    python -m benchmarks.export_parity --models untrained --encoders fpn --processes flow
    python -m benchmarks.export_parity --models none --checkpoints "ptv3, trained=runs/ptv3/checkpoints/last.ckpt"

Compared over three numbers of scenes and three of points: what every graph gives, and whole samples of a few steps from
the same anchors and noise. What is right is what the model computes in double precision; beside the graphs stands what
torch makes of it in single precision, which rounds, too. But for the shipped model weights are random, decoders have
one block and all encoders 96 tokens, so that the graph of an encoder goes with that of any process: each is exported
once, and every pair is sampled from. One thread. Writes benchmarks/results/export.json, where what a run does not
measure stays.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import json
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor

from benchmarks.common import RESULTS, command_line, commit, machine, put_into_pages, table, write
from benchmarks.double import double_precision, in_double, margins
from sceneleapultra.models import load_grasp_model
from sceneleapultra.models.beside import MEASURED
from sceneleapultra.models.bundle.parts import RUNTIME
from sceneleapultra.models.checkpoints.load import build_generator
from sceneleapultra.models.export.graphs import Graph, graphs_of
from sceneleapultra.models.export.onnx import write_graphs
from sceneleapultra.models.export.ptv3 import traceable
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.network.tokens import Cloud
from sceneleapultra.serving.runtime.generator import Generation
from sceneleapultra.serving.runtime.sessions import GraphSessions
from sceneleapultra.utils.core.config import CONFIG_DIR

BATCHES, POINTS, GRASPS = (1, 2, 5), (512, 1024, 2048), (1, 16, 33)
RESULT = RESULTS / "export.json"
SHIPPED = "leap_table"
# The official size, made small: three levels and a decoder.
SMALL_PTV3 = (
    "stride=[2,2]",
    "enc_depths=[1,1,1]",
    "enc_channels=[32,48,64]",
    "enc_heads=[2,3,4]",
    "dec_depths=[1,1]",
    "dec_channels=[32,48]",
    "dec_heads=[2,3]",
    "patch_size=[64,64,64]",
)
# Every encoder, with 96 tokens of width 96. pointnet2_small and _medium are other sizes of pointnet2.
ENCODERS = {
    "pointnet_lite": (),
    "pointnet2": (),
    "fpn": (),
    "pointnet2_predecessor": ("dim=96", "levels.fourth.centers=96"),
    "ptv3_light": ("dim=96", "num_tokens=96"),
    "ptv3": ("dim=96", "num_tokens=96", *(f"architecture.{change}" for change in SMALL_PTV3)),
}
PROCESSES = ("cosine", "flow", "edm", "ddpm", "vp_linear")
OF_ENCODER, OF_PROCESS = ("encoder", "anchor"), ("denoiser", "schedule")
BASE = ("pointnet_lite", "cosine")  # whose graphs all pairs share, but for an encoder's and a process's own
STEPS = 4


def untrained(encoder: str, process: str) -> GraspGenerator:
    """Return a generator with random weights; of all of them but the encoder's, always the same ones.

    What it makes has the mean and width of grasps: metres and radians of a hand, not of random numbers.
    """
    overrides = ["run_dir=none", "model.generator.decoder.depth=1", f"model/generator/encoder={encoder}"]
    overrides += [f"model.generator.encoder.{change}" for change in ENCODERS[encoder]]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("config", overrides=[*overrides, f"model/generator/process={process}"])
    torch.manual_seed(0)
    generator: GraspGenerator = build_generator(cfg.model.generator)
    with torch.no_grad():
        for weights in generator.parameters():
            if not weights.any():  # as layers begin that are added to others: what does nothing shows nothing
                weights.normal_(std=0.05)
    generator.normalizer.load_state_dict(load_grasp_model(SHIPPED).generator.normalizer.state_dict())
    if (encoder, process) != BASE:
        own = generator.state_dict()
        base = untrained(*BASE).state_dict()
        shared = {k: v for k, v in base.items() if not k.startswith("encoder.") and k in own}
        generator.load_state_dict(own | shared)
    return generator.eval()


def twin_of(generator: GraspGenerator) -> GraspGenerator:
    """Return the same generator in double precision, as it is traced: grouped products have no double precision."""
    assert generator.config is not None
    with double_precision():
        twin: GraspGenerator = build_generator(generator.config)
        twin.load_state_dict(generator.state_dict())
        return in_double(traceable(twin.eval()))


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


def starts(generator: GraspGenerator, b: int, g: int, target: Tensor, seed: int) -> dict[str, Tensor]:
    """Return what the other graphs read: anchors on the target, noise at a middle time."""
    random = torch.Generator().manual_seed(seed)
    index = torch.multinomial(target.float(), g, replacement=True, generator=random)
    return {
        "index": index,
        "set_id": torch.zeros_like(index),
        "x_t": torch.randn(b, g, generator.dim_input, generator=random),
        "t": torch.linspace(0.2, 0.8, b),
        "times": torch.linspace(1.0, 0.0, g + 1),
        "beside": 0.2 * torch.rand(MEASURED + 7 * b, 3, generator=random),
    }


def sizes(generator: GraspGenerator) -> Iterator[tuple[int, int, int]]:
    """Yield numbers of scenes, points and grasps; an encoder takes at least as many points as it has centers."""
    centers = generator.encoder.num_centers
    points = POINTS if centers <= min(POINTS) else tuple(centers * k // 2 for k in (2, 3, 4))
    for i, (b, n) in enumerate((b, n) for b in BATCHES for n in points):
        yield b, n, GRASPS[i % len(GRASPS)]


@torch.no_grad()
def parity(generator: GraspGenerator, folder: Path, only: Collection[str] = ()) -> Iterator[dict[str, Any]]:
    """Yield, for each size and graph, how far from double precision its outputs are, torch's too, and both times (ms).

    Differences are relative where numbers are beyond 1. Every graph reads what torch gives, rounded to float32. Where a
    graph searches for surface points, ``margin_m`` is the least of all grasps, see :func:`margins`.
    """
    engine, twin = GraphSessions(folder, threads=1), twin_of(generator)
    for i, (b, n, g) in enumerate(sizes(generator)):
        tensors = scene(b, n, seed=i)
        for graph, exact in zip(graphs_of(generator), graphs_of(twin), strict=True):
            if graph.name == "anchor":
                tensors |= starts(generator, b, g, tensors["token_target"], seed=i)
            if graph.name == "clearance":
                tensors["hands"] = tensors["hand_pose"].flatten(0, 1)
            made = run_torch(graph, tensors)
            if only and graph.name not in only:
                tensors |= made
                continue
            arrays = {name: tensors[name].numpy() for name in graph.inputs}
            with double_precision(), margins() as noted:
                right = run_torch(exact, {name: doubled(tensors[name]) for name in graph.inputs})
            engine.run(graph.name, arrays)  # reads the file, plans for these sizes
            begin = time.process_time()
            made = run_torch(graph, tensors)
            between = time.process_time()
            found = engine.run(graph.name, arrays)
            end = time.process_time()
            times = {"torch_ms": 1e3 * (between - begin), "onnx_ms": 1e3 * (end - between)}
            apart = {name: difference(found[name], right[name]) for name in graph.outputs}
            worst = max(apart, key=apart.__getitem__)
            own = max(difference(made[name].numpy(), right[name]) for name in graph.outputs)
            where = {"graph": graph.name, "b": b, "n": n, "g": g, "output": worst}
            margin = {"margin_m": min(float(m.min()) for m in noted)} if noted else {}
            yield where | times | {"apart": apart[worst], "torch_apart": own} | margin
            tensors |= made


def run_torch(graph: Graph, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return what a graph gives before it is exported, by name."""
    made = graph(*(tensors[name] for name in graph.inputs))
    return dict(zip(graph.outputs, made if isinstance(made, tuple) else (made,), strict=True))


def doubled(x: Tensor) -> Tensor:
    """Return numbers in double precision, all else as it is."""
    return x.double() if x.is_floating_point() else x


@torch.no_grad()
def sample_parity(generator: GraspGenerator, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield, for each size, how far from double precision whole samples of a few steps are, and torch's too.

    ``pose``: the largest difference of a hand's position (m), joints and squeeze (rad) and quaternion; ``odds``: of a
    probability that the score head gives; ``margin_m``: the least of the grasp that is furthest apart, over all steps,
    see :func:`margins`.
    """
    engine, twin = GraphSessions(folder, threads=1), twin_of(generator)
    about = json.loads((folder / RUNTIME).read_text())
    steps = {} if generator.sampling.solver.kind == "latent" else {"steps": STEPS}
    settings = about["sampling"] | {"solver": about["sampling"]["solver"] | steps}
    for i, (b, n, g) in enumerate(sizes(generator)):
        cloud = scene(b, n, seed=i)
        arrays = {name: value.numpy() for name, value in cloud.items()}
        arrays |= engine.run("encoder", arrays)
        start = starts(generator, b, g, torch.from_numpy(arrays["token_target"]), seed=i)
        run = Generation(engine, about, settings, seed=0)
        index, noise = start["index"].numpy(), start["x_t"].numpy()
        view, states = run.solve(arrays, index, noise, np.zeros_like(index))
        last = {**arrays, **view, "x0": states[-1]}
        found = engine.run("grasps", last)
        found["p"] = 1.0 / (1.0 + np.exp(-engine.run("score", last)["log_odds"].astype(np.float64)))
        made = whole_sample(generator, cloud, start, steps)
        with double_precision(), margins() as noted:
            exact, begun = ({name: doubled(x) for name, x in tensors.items()} for tensors in (cloud, start))
            right = whole_sample(twin, exact, begun, steps)
        right["margin_m"] = torch.stack([m.unflatten(1, (-1, g)).amin(1) for m in noted]).amin(0)
        rows = [apart_in_grasps(one, right) for one in (found, {k: v.numpy() for k, v in made.items()})]
        yield {"b": b, "n": n, "g": g, "onnx": rows[0], "torch": rows[1]}


def whole_sample(
    generator: GraspGenerator, cloud: dict[str, Tensor], start: dict[str, Tensor], steps: dict[str, int]
) -> dict[str, Tensor]:
    """Return the grasps that torch makes from these anchors and this noise."""
    names = ("points", "valid", "target", "viewpoint", "up")
    encoded = generator.encode(Cloud(**{name: cloud[name] for name in names}, rgb=None))
    anchored = generator.anchor(encoded, start["index"], torch.zeros_like(start["index"]))
    solver = generator.sampling.changed(**steps).solver

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        return generator.predict_x0(x, t, anchored)

    x0 = generator.process.solve(solver, denoise, start["x_t"], None, trajectory=False).x0
    grasps = generator.decode(x0, anchored)
    return {
        "hand_pose": grasps.pose.to_hand_pose(),
        "squeeze_qpos": grasps.squeeze_qpos,
        "p": generator.score_head(grasps, encoded).sigmoid(),
    }


def apart_in_grasps(found: dict[str, np.ndarray], right: dict[str, Tensor]) -> dict[str, float]:
    """Return the largest differences of poses and of probabilities, see above; a quaternion's sign is free."""
    pose, exact = found["hand_pose"].astype(np.float64), right["hand_pose"].numpy()
    sign = np.sign((pose[..., -4:] * exact[..., -4:]).sum(-1, keepdims=True))
    pose = np.concatenate([pose[..., :-4], sign * pose[..., -4:]], axis=-1)
    squeeze = np.abs(found["squeeze_qpos"] - right["squeeze_qpos"].numpy()).max(-1)
    poses = np.maximum(np.abs(pose - exact).max(-1), squeeze)
    odds = np.abs(found["p"] - right["p"].numpy()).max(-1)
    worst = np.maximum(poses, odds)
    margin = float(right["margin_m"].numpy().flat[worst.argmax()])
    if not np.isfinite(worst).all():
        return {"pose": float("inf"), "odds": float("inf"), "margin_m": margin}
    return {"pose": float(poses.max()), "odds": float(odds.max()), "margin_m": margin}


def difference(found: np.ndarray, expected: Tensor) -> float:
    """Return the largest difference, relative where numbers are beyond 1; equal infinities are equal."""
    right = expected.numpy()
    if found.shape != right.shape or (found.dtype.kind != right.dtype.kind):
        return float("inf")
    same = found == right
    one, two = (np.where(same, 0.0, values.astype(np.float64)) for values in (found, right))
    apart = float((np.abs(one - two) / np.maximum(1.0, np.abs(two))).max(initial=0.0))
    return apart if np.isfinite(apart) else float("inf")  # what is not a number is as far as can be


def measure_checkpoint(source: str, folder: Path) -> dict[str, Any]:
    """Export a trained model and compare."""
    generator = load_grasp_model(source).generator
    write_graphs(generator, folder)
    return {
        "megabytes": sum(file.stat().st_size for file in folder.glob("*.onnx")) / 1e6,
        "rows": list(parity(generator, folder)),
        "samples": list(sample_parity(generator, folder)),
    }


def measure_pairs(
    folder: Path, encoders: Collection[str], processes: Collection[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Export encoders and processes, and yield how each of them, and each pair of them, compares."""
    write_graphs(untrained(*BASE), folder)
    exported = []
    for encoder in encoders:
        own = folder / encoder
        shutil.copytree(folder, own, ignore=lambda _, names: [n for n in names if "." not in n])
        generator = untrained(encoder, BASE[1])
        try:
            if encoder != BASE[0]:
                write_graphs(generator, own, only=("encoder",))
        except ValueError as error:
            yield f"encoder={encoder}", {"refused": str(error)}
            continue
        exported.append(encoder)
        yield f"encoder={encoder}", {"rows": list(parity(generator, own, OF_ENCODER))}
    for process in processes:
        generator, own = untrained(BASE[0], process), folder / process
        shutil.copytree(folder, own, ignore=lambda _, names: [n for n in names if "." not in n])
        if process != BASE[1]:
            write_graphs(generator, own, only=OF_PROCESS)
        yield f"process={process}", {"rows": list(parity(generator, own, OF_PROCESS))}
        for encoder in exported:
            for name in (*(f"{graph}.onnx" for graph in OF_PROCESS), RUNTIME):
                shutil.copy(own / name, folder / encoder / name)
            samples = list(sample_parity(untrained(encoder, process), folder / encoder))
            yield f"encoder={encoder} process={process}", {"samples": samples}


def tables(document: dict[str, Any]) -> str:
    """Write what was measured as Markdown."""
    known = document["models"]
    shipped = known[SHIPPED]["rows"]
    ends = [(row["b"], row["n"], row["g"]) for row in (shipped[0], shipped[-1])]
    head = ["model", "graph", "graph from double precision", "torch from double precision"]
    head += [f"torch / onnxruntime, ms: {b} scenes of {n} points, {g} grasps" for b, n, g in ends]
    lines = []
    for name, found in known.items():
        for graph in dict.fromkeys(row["graph"] for row in found.get("rows", [])):
            own = [row for row in found["rows"] if row["graph"] == graph]
            apart = [f"{max(row[key] for row in own):.1e}" for key in ("apart", "torch_apart")]
            times = [f"{row['torch_ms']:.1f} / {row['onnx_ms']:.1f}" for row in (own[0], own[-1])]
            lines.append([name, graph, *apart, *times])
    parts = ("poses (m, rad)", "probabilities")
    whole_head = ["samples", *(f"{part}: {side}" for part in parts for side in ("graphs", "torch"))]
    whole = [
        [name]
        + [
            f"{max(row[side][key] for row in found['samples']):.1e}"
            for key in ("pose", "odds")
            for side in ("onnx", "torch")
        ]
        for name, found in known.items()
        if "samples" in found
    ]
    refused = [f"`{name}`: {found['refused']}" for name, found in known.items() if "refused" in found]
    where: dict[str, list[str]] = {}
    for name, found in known.items():
        where.setdefault(found["machine"], []).append(name)
    last = max(where, key=lambda machine: len(where[machine]))
    others = [f"{', '.join(names)}: {machine}" for machine, names in where.items() if machine != last]
    about = f"{'; '.join([last, *others])}. One thread, processor time; torch {torch.__version__}."
    return "\n\n".join([table(whole_head, whole), table(head, lines), about, *refused])


def main() -> None:
    """Measure what is asked for; write results and the page's tables."""
    parser = command_line(__doc__)
    parser.add_argument("--models", choices=("all", SHIPPED, "untrained", "none"), default="all")
    parser.add_argument("--encoders", nargs="+", choices=list(ENCODERS), default=list(ENCODERS))
    parser.add_argument("--processes", nargs="+", choices=PROCESSES, default=PROCESSES)
    parser.add_argument(
        "--checkpoints", nargs="+", default=[], help="name=checkpoint of other trained models"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    document = json.loads(RESULT.read_text()) if RESULT.is_file() else {"models": {}}
    here = {"commit": commit(), "machine": machine("cpu")}
    trained = {SHIPPED: SHIPPED} if options.models in ("all", SHIPPED) else {}
    for name, source in (trained | dict(text.rsplit("=", 1) for text in options.checkpoints)).items():
        with tempfile.TemporaryDirectory() as folder:
            document["models"][name] = measure_checkpoint(source, Path(folder)) | here
            write(document, RESULT, seed=0)
    if options.models in ("all", "untrained"):
        with tempfile.TemporaryDirectory() as folder:
            for name, found in measure_pairs(Path(folder), options.encoders, options.processes):
                document["models"][name] = found | here
                write(document, RESULT, seed=0)
                print(name, flush=True)
    put_into_pages("export", "python -m benchmarks.export_parity", tables(document))


if __name__ == "__main__":
    main()
