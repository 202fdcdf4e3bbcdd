"""Drawings of a simulated world as it stands: every solid of a MuJoCo model where its state has it."""

from dataclasses import replace

import mujoco
import numpy as np
import trimesh
from jaxtyping import Float

from sceneleapultra.reporting.drawing import NEIGHBOR, OBJECT, REST, ColoredMesh, Drawing, Replay, Rgb

_HAND: Rgb = (0.42, 0.45, 0.50)
_ARM: Rgb = (0.88, 0.89, 0.91)
_CENTER, _WIDTH_M, _AZIMUTH_DEG = (-0.28, 0.0, 0.36), 1.25, -62.0


def draw_world(model: mujoco.MjModel, data: mujoco.MjData, caption: str, detail: str = "") -> Drawing:
    """Draw a world of one arm, its hand, the target and its neighbors, on its table."""
    meshes = []
    for body, mesh in body_meshes(model).items():
        R, t = data.xmat[body].reshape(3, 3), data.xpos[body]
        meshes.append(replace(mesh, vertices=mesh.vertices @ R.T + t))
    return Drawing(
        meshes=tuple(meshes),
        clouds=(),
        caption=caption,
        detail=detail,
        table=True,
        azimuth_deg=_AZIMUTH_DEG,
        center=_CENTER,
        width_m=_WIDTH_M,
    )


def draw_replay(
    model: mujoco.MjModel,
    poses: Float[np.ndarray, "t bodies 7"],
    origin: Float[np.ndarray, "3"],
    seconds: float,
) -> Replay:
    """Return what moves in a world, seen from ``origin``; ``poses`` are those of all bodies of the model."""
    meshes = body_meshes(model)
    moved = poses[:, list(meshes)].copy()
    moved[..., :3] -= origin
    return Replay(tuple(meshes.values()), moved, seconds)


def body_meshes(model: mujoco.MjModel) -> dict[int, ColoredMesh]:
    """Return the solids of each body of a world that has some, as one mesh in the frame of the body."""
    solids: dict[int, list[trimesh.Trimesh]] = {}
    for geom in range(model.ngeom):
        if (solid := _solid(model, geom)) is not None:
            R = np.empty(9)
            mujoco.mju_quat2Mat(R, model.geom_quat[geom])
            placed = np.asarray(solid.vertices) @ R.reshape(3, 3).T + model.geom_pos[geom]
            solids.setdefault(int(model.geom_bodyid[geom]), []).append(trimesh.Trimesh(placed, solid.faces))
    meshes = {}
    for body, several in solids.items():
        joined = trimesh.util.concatenate(several)
        assert isinstance(joined, trimesh.Trimesh)
        rgb, role = _color_of(model.body(body).name)
        meshes[body] = ColoredMesh(np.asarray(joined.vertices), np.asarray(joined.faces), rgb, role)
    return meshes


def _color_of(body: str) -> tuple[Rgb, str]:
    if body.startswith("hand/"):
        return _HAND, "hand"
    if body.startswith("arm/"):
        return _ARM, "arm"
    if body == "object":
        return OBJECT, "object"
    return (NEIGHBOR, "neighbor") if body.startswith("object") else (REST, "other")


def _solid(model: mujoco.MjModel, geom: int) -> trimesh.Trimesh | None:
    """Return a geom's surface in its own frame; None for a plane."""
    size, kind = model.geom_size[geom], model.geom_type[geom]
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        return trimesh.creation.box(2 * size)
    if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        return trimesh.creation.icosphere(subdivisions=2, radius=size[0])
    if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        return trimesh.creation.capsule(height=2 * size[1], radius=size[0], count=[12, 12])
    if kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        return trimesh.creation.cylinder(radius=size[0], height=2 * size[1], sections=24)
    if kind == mujoco.mjtGeom.mjGEOM_MESH:
        mesh = model.geom_dataid[geom]
        first, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
        return trimesh.convex.convex_hull(model.mesh_vert[first : first + count])
    return None
