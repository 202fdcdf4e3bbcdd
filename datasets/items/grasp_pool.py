"""The grasps of an object as one table, and the rows of it that an item takes."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int, UInt8

from sceneleapultra.datasets.items.grasp_sampling import GraspChoice
from sceneleapultra.utils.parts import Part
from sceneleapultra.utils.records import LabeledGrasps

NUM_VERDICTS = 3  # columns of robustness, stable and collision_free
_QUATERNION_TOLERANCE = 1e-3


@dataclass(frozen=True)
class GraspPool:
    """The grasps of an object that items take from, world frame; row 0 always exists, to fill up behind the mask.

    Columns of ``table``: hand_pose, pregrasp_qpos, squeeze_qpos, robustness, stable, collision_free.
    """

    table: Float[np.ndarray, "g c"]
    good: Int[np.ndarray, "s"]  # rows worth learning, in the order in which a partition takes them
    bad: Int[np.ndarray, "f"]  # the other rows
    held_part: UInt8[np.ndarray, "g"]  # see Part

    @property
    def num_joints(self) -> int:
        """Joints of the hand: the table has 3 + j + 4, j, j and 3 columns."""
        return (self.table.shape[1] - 7 - NUM_VERDICTS) // 3

    def held(self) -> list[Part]:
        """Return the named parts that some of the good grasps are on."""
        found = np.unique(self.held_part[self.good]).tolist()
        return [Part(number) for number in found if number != Part.UNNAMED]

    def on(self, part: Part) -> "GraspPool":
        """Return the pool with those of the good grasps that are on a part; the bad ones stay."""
        return replace(self, good=self.good[self.held_part[self.good] == part])

    @property
    def hand_pose(self) -> Float[np.ndarray, "g p"]:
        """Hand poses in the world."""
        return self.table[:, : self.num_joints + 7]

    @property
    def robustness(self) -> Float[np.ndarray, "g"]:
        """Robustness, NaN where not measured."""
        return self.table[:, -NUM_VERDICTS]


def build_pool(labeled: LabeledGrasps, choice: GraspChoice) -> GraspPool:
    """Return the grasps of an object, those worth learning apart from the others.

    Raises:
        ValueError: a grasp that is no number, or whose quaternion is no rotation.
    """
    g = labeled.grasps
    columns = [np.asarray(a, np.float32) for a in (g.hand_pose, g.pregrasp_qpos, g.squeeze_qpos)]
    # A pre-grasp or squeeze that nobody knows is NaN in all grasps of a store.
    unknown = [False, *(bool(np.isnan(column).all()) for column in columns[1:])]
    if not all(u or np.isfinite(column).all() for u, column in zip(unknown, columns, strict=True)):
        raise ValueError("Grasps hold values that are not finite numbers.")
    if (np.abs(np.linalg.norm(columns[0][:, -4:], axis=1) - 1.0) > _QUATERNION_TOLERANCE).any():
        raise ValueError("Grasps hold quaternions that are not of unit length.")
    verdicts = [
        np.asarray(a, np.float32) for a in (labeled.robustness, labeled.stable, labeled.collision_free)
    ]
    learned = labeled.worth_learning(choice.min_robustness, choice.min_clearance_m)
    table, held_part = np.concatenate([*columns, np.stack(verdicts, axis=1)], axis=1), labeled.held_part
    if len(table) == 0:  # an object without a tested grasp: the filling is the identity
        table = np.zeros((1, table.shape[1]), np.float32)
        table[0, columns[0].shape[1] - 4], table[0, -NUM_VERDICTS:] = 1.0, np.nan
        held_part = np.zeros(1, np.uint8)
    return GraspPool(table, np.flatnonzero(learned), np.flatnonzero(~learned), held_part)


@dataclass(frozen=True)
class ItemGrasps:
    """The grasps of an item, in the world frame: ``number`` places for successes, then those for failures."""

    table: Float[np.ndarray, "k c"]  # as in GraspPool
    num_good: int
    num_bad: int


def sample_grasps(
    pool: GraspPool, choice: GraspChoice, chunk: int | None, rng: np.random.Generator
) -> ItemGrasps:
    """Return the grasps of an item.

    Args:
        pool: of the object.
        choice: of grasps.
        chunk: which share of the successes, in the order of ``pool.good``; None draws them.
        rng: of the draws.
    """
    pose, quality, count = pool.hand_pose, pool.robustness, choice.number
    if chunk is None:
        good = pool.good[choice.draw(pose, quality, pool.good, count, rng)]
    else:
        good = pool.good[chunk * count : (chunk + 1) * count]
    bad = pool.bad[choice.draw(pose, quality, pool.bad, choice.failures, rng)]
    row = np.zeros(count + choice.failures, dtype=np.int64)
    row[: len(good)] = good
    row[count : count + len(bad)] = bad
    return ItemGrasps(pool.table[row], len(good), len(bad))
