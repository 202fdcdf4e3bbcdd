"""How objects come to lie on a table: dropped, settled in MuJoCo, removed by rule if they do not rest."""

from dataclasses import dataclass

import mujoco
import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.transform import Rotation

from sceneleapultra.utils.records import ObjectRecord, Scene

# Steps between two checks of whether everything rests.
_STEPS_PER_CHECK = 25


@dataclass(frozen=True, kw_only=True)
class SettlingSettings:
    """How long objects may move and when they rest; ``config/scene`` says what each number means."""

    time_s: float
    damping_time_s: float
    rest_speed_m_s: float
    rest_speed_rad_s: float
    stability_time_s: float
    max_drift_m: float
    patience: int


@dataclass(frozen=True, kw_only=True)
class SceneSettings:
    """How objects are dropped and when a scene is accepted; ``config/scene`` says what each number means."""

    spread_m: float
    upright_share: float
    drop_gap_m: float
    table_half_size_m: float
    friction: tuple[float, float, float]
    timestep_s: float
    settling: SettlingSettings
    max_penetration_m: float
    attempts: int


def drop_scene(objects: tuple[ObjectRecord, ...], rng: np.random.Generator, settings: SceneSettings) -> Scene:
    """Drop objects on the table and let them settle.

    Objects that leave the table, do not come to rest or interpenetrate are taken out and the rest settles
    again, so a scene may hold fewer objects than asked for, in the same order, but never none.

    Raises:
        ValueError: no objects were given, or none came to rest in any attempt.
    """
    if not objects:
        raise ValueError("Expected at least one object to drop, got none. Give the scene an object.")
    world = DropWorld(objects, settings)
    for _ in range(settings.attempts):
        world.place(_starting_poses(objects, rng, settings))
        resting = world.settle()
        if resting.any():
            kept = np.flatnonzero(resting)
            return Scene(tuple(objects[i] for i in kept), world.T_world_object()[kept], table=True)
    names = ", ".join(record.name for record in objects)
    raise ValueError(
        f"Expected an object to come to rest on the table, but {names} never did in {settings.attempts} "
        "attempts. Check that the meshes are in metres and smaller than the table, or raise scene.attempts."
    )


class DropWorld:
    """A table and free objects, compiled once; removed objects fall through everything."""

    def __init__(self, objects: tuple[ObjectRecord, ...], settings: SceneSettings) -> None:
        """Compile the world of these objects."""
        self.settings = settings
        self.count = len(objects)
        self.model = _compile(objects, settings)
        self.data = mujoco.MjData(self.model)
        self.active = np.ones(self.count, dtype=bool)
        self._collides = self.model.geom_contype.copy()
        # Body 0 is the world, body i + 1 is object i.
        self._object_of_geom = self.model.geom_bodyid - 1

    def place(self, T_world_object: Float[np.ndarray, "k 4 4"]) -> None:
        """Put every object back into the world, at rest in these poses."""
        mujoco.mj_resetData(self.model, self.data)
        self.active[:] = True
        self.model.geom_contype[:] = self.model.geom_conaffinity[:] = self._collides
        qpos = self._qpos()
        qpos[:, :3] = T_world_object[:, :3, 3]
        qpos[:, 3:] = Rotation.from_matrix(T_world_object[:, :3, :3]).as_quat(scalar_first=True)

    def settle(self) -> Bool[np.ndarray, "k"]:
        """Simulate until everything left in the world rests; return which objects those are."""
        patience = self.settings.settling.patience
        while self.active.any():
            self._run(self.settings.settling.time_s, damping=1.0)
            self._run(self.settings.settling.damping_time_s, damping=0.95)
            drifting = self._drifting()
            lost = self._off_table() if drifting.any() else self._off_table() | self._too_deep()
            patience -= 1
            if lost.any():
                self._remove(lost)
            elif not drifting.any():
                break
            elif patience <= 0:
                self._remove(drifting)
        return self.active.copy()

    def T_world_object(self) -> Float[np.ndarray, "k 4 4"]:
        """Return the present poses; those of removed objects mean nothing."""
        T = np.tile(np.eye(4), (self.count, 1, 1))
        T[:, :3, :3] = Rotation.from_quat(self._qpos()[:, 3:], scalar_first=True).as_matrix()
        T[:, :3, 3] = self._qpos()[:, :3]
        return T

    def simulate(self, seconds: float) -> None:
        """Let time pass."""
        mujoco.mj_step(self.model, self.data, round(seconds / self.settings.timestep_s))

    def _qpos(self) -> Float[np.ndarray, "k 7"]:
        return self.data.qpos.reshape(self.count, 7)

    def _resting(self) -> bool:
        speed = self.data.qvel.reshape(self.count, 6)[self.active]
        slow = np.abs(speed[:, :3]).max() < self.settings.settling.rest_speed_m_s
        return bool(slow and np.abs(speed[:, 3:]).max() < self.settings.settling.rest_speed_rad_s)

    def _run(self, seconds: float, damping: float) -> None:
        """Simulate until everything rested at two checks in a row; speed shrinks by ``damping`` per step."""
        rested = False
        for _ in range(round(seconds / self.settings.timestep_s / _STEPS_PER_CHECK)):
            if damping == 1.0:
                mujoco.mj_step(self.model, self.data, _STEPS_PER_CHECK)
            else:
                for _ in range(_STEPS_PER_CHECK):
                    mujoco.mj_step(self.model, self.data)
                    self.data.qvel *= damping
            resting = self._resting()
            if resting and rested:
                break
            rested = resting

    def _drifting(self) -> Bool[np.ndarray, "k"]:
        """Return the objects that move too far when they are left alone from standstill."""
        before = self._qpos().copy()
        self.data.qvel[:] = 0.0
        self.simulate(self.settings.settling.stability_time_s)
        after = self._qpos()
        # The angle of the relative rotation, times 5 cm, is about how far the surface of an object went.
        cosine = np.abs((before[:, 3:] * after[:, 3:]).sum(1)).clip(max=1.0)
        drift = np.linalg.norm(after[:, :3] - before[:, :3], axis=1) + 0.05 * 2 * np.arccos(cosine)
        return self.active & (drift > self.settings.settling.max_drift_m)

    def _off_table(self) -> Bool[np.ndarray, "k"]:
        beyond = np.abs(self._qpos()[:, :2]).max(1) > self.settings.table_half_size_m
        return self.active & beyond

    def _too_deep(self) -> Bool[np.ndarray, "k"]:
        """Return what is too deep in the table, and the later object of each pair too deep in each other."""
        mujoco.mj_forward(self.model, self.data)
        contact = self.data.contact
        deep = contact.dist < -self.settings.max_penetration_m
        too_deep = np.zeros(self.count, dtype=bool)
        too_deep[self._object_of_geom[contact.geom[deep]].max(1)] = True
        return too_deep

    def _remove(self, bad: Bool[np.ndarray, "k"]) -> None:
        self.active &= ~bad
        for i in np.flatnonzero(bad):
            geoms = self._object_of_geom == i
            self.model.geom_contype[geoms] = self.model.geom_conaffinity[geoms] = 0


def _compile(objects: tuple[ObjectRecord, ...], settings: SceneSettings) -> mujoco.MjModel:
    spec = mujoco.MjSpec()
    spec.option.timestep = settings.timestep_s
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_PYRAMIDAL
    # Stiffer friction: objects that lean on one another creep five times less than at 1.
    spec.option.impratio = 10.0
    # The automatic size is too small for piles of objects with many pieces.
    spec.memory = 64 * 2**20
    spec.worldbody.add_geom(
        type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 1], condim=6, friction=settings.friction
    )
    for i, record in enumerate(objects):
        body = spec.worldbody.add_body()
        body.add_freejoint()
        inertia = solid_inertia(record)
        body.explicitinertial = True
        body.mass = record.mass
        body.ipos = [0.0, 0.0, 0.0]
        body.fullinertia = inertia[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
        for j, piece in enumerate(record.pieces):
            mesh = spec.add_mesh(name=f"{i}/{j}", uservert=np.asarray(piece, dtype=float).ravel())
            mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_CONVEX
            body.add_geom(
                type=mujoco.mjtGeom.mjGEOM_MESH, meshname=mesh.name, condim=6, friction=settings.friction
            )
    return spec.compile()


def solid_inertia(record: ObjectRecord) -> Float[np.ndarray, "3 3"]:
    """Return the inertia about the origin of the uniform solid inside the surface (kg m^2).

    Source: Blow & Binstock 2004: each face spans a signed tetrahedron with the origin, whose second moment is
    det/120 (sum_i v_i v_i' + s s'), with s the sum of its corners.
    """
    corners = record.vertices[record.faces]
    determinant = np.linalg.det(corners)  # six times the volume of each tetrahedron
    total = corners.sum(1)
    products = np.einsum("fia,fib->fab", corners, corners) + np.einsum("fa,fb->fab", total, total)
    second = np.einsum("f,fab->ab", determinant, products) / 120.0
    second *= record.mass / (determinant.sum() / 6.0)
    return np.trace(second) * np.eye(3) - second


def solid_volume(record: ObjectRecord) -> float:
    """Return the volume inside the surface (m^3)."""
    return float(np.linalg.det(record.vertices[record.faces]).sum() / 6.0)


def _starting_poses(
    objects: tuple[ObjectRecord, ...], rng: np.random.Generator, settings: SceneSettings
) -> Float[np.ndarray, "k 4 4"]:
    """Draw poses in which every object hangs just above the table, or above the earlier objects below it."""
    k = len(objects)
    upright = rng.random(k) < settings.upright_share
    yaw = Rotation.from_rotvec(rng.uniform(0.0, 2 * np.pi, (k, 1)) * [0.0, 0.0, 1.0]).as_matrix()
    anyhow = Rotation.from_quat(rng.normal(size=(k, 4))).as_matrix()
    radius = settings.spread_m * np.sqrt(k) * np.sqrt(rng.random(k))
    angle = rng.uniform(0.0, 2 * np.pi, k)
    T = np.tile(np.eye(4), (k, 1, 1))
    T[:, :3, :3] = np.where(upright[:, None, None], yaw, anyhow)
    T[:, :2, 3] = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    width, top = np.zeros(k), np.zeros(k)
    for i, record in enumerate(objects):
        vertices = record.vertices @ T[i, :3, :3].T
        width[i] = np.linalg.norm(vertices[:, :2], axis=1).max()
        apart = np.linalg.norm(T[:i, :2, 3] - T[i, :2, 3], axis=1)
        floor = top[:i][apart < width[:i] + width[i]].max(initial=0.0)
        T[i, 2, 3] = floor + settings.drop_gap_m - vertices[:, 2].min()
        top[i] = T[i, 2, 3] + vertices[:, 2].max()
    return T
