"""How the judge reads a store: items of a split, whole scene records, and whether store and model belong together."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sceneleapultra.datasets import GraspStore
from sceneleapultra.evaluation.items import Item, choose
from sceneleapultra.evaluation.part_prompts import draw_part
from sceneleapultra.models import GraspModel
from sceneleapultra.utils.geometry.frames import MODES
from sceneleapultra.utils.records import SceneRecord


def chosen_items(
    store: GraspStore, split: str, *, max_items: int, per_object: int, min_points: int, seed: int
) -> list[Item]:
    """Choose items of a split and read them; see :func:`~sceneleapultra.evaluation.items.choose`.

    Args:
        store: where they are.
        split: which objects.
        max_items: how many.
        per_object: of one object at most.
        min_points: visible points of the target from which an item is a fair question.
        seed: of the choice.

    Raises:
        ValueError: no such split, or nothing in it.
    """
    found = store.items(split, min_points=min_points, require_success=False)
    if not found:
        raise ValueError(
            f"{store.path} has no item in split {split} (targets with at least {min_points} visible points). "
            f"Generate more scenes, or pass splits=[...] without {split}."
        )
    labels = []
    for item in found:
        row = int(store.scene_objects(item.scene)[item.target])
        labels.append((store.object_families[row], store.object_names[row]))
    picked = choose(labels, max_items=max_items, per_object=per_object, seed=seed)
    items = []
    for i in picked:
        labeled = store.labeled(found[i].scene, found[i].target)
        items.append(
            Item(
                index=found[i].index,
                split=split,
                scene=store.scene(found[i].scene),
                target=found[i].target,
                view=store.view(found[i].view),
                attempts=labeled.grasps,
                part=draw_part(labeled, np.random.default_rng([seed, found[i].index])),
            )
        )
    return items


def split_records(store: GraspStore, split: str) -> Iterator[SceneRecord]:
    """Read the scenes of a split, one after the other."""
    for scene in range(store.num_scenes):
        if store.split_of(scene) == split:
            yield store.record(scene)


def require_match(model: GraspModel, checkpoint: Path) -> None:
    """Make sure that a model's grasps mean something: it remembers the coordinate mode it learned them in.

    Raises:
        ValueError: no mode, or one this program does not know. Another hand is refused when the store is opened.
    """
    trained = model.frame
    if trained not in MODES:
        raise ValueError(
            f"{checkpoint} was trained on poses in frame '{trained}', this program knows {', '.join(MODES)}. "
            "Use a checkpoint of one of them, or train one with: python train_lightning.py"
        )
