"""What the grasps of each object are worth: success, coverage, repetitions, collisions, joints beyond their limits.

Collisions are read from the verdicts where they were measured, and found with the hand's geometry on a sample of the
grasps where a data set only claims that they hold.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from sceneleapultra.hands import GraspPose, Hand
from sceneleapultra.utils.records import LabeledGrasps, ObjectRecord, SceneRecord

LIMIT_TOLERANCE_RAD = 1e-3
_CLEARANCE_M = -1e-3  # a hand deeper than this in table or neighbor collides
_PENETRATION_M = 0.005  # and deeper than this in its own object
_SAMPLED = 8  # grasps of an object in a scene that are checked by geometry
_POINTS = 256  # of each object's surface
_DIRECTIONS = 32  # of approach, evenly spread over the sphere
_SAME = (1e-3, 1e-2, 1e-2)  # m, rad, rad: two grasps nearer than this in all three are one


@dataclass
class ObjectCount:
    """One object over all scenes it lies in."""

    name: str
    family: str
    splits: set[str] = field(default_factory=set)
    shape: str = ""  # digest of its surface
    scenes: int = 0
    grasps: int = 0
    successes: int = 0
    repeated: int = 0  # grasps that are another one of the same object and scene again
    beyond: int = 0  # grasps with a joint beyond its limit
    checked: int = 0  # successes that were looked at for collisions
    colliding: int = 0  # of those
    directions: set[int] = field(
        default_factory=set
    )  # from which a success approaches, in the object's frame

    @property
    def coverage(self) -> float:
        """Share of the directions of approach from which a grasp succeeds."""
        return len(self.directions) / _DIRECTIONS


def count_objects(counts: dict[str, ObjectCount], record: SceneRecord, hand: Hand) -> None:
    """Add a scene to the counts of its objects."""
    scene = record.scene
    for i, (entry, labeled) in enumerate(zip(scene.objects, record.labeled, strict=False)):
        count = counts.setdefault(entry.name, ObjectCount(entry.name, entry.family, shape=_digest(entry)))
        count.splits.add(record.split)
        count.scenes += 1
        count.grasps += len(labeled.grasps)
        count.successes += int(labeled.success.sum())
        count.repeated += len(labeled.grasps) - len(distinct(labeled.grasps.hand_pose))
        count.beyond += int(_beyond(labeled, hand).sum())
        count.directions |= set(_approach(labeled, scene.T_world_object[i]).tolist())
        collides = _collides(labeled, record, hand)
        count.checked += len(collides)
        count.colliding += int(collides.sum())


def shared_shapes(counts: Sequence[ObjectCount]) -> Iterator[tuple[list[str], bool]]:
    """Yield names of objects with one and the same surface, and whether they are in different splits."""
    by_shape: dict[str, list[ObjectCount]] = {}
    for count in counts:
        by_shape.setdefault(count.shape, []).append(count)
    for same in by_shape.values():
        if len(same) > 1:
            yield sorted(c.name for c in same), len(set().union(*(c.splits for c in same))) > 1


def distinct(hand_pose: Float[np.ndarray, "g p"]) -> Int[np.ndarray, "d"]:
    """Return the rows of grasps that are not an earlier one again."""
    kept: list[int] = []
    for row in range(len(hand_pose)):
        others = hand_pose[kept]
        near = np.linalg.norm(others[:, :3] - hand_pose[row, :3], axis=1) < _SAME[0]
        if near.any():
            cosine = np.abs(others[:, -4:] @ hand_pose[row, -4:]).clip(0.0, 1.0)
            near &= 2.0 * np.arccos(cosine) < _SAME[1]
            near &= np.abs(others[:, 3:-4] - hand_pose[row, 3:-4]).max(1, initial=0.0) < _SAME[2]
        if not near.any():
            kept.append(row)
    return np.array(kept, dtype=np.int64)


def _digest(entry: ObjectRecord) -> str:
    surface = (np.round(entry.vertices, 5).astype(np.float32), np.asarray(entry.faces, np.int32))
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in surface)).hexdigest()


def _beyond(labeled: LabeledGrasps, hand: Hand) -> Bool[np.ndarray, "g"]:
    low, high = hand.joint_limits.double().numpy().T
    qpos = labeled.grasps.hand_pose[:, 3:-4]
    return (np.maximum(low - qpos, qpos - high) > LIMIT_TOLERANCE_RAD).any(1)


def _approach(labeled: LabeledGrasps, T_world_object: Float[np.ndarray, "4 4"]) -> Int[np.ndarray, "s"]:
    """Return which of the directions, a Fibonacci lattice, each successful hand stands in, seen from the object."""
    offset = labeled.grasps.hand_pose[labeled.success, :3] - T_world_object[:3, 3]
    k = np.arange(_DIRECTIONS)
    z, turn = 1.0 - (2.0 * k + 1.0) / _DIRECTIONS, np.pi * (1.0 + 5.0**0.5) * k
    radius = np.sqrt(1.0 - z**2)
    lattice = np.stack([radius * np.cos(turn), radius * np.sin(turn), z], axis=1)
    return (offset @ T_world_object[:3, :3] @ lattice.T).argmax(1)


def _collides(labeled: LabeledGrasps, record: SceneRecord, hand: Hand) -> Bool[np.ndarray, "c"]:
    """Tell of the successes, or of a sample where nothing was measured, which have the hand in something."""
    rows = np.flatnonzero(labeled.success)
    measured = np.isfinite(labeled.penetration_m[rows])
    deep = (labeled.penetration_m > _PENETRATION_M) | (labeled.clearance_m < _CLEARANCE_M)
    if len(rows) == 0 or measured.all():
        return deep[rows]
    rows = rows[np.linspace(0, len(rows) - 1, min(_SAMPLED, len(rows))).astype(int)]
    pose = GraspPose.from_hand_pose(torch.from_numpy(labeled.grasps.hand_pose[rows].astype(np.float32)))
    points = []
    for entry, T in zip(record.scene.objects, record.scene.T_world_object, strict=True):
        vertices = entry.vertices[np.linspace(0, len(entry.vertices) - 1, _POINTS).astype(int)]
        points.append(vertices @ T[:3, :3].T + T[:3, 3])
    cloud = torch.from_numpy(np.concatenate(points).astype(np.float32))
    collides = hand.signed_distance(cloud, pose).amin(-1) < -_PENETRATION_M
    if record.scene.table:
        collides |= hand.surface_points(pose)[0][..., 2].amin(-1) < -_PENETRATION_M
    return collides.numpy()
