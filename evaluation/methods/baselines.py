"""What a number has to be compared with: methods without learning, each told plainly what it is given."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from sceneleapultra.evaluation.items import Item
from sceneleapultra.evaluation.methods.base import Proposal, unscored
from sceneleapultra.evaluation.methods.training_index import (
    TrainingIndex,
    TrainingObject,
    transform_grasps,
    turn_about_z,
)
from sceneleapultra.reporting.results import Role
from sceneleapultra.utils.records import Grasps, ObjectRecord


class RandomTrainingGrasp:
    """A successful training grasp, drawn blindly, at the true center of the test object.

    Its place relative to its own object's center is kept upright and turned about the vertical at random.
    """

    name = "random training grasp"
    privileged_inputs = "the true center of the object"
    role = Role.BASELINE

    def __init__(self, *, pool: TrainingIndex, seed: int) -> None:
        self.pool, self.seed = pool, seed
        counts = [len(entry.grasps) for entry in pool.objects]
        self._owner = np.repeat(np.arange(len(counts)), counts)
        self._grasps = Grasps.concatenate([entry.grasps for entry in pool.objects])

    def sample_items(self, items: Sequence[Item], k: int) -> list[Proposal]:
        """Draw ``k`` grasps for each item."""
        return [self._sample(item, k) for item in items]

    def _sample(self, item: Item, k: int) -> Proposal:
        rng = np.random.default_rng([self.seed, item.index])
        chosen = rng.integers(len(self._owner), size=k)
        motions = [
            turn_about_z(
                yaw, self.pool.objects[self._owner[i]].T_world_object[:3, 3], item.T_world_object[:3, 3]
            )
            for i, yaw in zip(chosen, rng.uniform(0.0, 2 * np.pi, size=k), strict=True)
        ]
        return unscored(transform_grasps(self._grasps[chosen], np.stack(motions)))


class NearestObject:
    """Transplants the grasps of the training object whose true extents are nearest, in the object's own frame."""

    name = "nearest training object"
    privileged_inputs = "the true extents, frame and pose of the object"
    role = Role.BASELINE

    def __init__(self, *, pool: TrainingIndex, seed: int) -> None:
        self.pool, self.seed = pool, seed
        self._by_name: dict[str, list[TrainingObject]] = {}
        for entry in pool.objects:
            self._by_name.setdefault(entry.record.name, []).append(entry)
        self._names = sorted(self._by_name)
        self._extents = np.stack([extents(self._by_name[name][0].record) for name in self._names])

    def sample_items(self, items: Sequence[Item], k: int) -> list[Proposal]:
        """Return ``k`` grasps of the nearest object, then of the next, for each item."""
        return [self._sample(item, k) for item in items]

    def _sample(self, item: Item, k: int) -> Proposal:
        rng = np.random.default_rng([self.seed, item.index])
        distance = np.linalg.norm(self._extents - extents(item.object), axis=-1)
        parts, missing = [], k
        for i in np.argsort(distance, kind="stable"):
            carried = Grasps.concatenate(
                [
                    transform_grasps(entry.grasps, item.T_world_object @ np.linalg.inv(entry.T_world_object))
                    for entry in self._by_name[self._names[i]]
                ]
            )
            chosen = rng.permutation(len(carried))[:missing]
            parts.append(carried[chosen])
            missing -= len(chosen)
            if missing == 0:
                break
        found = Grasps.concatenate(parts)
        return unscored(found[np.resize(np.arange(len(found)), k)])


def extents(record: ObjectRecord) -> Float[np.ndarray, "3"]:
    """Return the sides of the box around an object, along the axes of its own frame."""
    return np.ptp(record.vertices, axis=0)


class GeneratorAttempts:
    """What the data generator itself made for the very object, failures included: one closing of the fingers each.

    It is no bound of what a model can do, whose training grasps all held: a try is any closing. Attempts
    that the generator dropped untested, as unfit, are not among them.
    """

    name = "generator, its tries"
    privileged_inputs = "everything: the true shape, and a simulation to close the fingers in"
    role = Role.BASELINE

    def __init__(self, *, seed: int) -> None:
        self.seed = seed

    def sample_items(self, items: Sequence[Item], k: int) -> list[Proposal]:
        """Return up to ``k`` of the attempts stored for each item."""
        return [self._sample(item, k) for item in items]

    def _sample(self, item: Item, k: int) -> Proposal:
        attempts = item.attempts
        if attempts is None:
            raise ValueError(
                f"Nothing is known of a generator for {item.object.name}: it comes from no store."
            )
        chosen = np.random.default_rng([self.seed, item.index]).permutation(len(attempts))[:k]
        return unscored(attempts[chosen])
