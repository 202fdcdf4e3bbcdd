"""Small scenes with known grasps: boxes on a table, seen whole, each with grasps at known places."""

from collections.abc import Callable

import numpy as np
import pytest
import trimesh

from sceneleapultra.evaluation.results import GraspResults
from sceneleapultra.reporting.results import Role
from sceneleapultra.utils.records import (
    Grasps,
    LabeledGrasps,
    ObjectRecord,
    Outcome,
    Scene,
    SceneRecord,
    View,
)
from sceneleapultra.utils.verdicts import VerdictTable

JOINTS = 16


def box_record(name: str, sides: tuple[float, float, float], family: str = "box") -> ObjectRecord:
    mesh = trimesh.creation.box(sides)
    vertices = np.array(mesh.vertices)
    return ObjectRecord(name, family, vertices, np.array(mesh.faces), (vertices,), 0.1)


def make_record(
    index: int,
    split: str,
    sides: tuple[float, float, float],
    *,
    at: tuple[float, float],
    yaw: float,
    grasps: int = 4,
) -> SceneRecord:
    """One box on a table, with one view and ``grasps`` grasps of which all but the last succeed."""
    rng = np.random.default_rng([7, index])
    box = box_record(f"box-{index:06d}", sides)
    T = np.eye(4)
    c, s = np.cos(yaw), np.sin(yaw)
    T[:2, :2] = [[c, -s], [s, c]]
    T[:3, 3] = [*at, sides[2] / 2]
    surface = rng.uniform(-0.5, 0.5, size=(400, 3))
    face = rng.integers(3, size=400)
    surface[np.arange(400), face] = np.sign(surface[np.arange(400), face]) * 0.5
    surface = surface[(surface[:, 2] == 0.5) | (surface[:, 1] == -0.5) | (surface[:, 0] == 0.5)]
    seen = surface * sides @ T[:3, :3].T + T[:3, 3]
    table = np.concatenate([rng.uniform(-0.2, 0.2, size=(100, 2)) + at, np.zeros((100, 1))], axis=1)
    T_world_cam = np.eye(4)
    T_world_cam[:3, 3] = [at[0] + 0.4, at[1] - 0.4, 0.5]
    view = View(
        T_world_cam=T_world_cam,
        K=np.eye(3),
        points=np.concatenate([seen, table]).astype(np.float32),
        rgb=np.zeros((len(seen) + 100, 3), np.uint8),
        instance=np.repeat([1, 0], [len(seen), 100]).astype(np.uint8),
    )
    quaternion = rng.normal(size=(grasps, 4))
    quaternion /= np.linalg.norm(quaternion, axis=-1, keepdims=True)
    position = T[:3, 3] + rng.uniform(-0.1, 0.1, size=(grasps, 3))
    qpos = rng.uniform(0.1, 0.5, size=(grasps, JOINTS))
    success = np.arange(grasps) < grasps - 1
    labeled = LabeledGrasps(
        grasps=Grasps(np.concatenate([position, qpos, quaternion], axis=1), qpos - 0.1, qpos + 0.1),
        success=success,
        direction_success=np.repeat(success[:, None], 6, axis=1),
        outcome=np.where(success, Outcome.SUCCESS, Outcome.SLIPPED).astype(np.uint8),
        penetration_m=np.full(grasps, 0.001),
        self_penetration_m=np.zeros(grasps),
        clearance_m=np.full(grasps, 0.01),
        robustness=np.full(grasps, np.nan),
        grasp_type=np.zeros(grasps, np.uint8),
        held_part=np.zeros(grasps, np.uint8),
        touched_parts=np.zeros(grasps, np.uint16),
        disturbance=np.full(grasps, np.nan),
    )
    return SceneRecord(index, split, 0, Scene((box,), T[None], True), (view,), (labeled,))


@pytest.fixture(scope="session")
def training_records() -> list[SceneRecord]:
    """Boxes of clearly different sides, each turned and placed in its own way."""
    sides = [
        (0.04, 0.04, 0.15),
        (0.16, 0.05, 0.04),
        (0.08, 0.08, 0.08),
        (0.14, 0.10, 0.03),
        (0.05, 0.09, 0.12),
    ]
    places = [(0.0, 0.0), (0.1, -0.2), (-0.15, 0.1), (0.2, 0.2), (-0.1, -0.1)]
    return [
        make_record(i, "train", s, at=p, yaw=0.7 * i)
        for i, (s, p) in enumerate(zip(sides, places, strict=True))
    ]


@pytest.fixture
def stored_result(training_records: list[SceneRecord]) -> Callable[..., GraspResults]:
    """Return what a method would get that proposes the stored grasps: 5 objects, 3 of 4 grasps held."""

    def result(split: str, method: str = "model") -> GraspResults:
        labeled = [record.labeled[0] for record in training_records]
        n = [len(j.success) for j in labeled]
        names = [record.scene.objects[0].name for record in training_records]
        total = sum(n)
        values = {
            "object_name": np.repeat(names, n),
            "family": ["box"] * total,
            "item": np.repeat(np.arange(len(n)), n),
            "stable": np.concatenate([j.success for j in labeled]),
            "collision_free": np.ones(total, dtype=bool),
            "outcome": np.concatenate([j.outcome for j in labeled]),
            "direction_success": np.concatenate([j.direction_success for j in labeled]),
            "displacement_m": np.full(total, np.nan),
            "penetration_m": np.concatenate([j.penetration_m for j in labeled]),
            "self_penetration_m": np.zeros(total),
            "contact_distance_m": np.full(total, np.nan),
            "clearance_m": np.full(total, 0.01),
            "score": np.full(total, np.nan),
        }
        table = VerdictTable.of("dgb-fc", "0", values)
        role = Role.MODEL if method == "model" else Role.BASELINE
        grasps = Grasps.concatenate([j.grasps for j in labeled])
        return GraspResults(method, f"what {method} gets", role, split, table, grasps)

    return result
