"""Does pretraining the encoder help where labels are few?

    python -m benchmarks.pretraining --store data/quick.h5 --steps 500 --runs runs/pretraining \
        --output benchmarks/results/pretraining.json

An encoder learns from the clouds of all training scenes, then a model from the grasps of a quarter of them; beside it
models that start fresh: with the same steps, and with as many steps more as the pretraining took processor time.
Validation loss, and success in physics. Finished runs are not made again. Prints a table.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

from pathlib import Path

import numpy as np

from benchmarks.common import command_line, table, write
from benchmarks.trials import RECIPE, rate, steps, test, train, validation_loss
from sceneleapultra.datasets import GraspStore, StoreWriter
from sceneleapultra.evaluation.stored import split_records
from sceneleapultra.hands import load_hand

PRETRAINING = (
    "experimental=pretrain_encoder",
    "logger=csv",
    "scheduler.warmup_steps=50",
    "data.loading.workers=0",
)


def part_of(store: Path, path: Path, share: float) -> Path:
    """Copy a store with a share of its training scenes, drawn at random, and everything else of it."""
    if path.is_file():
        return path
    hand = load_hand("leap_right")
    source = GraspStore(str(store), hand)
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = source.attributes
    writer = StoreWriter(
        path,
        hand=hand,
        protocol=str(facts["protocol"]),
        protocol_hash=str(facts["protocol_hash"]),
        generator={"part of": source.content_hash, "share of training scenes": share},
        seed=int(facts["seed"]),
    )
    for split in ("train", "val", "test", "test_family"):
        records = list(split_records(source, split))
        count = round(share * len(records)) if split == "train" else len(records)
        for i in sorted(np.random.default_rng(0).permutation(len(records))[:count]):
            writer.write(records[i])
    return writer.finish()


def main() -> None:
    """Measure, print, and write where asked to."""
    parser = command_line(__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.25, help="of the training scenes that have labels")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--items", type=int, default=32)
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    few = part_of(arguments.store, arguments.runs / "few.h5", arguments.share)
    pretrained = arguments.runs / "encoder"
    spent = train(
        pretrained,
        [*PRETRAINING, *steps(arguments.steps), f"data.store={arguments.store}"],
    )
    common = [*RECIPE, f"data.store={few}"]
    fresh = train(arguments.runs / "fresh", [*common, *steps(arguments.steps)])
    longer = round(arguments.steps * (1 + spent["cpu_s"] / fresh["cpu_s"]))
    weights = f"encoder_weights={pretrained / 'checkpoints' / 'last.ckpt'}"
    models = {
        "fresh": ("starts fresh", steps(arguments.steps)),
        "longer": (f"starts fresh, {longer} steps", steps(longer)),
        "pretrained": ("starts from the pretrained encoder", [*steps(arguments.steps), weights]),
    }
    rows = []
    for name, (label, overrides) in models.items():
        run_dir = arguments.runs / name
        cost = train(run_dir, [*common, *overrides])
        labeled = test(
            run_dir, run_dir / "test", [f"max_items={arguments.items}", f"store={arguments.store}"]
        )
        rows.append({"model": label, "val_loss": round(validation_loss(run_dir), 4), **cost, **labeled})
    document = {
        "what": f"{arguments.steps} steps on {100 * arguments.share:g} % of the training scenes",
        "pretraining": spent | {"val_loss": round(validation_loss(pretrained), 4)},
        "models": rows,
    }
    write(document, arguments.output, seed=0)
    header = ["model", "validation loss", "success, % [95 %]", "penetration, mm", "training, processor s"]
    lines = [
        [r["model"], f"{r['val_loss']:.3f}", rate(r), f"{r['penetration_mm']:.2f}", f"{r['cpu_s']:.0f}"]
        for r in rows
    ]
    print(table(header, lines))


if __name__ == "__main__":
    main()
