"""A grasp that is known to lift: a hand at a cylinder that stands on the table, and what may stand beside it."""

import numpy as np
import trimesh

from sceneleapultra.utils.records import Grasps, ObjectRecord, Scene

FIRM_QPOS = np.array([0.67, 0, 0.55, 0.35, 0.77, 0, 0.36, 0.96, 0.75, 0, 0.38, 0.95, 1.27, 0.04, 0.49, 0.57])
FLEXION = np.array([1, 0, 1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 0, 0, 1, 1])
# The hand's base: at the side of the cylinder, palm along x, 2.5 cm above its middle.
BASE = np.array([-0.07, 0.0055, 0.055, 0.5, -0.5, -0.5, 0.5])


def cylinder() -> ObjectRecord:
    """A cylinder of radius 3 cm, 12 cm high."""
    return _record("cylinder-000000", "cylinder", trimesh.creation.cylinder(0.03, 0.12, sections=24))


def box(name: str, size: tuple[float, float, float]) -> ObjectRecord:
    """A box with these sides."""
    return _record(name, "box", trimesh.creation.box(size))


def standing(*neighbors: tuple[ObjectRecord, tuple[float, float]]) -> Scene:
    """The cylinder at the origin, upright on the table, and neighbors at (x, y)."""
    objects = ((cylinder(), (0.0, 0.0)), *neighbors)
    T = np.tile(np.eye(4), (len(objects), 1, 1))
    for i, (record, place) in enumerate(objects):
        T[i, :3, 3] = (*place, -record.vertices[:, 2].min())
    return Scene(tuple(record for record, _ in objects), T, table=True)


def firm(
    by: tuple[float, float, float] = (0, 0, 0), approach: tuple[float, float, float] | None = None
) -> Grasps:
    """The grasp that lifts the cylinder, moved."""
    pose = np.concatenate([BASE[:3] + by, FIRM_QPOS, BASE[3:]])
    chosen = None if approach is None else np.array([approach])
    return Grasps(pose[None], (FIRM_QPOS - 0.2 * FLEXION)[None], (FIRM_QPOS + 0.3 * FLEXION)[None], chosen)


def _record(name: str, family: str, mesh: trimesh.Trimesh) -> ObjectRecord:
    vertices = np.asarray(mesh.vertices)
    return ObjectRecord(name, family, vertices, np.asarray(mesh.faces), (vertices,), 0.1)
