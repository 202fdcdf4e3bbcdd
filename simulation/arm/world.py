"""A world in which an arm carries the hand: every trial of a flying hand runs in it unchanged.

Stages stay poses of the hand's base; the arm's joints follow by inverse kinematics, its servos with their own torques.
"""

import mujoco
import numpy as np
from jaxtyping import Float

from sceneleapultra.hands.adapters import Mount
from sceneleapultra.hands.kinematics import homogeneous
from sceneleapultra.simulation.arm.description import ArmDescription
from sceneleapultra.simulation.arm.kinematics import ArmKinematics
from sceneleapultra.simulation.protocols.compiling import HAND_PREFIX, compile_world
from sceneleapultra.simulation.protocols.hand_model import HandModel
from sceneleapultra.simulation.protocols.motion import pose_from_matrix
from sceneleapultra.simulation.protocols.servos import ARM_PREFIX
from sceneleapultra.simulation.protocols.spec import Physics, WorldSpec
from sceneleapultra.simulation.protocols.world import World


class ArmWorld(World):
    """One arm with one hand and its objects, compiled. With a plan, a reset brings the arm from its home to the start.

    Attributes:
        q: where the arm's joints were last led (rad).
        way: of the arm's joints from home to where a trial starts, one row for each step of it (rad); None: it starts
            there.
    """

    def __init__(
        self, hand: HandModel, spec: WorldSpec, physics: Physics, arm: ArmDescription, mount: Mount
    ) -> None:
        self.arm, self._mount = arm, mount
        self.kinematics = ArmKinematics(arm)
        super().__init__(hand, spec, physics)
        joints = [self.model.joint(name).qposadr[0] for name in arm.joint_names]
        self._arm_adr = np.array(joints)
        self._arm_servos = np.array([self.model.actuator(name).id for name in arm.joint_names])
        names = [self.model.body(i).name for i in range(self.model.nbody)]
        self._is_arm = np.array([name.startswith(ARM_PREFIX) for name in names])
        self._T_flange_origin = mount.T_flange_base @ np.linalg.inv(_pose_matrix(self._base_offset))
        self.q = arm.home
        self.way: Float[np.ndarray, "n q"] | None = None
        self.way_steps = 1

    def _compile(self, hand: HandModel, spec: WorldSpec, physics: Physics) -> mujoco.MjModel:
        return compile_world(hand, spec, physics, self._carry)

    def _carry(self, spec: mujoco.MjSpec, hand: mujoco.MjSpec, physics: Physics) -> None:
        flange = self.arm.attach(spec)
        base = next((b for b in hand.bodies if b.name == self.hand.base_body), hand.worldbody)
        offset = homogeneous(tuple(base.pos), tuple(base.quat))
        pose = pose_from_matrix(self._mount.T_flange_base @ np.linalg.inv(offset))
        frame = flange.add_frame(pos=pose[:3], quat=pose[3:])
        frame.attach_body(hand.worldbody, HAND_PREFIX, "")

    def flange_pose(self, base: Float[np.ndarray, "7"]) -> Float[np.ndarray, "4 4"]:
        """Return where the flange is when the hand is at a stage's base pose."""
        T: Float[np.ndarray, "4 4"] = _pose_matrix(base) @ np.linalg.inv(self._T_flange_origin)
        return T

    def reset(self, stage: Float[np.ndarray, "h"], object_poses: Float[np.ndarray, "k 7"]) -> None:
        """Place arm, hand and objects at rest; with a way, let the arm go it in time, the fingers open."""
        super().reset(stage, object_poses)
        if self.way is None:
            return
        self._show(self.way[0])
        for q in self.way:
            self.sleep.update()
            self._lead_arm(q)
            self.step(self.way_steps)

    def place_arm(
        self,
        q: Float[np.ndarray, "q"],
        fingers: Float[np.ndarray, "j"],
        object_poses: Float[np.ndarray, "k 7"],
    ) -> None:
        """Place the arm by its joints to look at contacts, not at forces."""
        self._show(q)
        self.data.qpos[self._object_adr] = object_poses
        self.data.qpos[self._servos.qpos_adr] = self._servos.positions(fingers)
        self._find_contacts()

    def arm_depth(self) -> float:
        """Return how deep the arm itself, without the hand, is in anything, its hand included (m)."""
        touching = self._is_arm[self.model.geom_bodyid[self.data.contact.geom]].any(axis=1)
        return float(-self.data.contact.dist[touching].min(initial=0.0))

    def _park(self, above: Float[np.ndarray, "h"], object_poses: Float[np.ndarray, "k 7"]) -> None:
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[self._object_adr] = object_poses
        self._show(self.arm.home)
        self.data.ctrl[:] = self._servos.targets(above[7:])
        self._lead_arm(self.arm.home)
        mujoco.mj_forward(self.model, self.data)

    def _place_base(self, pose: Float[np.ndarray, "7"]) -> None:
        self._show(self.kinematics.solve(self.flange_pose(pose), self.q).q)

    def _aim_base(self, pose: Float[np.ndarray, "7"]) -> None:
        self._lead_arm(self.kinematics.solve(self.flange_pose(pose), self.q).q)

    def _show(self, q: Float[np.ndarray, "q"]) -> None:
        self.q = q
        self.data.qpos[self._arm_adr] = q

    def _lead_arm(self, q: Float[np.ndarray, "q"]) -> None:
        self.q = q
        self.data.ctrl[self._arm_servos] = q


def _pose_matrix(pose: Float[np.ndarray, "7"]) -> Float[np.ndarray, "4 4"]:
    return homogeneous(tuple(pose[:3]), tuple(pose[3:]))
