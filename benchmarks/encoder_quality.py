"""Which encoder gives the better grasps: each trained with the same few steps, then put into physics.

    python benchmarks/encoder_quality.py --store data/quick.h5 --steps 800 --runs runs/encoder_quality \
        --output benchmarks/results/encoder_quality.json

Recipe of experiment=quickstart with another encoder; 64 tokens of width 64 for each, so that the decoder costs the
same. Finished runs are not made again. Prints the table of docs/encoders.md.
"""

import argparse
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks.trials import RECIPE, rate, steps, table, test, train, validation_loss, write
from models import load_grasp_model
from models.tokens import Cloud

LEVELS = (
    "model.encoder.levels.fine.centres=160",
    "model.encoder.levels.fine.widths=[64,64]",
    "model.encoder.levels.coarse.widths=[64,64]",
)
# Sizes of each encoder for 64 tokens of width 64.
ENCODERS: dict[str, tuple[str, ...]] = {
    "pointnet2_small": (),
    "pointnet_lite": (*LEVELS, "model.encoder.levels.coarse.centres=64", "model.encoder.dim=64"),
    "fpn": (
        *(word.replace("encoder.", "encoder.backbone.") for word in LEVELS),
        "model.encoder.backbone.levels.coarse.centres=64",
        "model.encoder.backbone.dim=64",
        "model.encoder.num_fine=48",
        "model.encoder.num_coarse=16",
        "model.encoder.dim=64",
    ),
    "ptv3_light": (),
}


def milliseconds(checkpoint: Path, num_points: int) -> tuple[float, int]:
    """Return the processor time of encoding one cloud, and the encoder's parameters."""
    denoiser = load_grasp_model(checkpoint).module.denoiser
    points = 0.1 * torch.randn(1, num_points, 3, generator=torch.Generator().manual_seed(0))
    yes = torch.ones(1, num_points, dtype=torch.bool)
    direction = torch.tensor([[0.0, 0.0, 1.0]])
    cloud = Cloud(points=points, valid=yes, target=yes, viewpoint=direction, up=direction)
    times = []
    with torch.no_grad():
        for _ in range(12):
            start = time.process_time()
            denoiser.encode(cloud)
            times.append(time.process_time() - start)
    return 1e3 * statistics.median(times), sum(p.numel() for p in denoiser.encoder.parameters())


def measure(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train and judge one encoder."""
    run_dir = arguments.runs / name
    overrides = [
        *RECIPE,
        *steps(arguments.steps),
        f"data.store={arguments.store}",
        f"model/encoder={name}",
        *ENCODERS[name],
    ]
    cost = train(run_dir, overrides)
    judged = test(run_dir, run_dir / "test", [f"max_items={arguments.items}"])
    ms, parameters = milliseconds(run_dir / "checkpoints" / "last.ckpt", num_points=768)
    return {
        "encoder": name,
        **judged,
        "val_loss": round(validation_loss(run_dir), 4),
        "encode_ms": round(ms, 2),
        "parameters": parameters,
        "train_cpu_s": cost["cpu_s"],
        "train_peak_mb": cost["peak_mb"],
    }


def main() -> None:
    """Measure, print, and write where asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--items", type=int, default=32)
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--encoders", nargs="*", default=list(ENCODERS))
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measure(name, arguments) for name in arguments.encoders]
    document = {
        "what": f"experiment=quickstart with each encoder, {arguments.steps} steps, one thread",
        "machine": f"{platform.processor() or platform.machine()}, torch {torch.__version__}",
        "encoders": rows,
    }
    write(document, arguments.output)
    header = [
        "encoder",
        "success, % [95 %]",
        "penetration, mm",
        "validation loss",
        "encode, ms",
        "parameters",
    ]
    header += ["training, processor s", "peak, MB"]
    lines = [
        [
            row["encoder"],
            rate(row),
            f"{row['penetration_mm']:.2f}",
            f"{row['val_loss']:.3f}",
            f"{row['encode_ms']:.1f}",
            f"{row['parameters'] / 1e3:.0f} k",
            f"{row['train_cpu_s']:.0f}",
            f"{row['train_peak_mb']:.0f}",
        ]
        for row in rows
    ]
    print(table(header, lines))


if __name__ == "__main__":
    main()
