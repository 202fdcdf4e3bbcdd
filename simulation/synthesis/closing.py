"""How fingers close on an object in simulation: the hand's base fixed, the object nearly so, torques limited."""

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sceneleapultra.hands import Hand
from sceneleapultra.hands.description import Actuation
from sceneleapultra.hands.mjcf import ARENA_MEMORY_MB
from sceneleapultra.simulation.protocols.hand_model import HandModel
from sceneleapultra.simulation.protocols.servos import HAND_PREFIX, Servos
from sceneleapultra.simulation.synthesis.base import Target

_TARGET = "closing_target"


@dataclass(frozen=True, kw_only=True)
class ClosingSettings:
    """How fingers close; ``config/synthesis`` says what each number means."""

    timestep_s: float
    steps: int
    steps_per_update: int
    torque_nm: float
    rate_rad_s: float
    friction: tuple[float, float]
    object_damping: tuple[float, float]
    obstacle_margin_m: float


@dataclass(frozen=True)
class Closed:
    """Where one closing ended. The base pose is relative to the object as it lay before it was pushed."""

    T_world_base: Float[np.ndarray, "4 4"]
    qpos: Float[np.ndarray, "j"]
    squeeze_qpos: Float[np.ndarray, "j"]
    touching: Bool[np.ndarray, "f"]  # fingers in contact with the object, in ``finger_names`` order


class Closer:
    """One hand before one target of a scene, compiled once; every other object and the table stand still."""

    def __init__(self, target: Target, settings: ClosingSettings) -> None:
        self.settings = settings
        hand, model = target.hand, target.model
        self.model = _compile(target, settings)
        self.data = mujoco.MjData(self.model)
        self._base = self.model.body(HAND_PREFIX + model.base_body).id
        self._target = self.model.body(_TARGET).id
        self._T_target = target.scene.T_world_object[target.index]
        self._servos = Servos(self.model, model)
        j = len(model.joint_names)
        self._qpos_adr, self._dof_adr = self._servos.qpos_adr[:j], self._servos.dof_adr[:j]
        self._scale = hand.joint_scale.numpy().astype(float)
        self._target_adr = int(self.model.joint(_TARGET).qposadr[0])
        self._limits = hand.joint_limits.numpy().astype(float)
        self._lead = closing_torque_nm(hand, settings) / self._scale / self._servos.stiffness()
        # A joint that is braked by more than this torque at full speed is led by what it lags, so that it moves.
        # Between two updates of its aim a joint has moved on, on average by what it moves in half that time.
        lag_s = self._servos.lag_s() + settings.timestep_s * settings.steps_per_update / 2
        self._lag_s = np.where(lag_s * settings.rate_rad_s * self._scale > self._lead, lag_s, 0.0)
        self._finger_of_body = np.full(self.model.nbody, -1)
        for f, name in enumerate(hand.finger_names):
            for body in hand.finger_bodies[name]:
                self._finger_of_body[self.model.body(HAND_PREFIX + body).id] = f
        self.num_fingers = len(hand.finger_names)

    def close(
        self,
        T_world_base: Float[np.ndarray, "4 4"],
        qpos: Float[np.ndarray, "j"],
        rates: Float[np.ndarray, "j"],
    ) -> Closed:
        """Close the fingers from an open hand, each joint at its relative rate, until time is up or all stand still."""
        s, model, data = self.settings, self.model, self.data
        self._start(T_world_base, qpos)
        wanted, ctrl = qpos.copy(), qpos.copy()
        step = s.steps_per_update
        for done in range(0, s.steps, step):
            wanted = wanted + rates * (s.rate_rad_s * s.timestep_s * step)
            now = data.qpos[self._qpos_adr]
            aim = now + self._lag_s * data.qvel[self._dof_adr]
            ctrl = np.clip(wanted, aim - self._lead, aim + self._lead)
            ctrl = np.clip(ctrl, self._limits[:, 0], self._limits[:, 1])
            data.ctrl[:] = self._servos.targets(ctrl)
            mujoco.mj_step(model, data, step)
            if done > s.steps // 3 and np.abs(data.qvel[self._dof_adr] / self._scale).max() < 0.05:
                break
        T_moved = np.eye(4)
        T_moved[:3, 3] = data.qpos[self._target_adr : self._target_adr + 3]
        rotation = np.empty(9)
        mujoco.mju_quat2Mat(rotation, data.qpos[self._target_adr + 3 : self._target_adr + 7])
        T_moved[:3, :3] = rotation.reshape(3, 3)
        back = self._T_target @ np.linalg.inv(T_moved)
        now = np.clip(data.qpos[self._qpos_adr], self._limits[:, 0], self._limits[:, 1])
        # What a slow servo was led by makes it move, not press.
        press = np.clip(np.clip(wanted, now - self._lead, now + self._lead), *self._limits.T)
        return Closed(back @ T_world_base, now, np.where(self._lag_s > 0, press, ctrl), self._touching())

    def _start(self, T_world_base: Float[np.ndarray, "4 4"], qpos: Float[np.ndarray, "j"]) -> None:
        mujoco.mj_resetData(self.model, self.data)
        # The base has no joint: it is moved where the model says it stands.
        self.model.body_pos[self._base] = T_world_base[:3, 3]
        quat = np.empty(4)
        mujoco.mju_mat2Quat(quat, np.ascontiguousarray(T_world_base[:3, :3]).ravel())
        self.model.body_quat[self._base] = quat
        self.data.qpos[self._servos.qpos_adr] = self._servos.positions(qpos)

    def _touching(self) -> Bool[np.ndarray, "f"]:
        bodies = self.model.geom_bodyid[self.data.contact.geom]
        bodies = bodies[(bodies == self._target).any(axis=1)]
        fingers = self._finger_of_body[bodies].max(axis=1)
        return np.isin(np.arange(self.num_fingers), fingers)


def closing_torque_nm(hand: Hand, settings: ClosingSettings) -> Float[np.ndarray, "j"]:
    """Return the largest torque of each joint: that of one finger for each that it moves, so twice for two jaws.

    A slide's is what it would be at the arm that counts as a radian (``joint_scale``).
    """
    leader = {joint: coupling.leader or joint for joint, coupling in hand.description.couplings.items()}
    joint_of = {body.name: body.joint.name for body in hand.description.bodies if body.joint is not None}
    moved = [
        {leader.get(joint_of[body], joint_of[body]) for body in bodies if body in joint_of}
        for bodies in hand.finger_bodies.values()
    ]
    number = [max(1, sum(name in joints for joints in moved)) for name in hand.joint_names]
    return settings.torque_nm * np.array(number, dtype=float)


def servo_stiffness(model: HandModel) -> Float[Tensor, "j"]:
    """Return how stiff the servos hold each joint (N m / rad; N / m of a slide)."""
    spec = mujoco.MjSpec()
    hand = mujoco.MjSpec.from_string(model.mjcf, assets=dict(model.assets))
    spec.assets = hand.assets
    spec.worldbody.add_frame().attach_body(hand.worldbody, HAND_PREFIX, "")
    return torch.as_tensor(Servos(spec.compile(), model).stiffness(), dtype=torch.float32)


def _compile(target: Target, settings: ClosingSettings) -> mujoco.MjModel:
    hand, scene, actuation = target.model, target.scene, target.hand.description.actuation
    # The hand is attached: what its file sets by default holds for the hand alone.
    spec = mujoco.MjSpec()
    spec.memory = ARENA_MEMORY_MB << 20
    spec.option.timestep = settings.timestep_s
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10.0
    spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_GRAVITY
    hand_spec = mujoco.MjSpec.from_string(hand.mjcf, assets=dict(hand.assets))
    spec.assets = hand_spec.assets
    base = spec.worldbody.add_frame().attach_body(hand_spec.body(hand.base_body), HAND_PREFIX, "")
    # MuJoCo lets a body collide with the one that carries it if that stands still, as the base does here alone.
    if target.hand.description.source_mjcf is not None:
        for first, second in target.hand.description.non_colliding():
            spec.add_exclude(bodyname1=HAND_PREFIX + first, bodyname2=HAND_PREFIX + second)
    base.pos, base.quat = (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0)
    base.alt.type = mujoco.mjtOrientation.mjORIENTATION_QUAT
    for i, (record, T) in enumerate(zip(scene.objects, scene.T_world_object, strict=True)):
        if i == target.index:
            body = spec.worldbody.add_body(name=_TARGET)
            joint = body.add_freejoint(name=_TARGET)
            joint.damping = settings.object_damping[0]
            body.explicitinertial = True
            body.mass, body.inertia = record.mass, np.full(3, 1e-4)
        else:
            body = spec.worldbody.add_body(name=f"neighbor_{i}")
        quat = np.empty(4)
        mujoco.mju_mat2Quat(quat, np.ascontiguousarray(T[:3, :3]).ravel())
        body.pos, body.quat = T[:3, 3], quat
        for k, piece in enumerate(record.pieces):
            mesh = spec.add_mesh(name=f"object_{i}_{k}", uservert=np.asarray(piece, dtype=float).ravel())
            geom = body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=mesh.name)
            _stiffen(geom, actuation)
            geom.margin = 0.0 if i == target.index else settings.obstacle_margin_m
    if scene.table:
        table = spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 1])
        table.margin = settings.obstacle_margin_m
        _stiffen(table, actuation)
    for geom in spec.geoms:
        geom.friction[:2] = settings.friction
        geom.condim = 4
    model = spec.compile()
    dofs = model.joint(_TARGET).dofadr[0]
    model.dof_damping[dofs : dofs + 3] = settings.object_damping[0]
    model.dof_damping[dofs + 3 : dofs + 6] = settings.object_damping[1]
    # The target rests on the table and on its neighbors: they must not push it about.
    model.geom_contype[:], model.geom_conaffinity[:] = 1, 0
    root = model.body(base.name).id
    of_hand = np.array([_is_below(model, int(body), root) for body in model.geom_bodyid])
    model.geom_conaffinity[of_hand] = 1
    return model


def _stiffen(geom: Any, actuation: Actuation) -> None:
    """Give what the hand touches the contact stiffness that its description has for the hand."""
    geom.solref[: len(actuation.solref)] = actuation.solref
    geom.solimp[: len(actuation.solimp)] = actuation.solimp


def _is_below(model: mujoco.MjModel, body: int, root: int) -> bool:
    while body not in (0, root):
        body = int(model.body_parentid[body])
    return body == root
