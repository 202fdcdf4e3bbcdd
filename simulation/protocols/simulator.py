"""How one grasp is put through a protocol: the engine, compiled once per hand and object.

Pre-grasp, grasp and squeeze do not depend on the direction of the later force, so they are simulated once,
the state is saved with the solver's warm start, and each direction continues from it, bit for bit as if it had
been simulated alone.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mujoco
import numpy as np
from jaxtyping import Bool, Float, Int

from sceneleapultra.simulation.protocols.contacts import ContactMetrics, ContactReader
from sceneleapultra.simulation.protocols.model import (
    HandModel,
    ObjectModel,
    actuator_map,
    base_offset,
    compile_model,
    joint_addresses,
)
from sceneleapultra.simulation.protocols.motion import displacement, interpolate_pose, relocate, unit_pose
from sceneleapultra.simulation.protocols.protocol import Protocol
from sceneleapultra.utils.records import ObjectRecord, Outcome

if TYPE_CHECKING:
    from sceneleapultra.hands import Hand

_log = logging.getLogger(__name__)
_STATE = mujoco.mjtState.mjSTATE_INTEGRATION
_FAILURES = (
    mujoco.mjtWarning.mjWARN_BADQPOS,
    mujoco.mjtWarning.mjWARN_BADQVEL,
    mujoco.mjtWarning.mjWARN_BADQACC,
    mujoco.mjtWarning.mjWARN_CONTACTFULL,
    mujoco.mjtWarning.mjWARN_CNSTRFULL,
)


@dataclass(frozen=True)
class GraspVerdict:
    """What happened to one grasp; directions in the protocol's order, those not run are False and NaN."""

    outcome: Outcome
    direction_success: Bool[np.ndarray, "d"]
    displacement_m: Float[np.ndarray, "d"]  # of the object, where its run stopped
    angle_deg: Float[np.ndarray, "d"]
    blocks: Int[np.ndarray, "d"]  # of the hold, that were run
    object_pose: Float[np.ndarray, "d 7"]  # where its run stopped
    pregrasp_distance_object_m: float  # least, negative inside, 0 without contact
    pregrasp_distance_self_m: float

    @property
    def success(self) -> bool:
        """Whether the grasp stood the protocol."""
        return self.outcome == Outcome.SUCCESS


class GraspSimulator:
    """One hand, one object, one protocol, compiled; verdicts do not depend on what was run before.

    Poses of hand base and object are [position 3, quaternion wxyz 4] in the world frame, quaternions of any
    sign and length. The three stages of a grasp are [base pose 7, joints].
    """

    def __init__(
        self, hand: "Hand | HandModel", object: ObjectRecord | ObjectModel, protocol: Protocol
    ) -> None:
        mujoco.set_mju_user_warning(_log.warning)
        hand = hand if isinstance(hand, HandModel) else HandModel.from_hand(hand)
        if isinstance(object, ObjectRecord):
            object = ObjectModel.from_record(object, protocol.object_mass_kg)
        self.protocol = protocol
        self.model = compile_model(hand, object, protocol)
        self.data = mujoco.MjData(self.model)
        self.num_joints = len(hand.joint_names)
        self._base_offset = base_offset(self.model, hand)
        self._joint_adr = joint_addresses(self.model, hand)
        self.contacts = ContactReader(self.model, hand, protocol)
        self._ctrl_from_qpos = actuator_map(self.model)[:, self._joint_adr - 7]
        self._state = np.empty(mujoco.mj_stateSize(self.model, _STATE))

    def run(
        self,
        pregrasp: Float[np.ndarray, "h"],
        grasp: Float[np.ndarray, "h"],
        squeeze: Float[np.ndarray, "h"],
        object_pose: Float[np.ndarray, "7"],
        directions: Sequence[int] | None = None,
        stop_at_failure: bool = False,
    ) -> GraspVerdict:
        """Test one grasp.

        Args:
            pregrasp: Where the fingers start.
            grasp: Where they touch.
            squeeze: Where they press.
            object_pose: Where the object lies at the start.
            directions: Which of the protocol's directions to run, by number; all by default.
            stop_at_failure: Skip the directions after the first that fails.

        Raises:
            ValueError: A stage or pose of another length, or not finite.
        """
        stages = self._stages(pregrasp, grasp, squeeze)
        start = unit_pose("object_pose", object_pose)
        n = len(self.protocol.directions)
        passed, blocks = np.zeros(n, dtype=bool), np.zeros(n, dtype=int)
        moved, turned, poses = np.full(n, np.nan), np.full(n, np.nan), np.full((n, 7), np.nan)

        self._reset(stages[0], start)
        depth_object = self.contacts.least_distance(self.data, with_object=True)
        depth_self = self.contacts.least_distance(self.data, with_object=False)

        def verdict(outcome: Outcome) -> GraspVerdict:
            return GraspVerdict(outcome, passed, moved, turned, blocks, poses, depth_object, depth_self)

        if depth_object < -self.protocol.max_penetration_m:
            return verdict(Outcome.PREGRASP_PENETRATION)
        if depth_self < -self.protocol.max_penetration_m:
            return verdict(Outcome.SELF_PENETRATION)

        outcome = Outcome.SUCCESS
        failure: Outcome | None = None
        for i in range(n) if directions is None else directions:
            force = self.protocol.forces[i]
            if failure is None or self.protocol.force_from_start:
                self._reset(stages[0], start)
                failure = self._squeeze(stages, start, force)
                mujoco.mj_getState(self.model, self.data, self._state, _STATE)
            else:
                mujoco.mj_setState(self.model, self.data, self._state, _STATE)
            blocks[i] = self._hold(start, force)
            self._lift(stages[-1])
            poses[i] = self.data.qpos[-7:]
            moved[i], turned[i] = displacement(self._goal(start), poses[i])
            passed[i] = self._within_limits(moved[i], turned[i])
            if self._diverged():
                passed[:] = False
                return verdict(Outcome.NOT_RUN)
            if not passed[i]:
                outcome = outcome or failure
                if stop_at_failure:
                    break
        return verdict(outcome)

    def metrics(self, grasp: Float[np.ndarray, "h"], object_pose: Float[np.ndarray, "7"]) -> ContactMetrics:
        """Measure penetration and contact at the grasp pose, before anything moves."""
        (stage,) = self._stages(grasp)
        start = unit_pose("object_pose", object_pose)
        with self.contacts.margin():
            self._reset(stage, start)
            return self.contacts.metrics(self.data)

    def _stages(self, *stages: Float[np.ndarray, "h"]) -> list[Float[np.ndarray, "h"]]:
        checked = []
        for stage in stages:
            stage = np.array(stage, dtype=float)
            if stage.shape != (7 + self.num_joints,):
                raise ValueError(
                    f"A stage of a grasp is [position 3, quaternion wxyz 4, {self.num_joints} joints] = "
                    f"{7 + self.num_joints} numbers for this hand, got shape {stage.shape}."
                )
            if not np.isfinite(stage).all():
                raise ValueError(f"A stage of a grasp must be finite, got {stage.tolist()}.")
            stage[:7] = relocate(unit_pose("hand base", stage[:7]), self._base_offset)
            checked.append(stage)
        return checked

    def _reset(self, stage: Float[np.ndarray, "h"], object_pose: Float[np.ndarray, "7"]) -> None:
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:7], self.data.qpos[-7:] = stage[:7], object_pose
        self.data.qpos[self._joint_adr] = stage[7:]
        self._aim(stage)

    def _aim(self, stage: Float[np.ndarray, "h"]) -> None:
        """Set the targets of base and actuators."""
        self.data.mocap_pos[0], self.data.mocap_quat[0] = stage[:3], stage[3:7]
        self.data.ctrl[:] = self._ctrl_from_qpos @ stage[7:]
        mujoco.mj_forward(self.model, self.data)

    def _move(self, start: Float[np.ndarray, "h"], end: Float[np.ndarray, "h"]) -> None:
        """Lead the targets from one stage to the next."""
        n = self.protocol.waypoints
        for fraction in np.linspace(0.0, 1.0, n + 1)[1:]:
            base = interpolate_pose(start[:7], end[:7], fraction)
            self._aim(np.concatenate([base, (1 - fraction) * start[7:] + fraction * end[7:]]))
            mujoco.mj_step(self.model, self.data, nstep=self.protocol.steps_per_waypoint)

    def _squeeze(
        self,
        stages: list[Float[np.ndarray, "h"]],
        start: Float[np.ndarray, "7"],
        force: Float[np.ndarray, "3"],
    ) -> Outcome:
        """Simulate up to the squeeze and return what a later failure will be called."""
        if self.protocol.force_from_start:
            self.data.xfrc_applied[-1, :3] = force
        self._move(stages[0], stages[1])
        self._move(stages[1], stages[2])
        if not self._within_limits(*displacement(start, self.data.qpos[-7:])):
            return Outcome.MOVED_IN_SQUEEZE
        touching = self.contacts.least_distance(self.data, with_object=True) < 0
        return Outcome.SLIPPED if touching else Outcome.NO_CONTACT

    def _hold(self, start: Float[np.ndarray, "7"], force: Float[np.ndarray, "3"]) -> int:
        """Pull until the hold is over or the object lost; return the number of blocks run."""
        self.data.xfrc_applied[-1, :3] = force
        for block in range(self.protocol.hold_blocks):
            mujoco.mj_step(self.model, self.data, nstep=self.protocol.hold_steps_per_block)
            if not self._within_limits(*displacement(start, self.data.qpos[-7:])):
                return block + 1
        return self.protocol.hold_blocks

    def _lift(self, squeeze: Float[np.ndarray, "h"]) -> None:
        if self.protocol.lift_m:
            raised = squeeze.copy()
            raised[2] += self.protocol.lift_m
            self._move(squeeze, raised)

    def _goal(self, start: Float[np.ndarray, "7"]) -> Float[np.ndarray, "7"]:
        goal = start.copy()
        goal[2] += self.protocol.lift_m
        return goal

    def _within_limits(self, distance_m: float, angle_deg: float) -> bool:
        near = distance_m < self.protocol.max_displacement_m
        return bool(near and angle_deg < self.protocol.max_angle_deg)

    def _diverged(self) -> bool:
        return any(self.data.warning[kind].number for kind in _FAILURES)
