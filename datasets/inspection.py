"""What is in a store, and what is wrong with it: content hash, leaks between splits, records, grasps of the hand."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from sceneleapultra.datasets.store.checks import record_problems
from sceneleapultra.datasets.store.object_counts import (
    LIMIT_TOLERANCE_RAD,
    ObjectCount,
    count_objects,
    shared_shapes,
)
from sceneleapultra.datasets.store.schema import SPLITS
from sceneleapultra.datasets.store.store import GraspStore
from sceneleapultra.hands import Hand
from sceneleapultra.utils.records import GraspType, LabeledGrasps, Outcome, SceneRecord

_CLEARANCE_TOLERANCE_M = 1e-3
_REACH_M = 0.3  # a hand base further than this from the surface of its object holds nothing
_TABLE_TOLERANCE_M = (
    0.005  # simulated depth is noisy: points may lie this far below the table, and more when few
)


@dataclass
class Count:
    """How much there is of a family in a split."""

    objects: set[str] = field(default_factory=set)
    placed: int = 0  # objects, counted in every scene they lie in
    solved: int = 0  # of those, with a successful grasp
    grasps: int = 0
    successes: int = 0


@dataclass
class Inspection:
    """What was found; a sound store has no problems."""

    problems: list[str]
    scenes: dict[str, int]
    views: dict[str, int]
    counts: dict[tuple[str, str], Count]  # by split and family
    outcomes: dict[str, int]
    grasp_types: dict[str, int]  # of the successes
    qpos: Float[np.ndarray, "g j"]  # joints of the successes
    visible: Float[np.ndarray, "v"]  # points of each object in each view
    penetration_mm: Float[np.ndarray, "g"]  # of the successes
    robustness: Float[np.ndarray, "r"]  # where measured
    objects: dict[str, ObjectCount]  # by name


def inspect(store: GraspStore, hand: Hand, progress: Callable[[int], None]) -> Inspection:
    """Read all of a store once; ``progress`` is told how many scenes are read."""
    found = Inspection(
        problems=_store_problems(store),
        scenes=dict.fromkeys(SPLITS, 0),
        views=dict.fromkeys(SPLITS, 0),
        counts={},
        outcomes={o.name.lower(): 0 for o in Outcome},
        grasp_types={t.name.lower(): 0 for t in GraspType},
        qpos=np.zeros((0, hand.num_joints)),
        visible=np.zeros(0),
        penetration_mm=np.zeros(0),
        robustness=np.zeros(0),
        objects={},
    )
    limits = hand.joint_limits.double().numpy()
    columns: dict[str, list[np.ndarray]] = {
        name: [getattr(found, name)] for name in ("qpos", "visible", "penetration_mm", "robustness")
    }
    for row in range(store.num_scenes):
        record = store.record(row)
        problems = [*record_problems(record, hand.num_joints), *_hand_problems(record, limits)]
        found.problems += [f"scene {record.index}: {problem}" for problem in problems]
        if record.split in SPLITS:
            _count(found, record)
            count_objects(found.objects, record, hand)
        for i, labeled in enumerate(record.labeled):
            ok = labeled.success
            columns["qpos"].append(labeled.grasps.hand_pose[ok, 3:-4])
            measured = ok & np.isfinite(labeled.penetration_m)
            columns["penetration_mm"].append(1e3 * labeled.penetration_m[measured])
            columns["robustness"].append(labeled.robustness[np.isfinite(labeled.robustness)])
            columns["visible"].append(np.array([(v.instance == i + 1).sum() for v in record.views], float))
        progress(row + 1)
    found.problems += [
        f"objects {', '.join(names)} have the same surface and are in different splits"
        for names, apart in shared_shapes(list(found.objects.values()))
        if apart and store.origin.split_by != "scene"
    ]
    for name, parts in columns.items():
        setattr(found, name, np.concatenate(parts))
    return found


def _store_problems(store: GraspStore) -> list[str]:
    problems = []
    try:
        store.verify()
    except ValueError as error:
        problems.append(str(error))
    problems += [f"object '{name}' is in more than one split" for name in store.leaks()]
    if store.origin.split_by != "category":
        return problems
    families: dict[str, set[str]] = {split: set() for split in SPLITS}
    for scene in range(store.num_scenes):
        rows = store.scene_objects(scene)
        families.setdefault(store.split_of(scene), set()).update(store.object_families[i] for i in rows)
    known = families["train"] | families["val"] | families["test"]
    problems += [
        f"family '{name}' is held out (test_family) and in another split"
        for name in sorted(families["test_family"] & known)
    ]
    return problems


def _hand_problems(record: SceneRecord, limits: Float[np.ndarray, "j 2"]) -> Iterator[str]:
    for i, (labeled, entry) in enumerate(zip(record.labeled, record.scene.objects, strict=False)):
        name = f"grasps of object {i} ({entry.name})"
        for what, qpos in (
            ("grasp", labeled.grasps.hand_pose[:, 3:-4]),
            ("pre-grasp", labeled.grasps.pregrasp_qpos),
        ):
            beyond = np.maximum(limits[:, 0] - qpos, qpos - limits[:, 1]).max(initial=0.0)
            if beyond > LIMIT_TOLERANCE_RAD:
                yield f"{name}: {what} {beyond:.3f} rad beyond a joint limit"
        if (labeled.success & (labeled.clearance_m < -_CLEARANCE_TOLERANCE_M)).any():
            depth = -1e3 * labeled.clearance_m[labeled.success].min()
            yield f"{name}: a success with the hand {depth:.1f} mm in table or neighbor"
        reach = np.linalg.norm(entry.vertices, axis=1).max(initial=0.0) + _REACH_M
        away = np.linalg.norm(labeled.grasps.hand_pose[:, :3] - record.scene.T_world_object[i, :3, 3], axis=1)
        if (away > reach).any():
            yield f"{name}: a hand {away.max():.2f} m from its object; are the poses in the world frame?"
    for i, view in enumerate(record.views):
        lowest = np.quantile(view.points[:, 2], 0.05) if len(view.points) else 0.0
        if record.scene.table and lowest < -_TABLE_TOLERANCE_M:
            yield f"view {i}: points {-1e3 * lowest:.0f} mm below the table; are they in the world frame?"
        for k, entry in enumerate(record.scene.objects):
            points = view.points[view.instance == k + 1]
            away = np.linalg.norm(points - record.scene.T_world_object[k, :3, 3], axis=1)
            size = np.linalg.norm(entry.vertices, axis=1).max(initial=0.0)
            if len(points) and np.median(away) > size + _TABLE_TOLERANCE_M:
                yield f"view {i}: points of object {k} are not where it lies"


def _count(found: Inspection, record: SceneRecord) -> None:
    found.scenes[record.split] += 1
    found.views[record.split] += len(record.views)
    for entry, labeled in zip(record.scene.objects, record.labeled, strict=False):
        count = found.counts.setdefault((record.split, entry.family), Count())
        count.objects.add(entry.name)
        count.placed += 1
        _add(count, labeled)
        for outcome, number in zip(*np.unique(labeled.outcome, return_counts=True), strict=True):
            found.outcomes[Outcome(int(outcome)).name.lower()] += int(number)
        for kind, number in zip(
            *np.unique(labeled.grasp_type[labeled.success], return_counts=True), strict=True
        ):
            found.grasp_types[GraspType(int(kind)).name.lower()] += int(number)


def _add(count: Count, labeled: LabeledGrasps) -> None:
    count.solved += bool(labeled.success.any())
    count.grasps += len(labeled.grasps)
    count.successes += int(labeled.success.sum())
