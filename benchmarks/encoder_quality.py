"""Which encoder gives the better grasps: each trained with the same few steps, then put into physics.

    python -m benchmarks.encoder_quality --store data/quick.h5 --steps 800 --runs runs/encoder_quality \
        --output benchmarks/results/encoder_quality.json

Recipe of experiment=quickstart with another encoder; 64 tokens of width 64 for each, so that the decoder costs the
same. Each is trained from several seeds and judged on the same objects; the difference from the first encoder is taken
object by object. Finished runs are not made again. Prints the table of docs/encoders.md.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from benchmarks.common import command_line, table, write
from benchmarks.trials import RECIPE, steps, test, train, validation_loss
from sceneleapultra.models import load_grasp_model
from sceneleapultra.models.network.tokens import Cloud

LEVELS = (
    "model.generator.encoder.levels.fine.centers=160",
    "model.generator.encoder.levels.fine.widths=[64,64]",
    "model.generator.encoder.levels.coarse.widths=[64,64]",
)
# Sizes of each encoder for 64 tokens of width 64.
ENCODERS: dict[str, tuple[str, ...]] = {
    "pointnet2_small": (),
    "pointnet_lite": (
        *LEVELS,
        "model.generator.encoder.levels.coarse.centers=64",
        "model.generator.encoder.dim=64",
    ),
    "fpn": (
        *(word.replace("encoder.", "encoder.backbone.") for word in LEVELS),
        "model.generator.encoder.backbone.levels.coarse.centers=64",
        "model.generator.encoder.backbone.dim=64",
        "model.generator.encoder.num_fine=48",
        "model.generator.encoder.num_coarse=16",
        "model.generator.encoder.dim=64",
    ),
    "ptv3_light": (),
    "pointnet2": (),  # its own 96 tokens of width 96
    "ptv3": (  # nothing computed twice: the memory is there
        "model.generator.encoder.num_tokens=64",
        "model.generator.encoder.dim=64",
        "model.generator.encoder.architecture.checkpointing=false",
    ),
}
# On a GPU in single precision, as on a CPU, so that encoders alone make the difference.
ON_A_GPU = ("hardware=gpu", "hardware.devices=1", "hardware.precision=32-true", "data.loading.workers=2")


def milliseconds(checkpoint: Path, num_points: int) -> tuple[float, int]:
    """Return the processor time of encoding one cloud, and the encoder's parameters."""
    generator = load_grasp_model(checkpoint).generator
    points = 0.1 * torch.randn(1, num_points, 3, generator=torch.Generator().manual_seed(0))
    yes = torch.ones(1, num_points, dtype=torch.bool)
    direction = torch.tensor([[0.0, 0.0, 1.0]])
    cloud = Cloud(points=points, valid=yes, target=yes, viewpoint=direction, up=direction)
    times = []
    with torch.no_grad():
        for _ in range(12):
            start = time.process_time()
            generator.encode(cloud)
            times.append(time.process_time() - start)
    return 1e3 * statistics.median(times), sum(p.numel() for p in generator.encoder.parameters())


def measure(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train and judge one encoder from every seed."""
    runs, by_object = [], []
    for seed in arguments.seeds:
        run_dir = arguments.runs / f"{name}-{seed}"
        overrides = [
            *RECIPE,
            *steps(arguments.steps),
            *(ON_A_GPU if arguments.device == "cuda" else ()),
            f"data.store={arguments.store}",
            f"seed={seed}",
            f"model/generator/encoder={name}",
            *ENCODERS[name],
        ]
        cost = train(run_dir, overrides)
        choice = [f"max_items={arguments.items}", f"samples_per_item={arguments.samples}"]
        choice += [f"device={arguments.device}", f"workers={arguments.workers}"]
        choice += [f"store={arguments.test_store}"] if arguments.test_store else []
        labeled = test(run_dir, run_dir / "test", choice)
        by_object.append(of_objects(run_dir / "test" / "grasps.npz"))
        runs.append({"seed": seed, **labeled, "val_loss": round(validation_loss(run_dir), 4), **cost})
    ms, parameters = milliseconds(run_dir / "checkpoints" / "last.ckpt", num_points=768)
    return {
        "encoder": name,
        "by_object": np.mean(by_object, axis=0),
        "encode_ms": round(ms, 2),
        "parameters": parameters,
        "runs": runs,
    }


def of_objects(grasps: Path) -> Float[np.ndarray, "o"]:
    """Return the success rate on each object, of which one view is judged, in the order of the store."""
    with np.load(grasps) as file:
        item, success = file["test/item"], file["test/success"]
    return np.array([success[item == number].mean() for number in np.unique(item)])


def mean_interval(values: Float[np.ndarray, "o"], seed: int = 0) -> list[float]:
    """Return the mean over objects and its percentile interval of 95 % when objects are drawn with replacement."""
    draws = np.random.default_rng(seed).integers(len(values), size=(10_000, len(values)))
    return [float(values.mean()), *np.percentile(values[draws].mean(1), [2.5, 97.5]).tolist()]


def with_interval(interval: list[float], sign: str = "") -> str:
    """Write a mean with its interval, in percent."""
    value, low, high = (f"{100 * x:{sign}.1f}" for x in interval)
    return f"{value} [{low}, {high}]"


def main() -> None:
    """Measure, print, and write where asked to."""
    parser = command_line(__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument(
        "--test-store", type=Path, help="whose test objects are judged; by default the store's own"
    )
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--items", type=int, default=32)
    parser.add_argument("--samples", type=int, default=8, help="grasps of each object")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where networks run")
    parser.add_argument("--workers", type=int, default=1, help="processes of the simulation")
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs")
    parser.add_argument(
        "--encoders",
        nargs="+",
        default=[name for name in ENCODERS if name != "ptv3"],
        choices=list(ENCODERS),
        help="by default all but ptv3, which a CPU trains for hours",
    )
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measure(name, arguments) for name in arguments.encoders]
    first = rows[0]["by_object"]
    for row in rows:
        of_each = row.pop("by_object")
        row["objects"], row["success"] = len(of_each), mean_interval(of_each)
        row["difference_from_first"] = mean_interval(of_each - first)
    document = {
        "what": f"experiment=quickstart with each encoder, {arguments.steps} steps",
        "encoders": rows,
    }
    write(document, arguments.output, seed=arguments.seeds, device=arguments.device)
    header = [
        "encoder",
        "success, % [95 %]",
        f"less {rows[0]['encoder']}, points",
        "of each seed",
        "penetration, mm",
        "validation loss",
        "encode, ms",
        "parameters",
        "training, processor s",
        "wall s",
        "peak, MB",
    ]
    print(table(header, [line(row) for row in rows]))


def line(row: dict[str, Any]) -> list[str]:
    """Write a row of the table: means over the seeds."""

    def mean(key: str) -> float:
        return statistics.fmean(run[key] for run in row["runs"])

    return [
        row["encoder"],
        with_interval(row["success"]),
        with_interval(row["difference_from_first"], "+"),
        ", ".join(f"{100 * run['success']:.1f}" for run in row["runs"]),
        f"{mean('penetration_mm'):.2f}",
        f"{mean('val_loss'):.3f}",
        f"{row['encode_ms']:.1f}",
        f"{row['parameters'] / 1e3:.0f} k",
        f"{mean('cpu_s'):.0f}",
        f"{mean('wall_s'):.0f}",
        f"{mean('peak_mb'):.0f}",
    ]


if __name__ == "__main__":
    main()
