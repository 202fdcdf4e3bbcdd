"""How the judge reads a store: items of a split, whole scene records, and whether store and model belong together."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sceneleapultra.datasets import GraspStore
from sceneleapultra.datasets.store.store import StoreItem
from sceneleapultra.evaluation.items import Item, choose
from sceneleapultra.models import GraspModel
from sceneleapultra.utils.geometry.frames import MODES
from sceneleapultra.utils.parts import Part
from sceneleapultra.utils.records import SceneRecord


def chosen_items(
    store: GraspStore,
    split: str,
    *,
    max_items: int,
    per_object: int,
    min_points: int,
    seed: int,
    by_part: bool = False,
) -> list[Item]:
    """Choose items of a split and read them; see :func:`~sceneleapultra.evaluation.items.choose`.

    Args:
        store: where they are.
        split: which objects.
        max_items: how many.
        per_object: of one object at most.
        min_points: visible points of the target from which an item is a fair question.
        seed: of the choice, and of the part that each item names.
        by_part: only items of which a part can be named.

    Raises:
        ValueError: no such split, or nothing in it.
    """
    found = store.items(split, min_points=min_points, require_success=False)
    if not found:
        raise ValueError(
            f"{store.path} has no item in split {split} (targets with at least {min_points} visible points). "
            f"Generate more scenes, or pass splits=[...] without {split}."
        )
    if by_part and not (found := [item for item in found if store.held_parts(item.scene, item.target)]):
        raise ValueError(
            f"prompt=part and prompt=not_part name a part that successful grasps are on; {store.path} knows of none in "
            f"split {split}. Make a store of families with parts: python scripts/generate_dataset.py "
            "'objects.families=[bottle,cup,bowl,mug,hammer,dumbbell]'"
        )
    labels = []
    for item in found:
        row = int(store.scene_objects(item.scene)[item.target])
        labels.append((store.object_families[row], store.object_names[row]))
    picked = choose(labels, max_items=max_items, per_object=per_object, seed=seed)
    return [
        Item(
            index=found[i].index,
            split=split,
            scene=store.scene(found[i].scene),
            target=found[i].target,
            view=store.view(found[i].view),
            attempts=store.labeled(found[i].scene, found[i].target).grasps,
            part=_draw_part(store, found[i], seed),
        )
        for i in picked
    ]


def _draw_part(store: GraspStore, item: StoreItem, seed: int) -> Part | None:
    """Draw one of the named parts that successful grasps are on; None where they are on none."""
    held = store.held_parts(item.scene, item.target)
    return held[int(np.random.default_rng([seed, item.index]).integers(len(held)))] if held else None


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
