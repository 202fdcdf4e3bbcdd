"""What a method is asked: one object of one scene, as one camera saw it; and which of them are judged."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from sceneleapultra.utils.geometry.points import farthest_point_order_numpy
from sceneleapultra.utils.parts import Part
from sceneleapultra.utils.records import Grasps, ObjectRecord, Scene, View


@dataclass(frozen=True)
class Item:
    """A target object in a scene under one view.

    A method that sees only the cloud may read ``view``, ``target_mask`` and what follows from them; ``scene`` is the
    truth, for judging and for privileged baselines.
    """

    index: int  # of the item in its store
    split: str
    scene: Scene
    target: int
    view: View
    attempts: Grasps | None = (
        None  # what the generator tested on the object, failures included; None where it did not
    )
    part: Part | None = None  # that prompts may name; None where the store knows of no grasp on a named part

    @property
    def object(self) -> ObjectRecord:
        """The object to grasp."""
        return self.scene.objects[self.target]

    @property
    def T_world_object(self) -> Float[np.ndarray, "4 4"]:
        """Where the object lies."""
        return self.scene.T_world_object[self.target]

    @property
    def target_mask(self) -> Bool[np.ndarray, "n"]:
        """Which points of the view belong to the object."""
        return self.view.instance == self.target + 1

    @property
    def target_points(self) -> Float[np.ndarray, "m 3"]:
        """Visible points of the object, world frame, in farthest-point order."""
        return self.view.points[self.target_mask]


def subsample_points(item: Item, share: float, seed: int) -> Item:
    """Return the item with this share of the points of each block of its view, drawn at random and ordered anew.

    Raises:
        ValueError: not a share in (0, 1].
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(f"points_share: expected more than 0 and at most 1, got {share}.")
    view = item.view
    rng = np.random.default_rng([seed, item.index])
    chosen = []
    for instance in np.unique(view.instance):
        block = np.flatnonzero(view.instance == instance)
        left = rng.choice(block, size=math.ceil(share * len(block)), replace=False)
        chosen.append(left[farthest_point_order_numpy(view.points[left], len(left))])
    index = np.concatenate(chosen)
    return replace(
        item,
        view=replace(view, points=view.points[index], rgb=view.rgb[index], instance=view.instance[index]),
    )


def choose(labels: Sequence[tuple[str, str]], *, max_items: int, per_object: int, seed: int) -> list[int]:
    """Choose among items labeled (family, object): families in turn, their objects in turn, then second items.

    The choice depends on labels and seed alone, and a larger ``max_items`` extends a smaller one.

    Args:
        labels: family and object of each item.
        max_items: how many.
        per_object: of one object at most.
        seed: of the order.

    Raises:
        ValueError: fewer than one item is asked for.
    """
    if max_items < 1 or per_object < 1:
        raise ValueError(f"max_items and per_object must be at least 1, got {max_items} and {per_object}.")
    rng = np.random.default_rng([seed, 0])
    families: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for index, (family, name) in enumerate(labels):
        families[family][name].append(index)
    queues = []
    for family in sorted(families):
        objects = families[family]
        names = [sorted(objects)[i] for i in rng.permutation(len(objects))]
        shuffled = {name: [objects[name][i] for i in rng.permutation(len(objects[name]))] for name in names}
        queues.append(
            [shuffled[n][turn] for turn in range(per_object) for n in names if turn < len(shuffled[n])]
        )
    longest = max((len(queue) for queue in queues), default=0)
    return [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)][:max_items]
