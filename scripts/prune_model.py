"""Prune a trained model: a checkpoint of a smaller one, from which training goes on.

python scripts/prune_model.py leap_table data/own.h5 runs/pruned.ckpt --mlp-ratio 0.5 --dim-time 16
"""

import sceneleapultra.utils.core.environment  # noqa: F401

from pathlib import Path

from sceneleapultra.utils.core import cli
from sceneleapultra.utils.core.console import say

_SAMPLES = 16  # of each item


def prune(
    checkpoint: str,
    store: Path,
    output: Path,
    *,
    mlp_ratio: float = 1.0,
    dim_time: int = 16,
    items: int = 64,
    seed: int = 0,
    plugins: list[str] | None = None,
) -> None:
    """Remove the hidden units of a model's decoder that change least of what it samples.

    Args:
        checkpoint: a file, or the name of a shipped model
        store: scenes, with or without grasps, on whose training items the model samples to say which units matter
        output: checkpoint to write
        mlp_ratio: hidden units of each feed-forward layer that are kept, over the decoder's width
        dim_time: numbers of the embedding of time that are kept
        items: training items that are sampled on
        seed: of their choice and of the noise
        plugins: packages outside the project that the model is built from

    Raises:
        FileNotFoundError: no such checkpoint, or no such store.
        FileExistsError: something is at the output.
        ValueError: a model that cannot be pruned so.
    """
    if output.exists():
        raise FileExistsError(f"{output} is there already. Name another file, or remove it.")

    from sceneleapultra.datasets import GraspStore
    from sceneleapultra.evaluation.methods.model import ModelMethod
    from sceneleapultra.evaluation.stored import chosen_items
    from sceneleapultra.hands import Hand
    from sceneleapultra.models import load_grasp_model, pruning
    from sceneleapultra.models.checkpoints.load import read_checkpoint

    model = load_grasp_model(checkpoint, plugins=plugins or [])
    scenes = GraspStore(store, Hand(model.hand.description))
    chosen = chosen_items(
        scenes, "train", max_items=items, per_object=1, min_points=model.min_points, seed=seed
    )
    method = ModelMethod(model=model, sampling={}, seed=seed)
    made = pruning.prune(
        model.generator,
        lambda: method.sample_items(chosen, _SAMPLES),
        mlp_ratio=mlp_ratio,
        dim_time=dim_time,
    )
    pruning.write_pruned(output, read_checkpoint(checkpoint), made.generator)
    before, after = (sum(p.numel() for p in g.parameters()) for g in (model.generator, made.generator))
    for layer, error in made.error.items():
        say(f"{layer:32} output changed by {100 * error:.1f} %")
    say(f"parameters  {before:,} -> {after:,} ({100 * (after / before - 1):.1f} %)")
    say(f"checkpoint  {output}, from which training goes on with init_from")


def main() -> None:
    """Prune what the command line names."""
    cli.run(prune, __doc__)


if __name__ == "__main__":
    main()
