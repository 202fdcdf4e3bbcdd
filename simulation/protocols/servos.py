"""How the servos of a hand hold its joints: where all joints are in a pose, and what each servo must aim at.

Axes: j joints of a pose, q all joints (those that follow last), m servos.
"""

import mujoco
import numpy as np
import torch
from jaxtyping import Float, Int

from sceneleapultra.hands.couplings import Couplings
from sceneleapultra.simulation.protocols.hand_model import HandModel

HAND_PREFIX = "hand/"
ARM_PREFIX = "arm/"  # of what carries it
_JOINTS = (mujoco.mjtTrn.mjTRN_JOINT, mujoco.mjtTrn.mjTRN_JOINTINPARENT)


class Servos:
    """The joints and position servos of a hand in a compiled model.

    Attributes:
        qpos_adr: where the positions of all joints lie in the model's state.
        dof_adr: and their velocities.
    """

    def __init__(self, model: mujoco.MjModel, hand: HandModel) -> None:
        self._model, self._num_joints = model, len(hand.joint_names)
        self._couplings = Couplings(hand.joint_names, hand.followers, torch.float64)
        joints = joint_ids(model, hand)
        self.qpos_adr, self.dof_adr = model.jnt_qposadr[joints], model.jnt_dofadr[joints]
        self._slides = model.jnt_type[joints] == mujoco.mjtJoint.mjJNT_SLIDE
        self._moment = self._moments()
        self._curved = np.array([not _is_linear(model, u) for u in range(model.nu)], dtype=bool)
        self._scratch = mujoco.MjData(model) if self._curved.any() else None

    def positions(self, qpos: Float[np.ndarray, "j"]) -> Float[np.ndarray, "q"]:
        """Return where all joints are."""
        if len(self.qpos_adr) == self._num_joints:
            return qpos
        return self._couplings(torch.as_tensor(qpos)).numpy()

    def targets(self, qpos: Float[np.ndarray, "j"]) -> Float[np.ndarray, "m"]:
        """Return what the servos must aim at to hold a pose: the angle or the length of what they pull."""
        positions = self.positions(qpos)
        targets = self._moment @ positions
        if self._scratch is not None:  # tendons that run over sites and pulleys
            model, data = self._model, self._scratch
            data.qpos[self.qpos_adr] = positions
            mujoco.mj_kinematics(model, data)
            mujoco.mj_comPos(model, data)
            mujoco.mj_tendon(model, data)
            mujoco.mj_transmission(model, data)
            targets[self._curved] = data.actuator_length[self._curved]
        return targets

    def stiffness(self) -> Float[np.ndarray, "j"]:
        """Return the torque (N m / rad; N / m of a slide) on each joint when all aim beyond themselves alike.

        Infinite for a joint that no servo moves, whose aim is thus never ahead.
        """
        stiffness = self._per_joint(self._model.actuator_gainprm[:, 0])
        return np.where(stiffness > 0, stiffness, np.inf)

    def lag_s(self) -> Float[np.ndarray, "j"]:
        """Return how far behind its aim each joint is when it moves steadily, over its speed.

        That is damping by stiffness: of the servos, and of the joint and its followers.
        """
        slopes, source = self._slopes()
        damping = self._per_joint(-self._model.actuator_biasprm[:, 2])
        np.add.at(damping, source, self._model.dof_damping[self.dof_adr] * slopes**2)
        return damping / self.stiffness()

    def _per_joint(self, gain: Float[np.ndarray, "m"]) -> Float[np.ndarray, "j"]:
        slopes, source = self._slopes()
        arms = np.zeros((self._model.nu, self._num_joints))
        np.add.at(arms.T, source, (self._moment * slopes).T)
        arms = np.abs(arms)
        return np.asarray(arms.T @ (gain * arms.sum(1)))

    def _slopes(self) -> tuple[Float[np.ndarray, "q"], Int[np.ndarray, "q"]]:
        """Return how fast each joint moves with the one of a pose that moves it, and which that is."""
        middle = torch.zeros(self._num_joints, dtype=torch.float64)
        return self._couplings.slopes(middle).numpy(), self._couplings.source.numpy()

    def _moments(self) -> Float[np.ndarray, "m q"]:
        """Return the matrix from joint positions to servo targets, at the default pose.

        It is the identity for one position servo per joint and sums joints where a tendon couples them.
        """
        model = self._model
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        moment = np.zeros((model.nu, model.nv))
        mujoco.mju_sparse2dense(
            moment, data.actuator_moment, data.moment_rownnz, data.moment_rowadr, data.moment_colind
        )
        return moment[:, self.dof_adr]


def joint_ids(model: mujoco.MjModel, hand: HandModel) -> Int[np.ndarray, "q"]:
    """Return the joint of each name of the hand, in its order, followers last.

    Raises:
        ValueError: the MJCF has other joints than the hand names.
    """
    names = (*hand.joint_names, *hand.followers)
    found = [model.joint(i).name for i in range(model.njnt)]
    found = [name.removeprefix(HAND_PREFIX) for name in found if name.startswith(HAND_PREFIX)]
    balls = model.jnt_type == mujoco.mjtJoint.mjJNT_BALL
    if sorted(found) != sorted(names) or balls.any():
        raise ValueError(
            f"Hand: joint_names must name the hinges and slides of its MJCF, {', '.join(found)}; "
            f"got {', '.join(names)}."
        )
    return np.array([model.joint(HAND_PREFIX + name).id for name in names], dtype=int)


def _is_linear(model: mujoco.MjModel, servo: int) -> bool:
    """Tell whether what a servo pulls is a sum of joint positions."""
    if model.actuator_trntype[servo] == mujoco.mjtTrn.mjTRN_TENDON:
        tendon = int(model.actuator_trnid[servo, 0])
        first = int(model.tendon_adr[tendon])
        return bool(model.wrap_type[first] == mujoco.mjtWrap.mjWRAP_JOINT)
    return bool(model.actuator_trntype[servo] in _JOINTS)
