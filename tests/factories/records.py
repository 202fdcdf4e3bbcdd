"""Small scene records made with numpy alone: boxes on a table, clouds in blocks, grasps about them; and their store."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from sceneleapultra.datasets import StoreWriter
from sceneleapultra.datasets.items.grasp_sampling import GraspChoice, GraspDistance
from sceneleapultra.datasets.items.items import ItemSettings
from sceneleapultra.datasets.store.schema import Origin
from sceneleapultra.hands import Hand, load_hand
from sceneleapultra.utils.geometry.cloud import CloudProcessor
from sceneleapultra.utils.geometry.point_choice import PointChoice
from sceneleapultra.utils.geometry.points import farthest_point_order_numpy
from sceneleapultra.utils.parts import Part
from sceneleapultra.utils.records import (
    Grasps,
    LabeledGrasps,
    ObjectRecord,
    Outcome,
    Scene,
    SceneRecord,
    View,
)

SPLITS = ["train"] * 6 + ["val"] * 2 + ["test"] * 2 + ["test_family"] * 2
CHOICE = GraspChoice(
    number=4,
    failures=2,
    strategy="random",
    partition=None,
    shares=(0.4, 0.3, 0.3),
    distance=GraspDistance(translation_m=0.05, rotation_rad=1.0, joints_rad=1.0),
    min_robustness=0.0,
    min_clearance_m=0.0,
)
PROCESSOR = CloudProcessor(
    num_points=100,
    target_share=0.6,
    crop_radius=0.2,
    points=PointChoice(sampler="farthest", cell_m=0.005, shares=(0.5, 0.25, 0.25), falloff_m=0.05),
    frame="tabletop",
)
SETTINGS = ItemSettings(cloud=PROCESSOR, colors=False, grasps=CHOICE)
CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)
FACES = np.array(
    [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4],
     [1, 5, 7], [1, 7, 3]]
)  # fmt: skip


def item_settings(**changes: Any) -> ItemSettings:
    """The settings with changes of the cloud's, the grasps' or their own keys."""
    parts = {}
    for name, part in {"cloud": PROCESSOR, "grasps": CHOICE}.items():
        own = {key: changes.pop(key) for key in list(changes) if key in part.__dataclass_fields__}
        parts[name] = replace(part, **own)
    return replace(SETTINGS, **parts, **changes)


@cache
def leap() -> Hand:
    return load_hand("leap_right")


def writer(path: Path, **changes: Any) -> StoreWriter:
    settings = {"protocol": "dgb-fc-quick", "protocol_hash": "p", "generator": {"scenes": 12}, "seed": 0}
    return StoreWriter(path, hand=leap(), **{**settings, **changes})


def box(name: str, family: str, half: np.ndarray) -> ObjectRecord:
    vertices = CORNERS * half
    return ObjectRecord(name, family, vertices, FACES, (vertices,), 0.1)


def scene_record(index: int, split: str = "train", num_objects: int = 2, num_grasps: int = 9) -> SceneRecord:
    rng = np.random.default_rng([7, index])
    halves = rng.uniform(0.02, 0.04, size=(num_objects, 3))
    held_out = "unseen-" if split == "test_family" else ""
    objects = tuple(
        box(f"{split}-{index}-{i}", f"{held_out}family{i}", half) for i, half in enumerate(halves)
    )
    T = np.tile(np.eye(4), (num_objects, 1, 1))
    T[:, 0, 3], T[:, 2, 3] = 0.12 * np.arange(num_objects), halves[:, 2]
    views = tuple(_view(T, halves, rng) for _ in range(2))
    labeled = tuple(_judged(T[i], num_grasps, rng) for i in range(num_objects))
    return SceneRecord(index, split, 100 + index, Scene(objects, T, True), views, labeled)


def _view(T: np.ndarray, halves: np.ndarray, rng: np.random.Generator) -> View:
    blocks = [np.c_[rng.uniform(-0.3, 0.3, size=(150, 2)), np.zeros(150)]]
    for T_i, half in zip(T, halves, strict=True):
        blocks.append(rng.uniform(-1, 1, size=(200, 3)) * half + T_i[:3, 3])
    # As a store keeps them.
    blocks = [block[farthest_point_order_numpy(block, len(block))] for block in blocks]
    points = np.concatenate(blocks).astype(np.float32)
    instance = np.repeat(np.arange(len(blocks)), [len(b) for b in blocks]).astype(np.uint8)
    T_world_cam = np.eye(4)
    T_world_cam[:3, 3] = [0.5, 0.1, 0.4]
    rgb = rng.integers(0, 255, size=points.shape).astype(np.uint8)
    return View(T_world_cam, np.eye(3), points, rgb, instance)


def _judged(T: np.ndarray, count: int, rng: np.random.Generator) -> LabeledGrasps:
    quat = rng.normal(size=(count, 4))
    quat /= np.linalg.norm(quat, axis=1, keepdims=True)
    qpos = rng.uniform(0.0, 1.0, size=(count, 16))
    pose = np.concatenate(
        [T[:3, 3] + 0.1 * rng.normal(size=(count, 3)).clip(-1.5, 1.5), qpos, quat], axis=1
    ).astype(np.float32)
    success = np.arange(count) % 3 != 0
    return LabeledGrasps(
        Grasps(pose, (qpos - 0.1).astype(np.float32), (qpos + 0.1).astype(np.float32)),
        success=success,
        direction_success=np.tile(success[:, None], (1, 6)),
        outcome=np.where(success, 0, 4).astype(np.uint8),
        penetration_m=rng.uniform(0, 1e-3, count).astype(np.float32),
        self_penetration_m=np.zeros(count, np.float32),
        clearance_m=np.full(count, 0.01, np.float32),
        robustness=np.where(success, rng.uniform(0, 1, count), np.nan).astype(np.float32),
        grasp_type=(np.arange(count) % 4).astype(np.uint8),
        held_part=np.zeros(count, np.uint8),
        touched_parts=np.zeros(count, np.uint16),
        disturbance=np.full(count, np.nan),
    )


def claimed(record, **changes):
    """The record as a foreign set would hold it: no verdicts measured, no squeeze."""

    def labeled(old):
        nan, outcome = (
            np.full(len(old.grasps), np.nan, np.float32),
            np.where(old.success, Outcome.CLAIMED, Outcome.SCENE_COLLISION),
        )
        return replace(
            old,
            grasps=replace(old.grasps, squeeze_qpos=np.full_like(old.grasps.squeeze_qpos, np.nan)),
            direction_success=np.zeros_like(old.direction_success),
            outcome=outcome.astype(np.uint8),
            penetration_m=nan,
            self_penetration_m=nan,
            clearance_m=nan,
            robustness=nan,
        )

    return replace(record, labeled=tuple(labeled(old) for old in record.labeled), **changes)


CLAIMED = Origin(pregrasp_qpos="source", squeeze_qpos="absent", verdicts="claimed", split_by="object")


HELD = (Part.HANDLE, Part.RIM, Part.RIM, Part.UNNAMED)  # of an object's grasps, in turn


def with_parts(record: SceneRecord) -> SceneRecord:
    """The record with a name for each object's piece; the second object's grasps are on none."""

    def named(entry: ObjectRecord) -> ObjectRecord:
        return replace(entry, piece_part=np.full(len(entry.pieces), Part.WALL, np.uint8))

    def held(labeled: LabeledGrasps, parts: tuple[Part, ...]) -> LabeledGrasps:
        part = np.resize(np.array(parts, np.uint8), len(labeled))
        bits = np.where(part > 0, 1 << part.astype(int), 0) | Part.WALL.bit
        return replace(labeled, held_part=part, touched_parts=bits.astype(np.uint16))

    first, second = record.labeled
    objects = tuple(named(entry) for entry in record.scene.objects)
    labeled = (held(first, HELD), held(second, (Part.UNNAMED,)))
    return replace(record, scene=replace(record.scene, objects=objects), labeled=labeled)
