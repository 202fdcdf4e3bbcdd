"""The world that a grasp is tried in: a hand on a compliant base, objects, perhaps a table and gravity.

A trial says what is in it (``WorldSpec``), a protocol how bodies behave (``Physics``). ``World`` compiles both and
offers what trials are made of: place everything, lead the hand, push the target, save and restore.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import mujoco
import numpy as np
from jaxtyping import Float

from sceneleapultra.simulation.protocols.compiling import (
    base_offset,
    compile_world,
    object_body,
)
from sceneleapultra.simulation.protocols.contacts import Contacts, Group
from sceneleapultra.simulation.protocols.hand_model import HandModel
from sceneleapultra.simulation.protocols.motion import interpolate_stage, relocate, unit_pose
from sceneleapultra.simulation.protocols.servos import Servos
from sceneleapultra.simulation.protocols.sleep import Sleep
from sceneleapultra.simulation.protocols.spec import Attempt, Physics, WorldSpec

_log = logging.getLogger(__name__)
_STATE = mujoco.mjtState.mjSTATE_INTEGRATION
_FAR_UP_M = 2.0
_FAILURES = (
    mujoco.mjtWarning.mjWARN_BADQPOS,
    mujoco.mjtWarning.mjWARN_BADQVEL,
    mujoco.mjtWarning.mjWARN_BADQACC,
    mujoco.mjtWarning.mjWARN_CONTACTFULL,
    mujoco.mjtWarning.mjWARN_CNSTRFULL,
)


class World:
    """One hand and its objects, compiled; nothing in it depends on what was run before a ``reset``.

    Stages are [base pose 7, joints] as :meth:`prepare` returns them: of the MJCF's origin, which the world leads.
    """

    def __init__(self, hand: HandModel, spec: WorldSpec, physics: Physics) -> None:
        mujoco.set_mju_user_warning(_log.warning)
        self.hand = hand
        self.model = self._compile(hand, spec, physics)
        self.data = mujoco.MjData(self.model)
        self.target = spec.objects[0]
        self.num_joints = len(hand.joint_names)
        self.contacts = Contacts(self.model)
        bodies = [self.model.body(object_body(i)).id for i in range(len(spec.objects))]
        self.sleep = Sleep(self.model, self.data, np.array(bodies))
        self._base_offset = base_offset(self.model, hand)
        self._servos = Servos(self.model, hand)
        adr = [self.model.joint(f"{object_body(i)}_freejoint").qposadr[0] for i in range(len(spec.objects))]
        self._object_adr = np.array(adr)[:, None] + np.arange(7)
        dofs = [self.model.joint(f"{object_body(i)}_freejoint").dofadr[0] for i in range(len(spec.objects))]
        self._object_dofs = np.array(dofs)[:, None] + np.arange(6)
        self._settled: dict[tuple[bytes, int], Float[np.ndarray, "k 7"] | None] = {}
        self._state = np.empty(mujoco.mj_stateSize(self.model, _STATE))

    def _compile(self, hand: HandModel, spec: WorldSpec, physics: Physics) -> mujoco.MjModel:
        return compile_world(hand, spec, physics)

    def prepare(self, attempt: Attempt) -> Attempt:
        """Return an attempt in the terms of this world, with unit quaternions.

        Raises:
            ValueError: a stage or pose of another length, or not finite.
        """
        poses = np.stack([unit_pose("object_pose", pose) for pose in attempt.object_poses])
        if len(poses) != len(self._object_adr):
            raise ValueError(f"{len(poses)} object poses for a world of {len(self._object_adr)} objects.")
        pregrasp, grasp, squeeze = map(self._stage, (attempt.pregrasp, attempt.grasp, attempt.squeeze))
        return Attempt(pregrasp, grasp, squeeze, poses, attempt.approach)

    def _stage(self, stage: Float[np.ndarray, "_"]) -> Float[np.ndarray, "h"]:
        stage = np.array(stage, dtype=float)
        if stage.shape != (7 + self.num_joints,):
            raise ValueError(
                f"A stage of a grasp is [position 3, quaternion wxyz 4, {self.num_joints} joints] = "
                f"{7 + self.num_joints} numbers for this hand, got shape {stage.shape}."
            )
        if not np.isfinite(stage).all():
            raise ValueError(f"A stage of a grasp must be finite, got {stage.tolist()}.")
        stage[:7] = relocate(unit_pose("hand base", stage[:7]), self._base_offset)
        return stage

    def reset(self, stage: Float[np.ndarray, "h"], object_poses: Float[np.ndarray, "k 7"]) -> None:
        """Place hand and objects, at rest, without forces."""
        mujoco.mj_resetData(self.model, self.data)
        self._place(stage, object_poses)
        self.aim(stage)

    def settle(self, object_poses: Float[np.ndarray, "k 7"], steps: int) -> Float[np.ndarray, "k 7"] | None:
        """Return where the objects come to rest, the hand far above; None where the simulation diverges."""
        key = (object_poses.tobytes(), steps)
        if key not in self._settled:
            self.park(object_poses)
            self.step(steps)
            self._settled = {key: None if self.diverged else self.object_poses.copy()}
        return self._settled[key]

    def park(self, object_poses: Float[np.ndarray, "k 7"]) -> None:
        """Place the objects, at rest, the hand far above."""
        self._park(
            np.concatenate([[0.0, 0.0, _FAR_UP_M, 1.0, 0.0, 0.0, 0.0], np.zeros(self.num_joints)]),
            object_poses,
        )

    def _park(self, above: Float[np.ndarray, "h"], object_poses: Float[np.ndarray, "k 7"]) -> None:
        self.reset(above, object_poses)

    def _place(self, stage: Float[np.ndarray, "h"], object_poses: Float[np.ndarray, "k 7"]) -> None:
        self._place_base(stage[:7])
        self.data.qpos[self._object_adr] = object_poses
        self.data.qpos[self._servos.qpos_adr] = self._servos.positions(stage[7:])

    def _find_contacts(self) -> None:
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)
        mujoco.mj_collision(self.model, self.data)

    def _set_targets(self, stage: Float[np.ndarray, "h"]) -> None:
        self.data.ctrl[:] = self._servos.targets(stage[7:])
        self._aim_base(stage[:7])

    def _place_base(self, pose: Float[np.ndarray, "7"]) -> None:
        self.data.qpos[:7] = pose

    def _aim_base(self, pose: Float[np.ndarray, "7"]) -> None:
        self.data.mocap_pos[0], self.data.mocap_quat[0] = pose[:3], pose[3:]

    @contextmanager
    def weightless(self) -> Iterator[None]:
        """Take gravity away for a while."""
        saved = self.model.opt.gravity.copy()
        self.model.opt.gravity[:] = 0.0
        try:
            yield
        finally:
            self.model.opt.gravity[:] = saved

    def stop_objects(self) -> None:
        """Take the speed of the objects away."""
        self.data.qvel[self._object_dofs] = 0.0

    def place(self, stage: Float[np.ndarray, "h"], object_poses: Float[np.ndarray, "k 7"]) -> None:
        """Place hand and objects to look at their contacts, not at forces."""
        self._place(stage, object_poses)
        self._find_contacts()

    def lead(self, stage: Float[np.ndarray, "h"], steps: int) -> None:
        """Set the targets of base and actuators, and let time pass."""
        self._set_targets(stage)
        self.step(steps)

    def aim(self, stage: Float[np.ndarray, "h"]) -> None:
        """Set the targets of base and actuators."""
        self._set_targets(stage)
        mujoco.mj_forward(self.model, self.data)

    def move(
        self, start: Float[np.ndarray, "h"], end: Float[np.ndarray, "h"], waypoints: int, steps: int
    ) -> None:
        """Lead the targets from one stage to the next, over way-points that are each held for some steps."""
        for fraction in np.linspace(0.0, 1.0, waypoints + 1)[1:]:
            self.aim(interpolate_stage(start, end, fraction))
            self.step(steps)

    def step(self, steps: int) -> None:
        """Let time pass."""
        mujoco.mj_step(self.model, self.data, nstep=steps)

    def push(self, force_n: Float[np.ndarray, "3"]) -> None:
        """Apply a force to the target, world frame, from now on."""
        self.data.xfrc_applied[self.contacts.target, :3] = force_n

    def palm_direction(self, stage: Float[np.ndarray, "h"]) -> Float[np.ndarray, "3"]:
        """Return the unit vector out of the palm, world frame.

        Raises:
            ValueError: the hand's description does not say where its palm looks.
        """
        if self.hand.palm_direction is None:
            raise ValueError(
                "The approach follows the palm, and this hand's description has no semantics.palm.direction. Add it, "
                "or choose the approach without it: protocol.trial.approach.directions=[up]."
            )
        in_base, in_world = np.empty(3), np.empty(3)
        mujoco.mju_rotVecQuat(in_base, np.array(self.hand.palm_direction), self._base_offset[3:])
        mujoco.mju_rotVecQuat(in_world, in_base, stage[3:7])
        return in_world

    def carry_target(self, pose: Float[np.ndarray, "7"], rising_m_s: float) -> None:
        """Put the target somewhere, rising and not turning, whatever acts on it."""
        self.data.qpos[self._object_adr[0]] = pose
        self.data.qvel[self._object_dofs[0]] = [0.0, 0.0, rising_m_s, 0.0, 0.0, 0.0]

    @property
    def object_poses(self) -> Float[np.ndarray, "k 7"]:
        """Where the objects are, the target first."""
        return self.data.qpos[self._object_adr]

    @property
    def target_pose(self) -> Float[np.ndarray, "7"]:
        """Where the target is."""
        return self.data.qpos[self._object_adr[0]]

    def hand_distance(self, to: Group) -> float:
        """Return the least distance of the hand to something, negative inside, 0 where nothing touches."""
        return self.contacts.hand_distance(self.data, to)

    def hand_force(self, to: Group) -> float:
        """Return the sum of the normal forces of the hand on something (N)."""
        return self.contacts.hand_force(self.data, to)

    @property
    def timestep_s(self) -> float:
        """Seconds of one step."""
        return float(self.model.opt.timestep)

    @property
    def diverged(self) -> bool:
        """Whether the simulation since the last reset means nothing."""
        return any(self.data.warning[kind].number for kind in _FAILURES)

    def save(self) -> None:
        """Keep the state, with the solver's warm start: what continues from it is bit for bit the same."""
        mujoco.mj_getState(self.model, self.data, self._state, _STATE)

    def restore(self) -> None:
        """Go back to the state that was kept."""
        mujoco.mj_setState(self.model, self.data, self._state, _STATE)
