"""Put a model's own grasps, judged in physics, beside the grasps of a store: what a scorer and a next model learn from.

python scripts/self_train_data.py --checkpoint runs/x/checkpoints/last.ckpt --store data/scenes.h5 --output data/own.h5

Scenes without grasps (`python scripts/generate_dataset.py scenes=2000 grasps.max_attempts=0 path=data/scenes.h5`) cost
little; the model proposes for them. Only training and validation objects are asked for; a killed run continues.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sceneleapultra.utils.core.console import console, exit_on_user_error

ASKED = ("train", "val")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, required=True, help="the model that is asked")
    parser.add_argument(
        "--plugins", nargs="+", default=[], help="packages of your own that the model is built from"
    )
    parser.add_argument("--store", type=Path, required=True, help="scenes, with or without grasps")
    parser.add_argument("--output", type=Path, required=True, help="the store to write")
    parser.add_argument("--scenes", type=int, help="only the first so many scenes; by default all")
    parser.add_argument("--per-object", type=int, default=12, help="grasps of each object that are judged")
    parser.add_argument(
        "--candidates",
        type=int,
        help="grasps sampled of which the best are judged; by default as many as judged",
    )
    parser.add_argument(
        "--rank", default="none", help="by which they are best: stable, score; config/sampling/rank"
    )
    parser.add_argument(
        "--temperatures", type=float, nargs="+", default=(0.2, 0.4), help="one is drawn per object"
    )
    parser.add_argument("--squeeze-gains", type=float, nargs="+", default=(1.5, 2.5, 4.0), help="likewise")
    parser.add_argument("--sampler", default="ddim")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument(
        "--guidance", default="none", help="none, stable, score, ...: config/sampling/guidance"
    )
    parser.add_argument("--min-points", type=int, default=100, help="visible points an object must show")
    parser.add_argument("--protocol", default="dgb-fc-quick")
    parser.add_argument("--workers", type=int, default=2, help="processes of the simulation")
    parser.add_argument("--device", default="cpu", help="where the model samples")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    """Write one store."""
    options = arguments()
    with exit_on_user_error():
        judge_own(options)


def judge_own(o: argparse.Namespace) -> Path:
    """Sample, judge and write; return the path of the store."""
    from rich.progress import Progress

    from sceneleapultra.datasets import GraspStore, StoreWriter
    from sceneleapultra.evaluation.provenance import file_hash
    from sceneleapultra.evaluation.self_training import OwnGraspSettings, with_own_grasps
    from sceneleapultra.hands import Hand
    from sceneleapultra.models import load_grasp_model
    from sceneleapultra.simulation.protocols import get_protocol
    from sceneleapultra.utils.core.parallel import LocalExecutor

    model = load_grasp_model(o.checkpoint, device=o.device, plugins=o.plugins)
    hand, protocol = Hand(model.hand.description), get_protocol(o.protocol)
    store = GraspStore(o.store, hand)
    settings = OwnGraspSettings(
        per_object=o.per_object,
        candidates=o.per_object if o.candidates is None else o.candidates,
        temperatures=tuple(o.temperatures),
        squeeze_gains=tuple(o.squeeze_gains),
        sampling={"solver": o.sampler, "steps": o.steps, "guidance": o.guidance, "rank": o.rank},
        min_points=o.min_points,
        splits=ASKED,
        seed=o.seed,
    )
    # Unknown names are answered before the output is begun.
    model.generator.sampling.changed(**settings.sampling)
    asked = {**vars(settings), "checkpoint": file_hash(o.checkpoint), "store": store.content_hash}
    writer = StoreWriter(
        o.output,
        hand=hand,
        protocol=protocol.name,
        protocol_hash=protocol.hash,
        generator={**json.loads(store.attributes["generator"]), "own_grasps": asked},
        seed=int(store.attributes["seed"]),
    )
    rows = [row for row in range(store.num_scenes) if o.scenes is None or row < o.scenes]
    done = writer.done_indices()
    with Progress(console=console) as progress:
        bar = progress.add_task("scenes", total=len(rows), completed=len(done))
        records = (record for record in map(store.record, rows) if record.index not in done)
        for record in with_own_grasps(
            records, model, settings, hand=hand, protocol=protocol, executor=LocalExecutor(workers=o.workers)
        ):
            writer.write(record)
            progress.advance(bar)
    path = writer.finish()
    console.print(f"store: {path}")
    return path


if __name__ == "__main__":
    main()
