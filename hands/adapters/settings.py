"""The constants of a real hand; ``config/hand/adapter`` says what each number means."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from sceneleapultra.hands.kinematics import homogeneous


@dataclass(frozen=True, kw_only=True)
class Gains:
    """Of the position controller inside each motor, in the motor's own units."""

    kp: int
    ki: int
    kd: int
    side_joints: tuple[str, ...]
    side_share: float

    def of(self, joint: str) -> tuple[int, int, int]:
        """Return kp, ki and kd of the motor of a joint."""
        share = self.side_share if joint in self.side_joints else 1.0
        return round(self.kp * share), self.ki, round(self.kd * share)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One kind of motor."""

    model_number: int
    max_current_ma: float
    torque_per_amp_nm: float

    @property
    def max_torque_nm(self) -> float:
        """What a motor gives at most, for long."""
        return self.max_current_ma * self.torque_per_amp_nm / 1000


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long the hand takes for each way-point, at least."""

    approach_s: float
    close_s: float
    squeeze_s: float
    settle_s: float
    lift_s: float


@dataclass(frozen=True, kw_only=True)
class Mount:
    """How the hand sits on an arm: ``T_flange_base``."""

    position_m: tuple[float, float, float]
    quat_wxyz: tuple[float, float, float, float]

    @property
    def T_flange_base(self) -> Float[np.ndarray, "4 4"]:
        """The pose of the hand's base in the frame of the flange."""
        return homogeneous(self.position_m, self.quat_wxyz)

    def flange_pose(self, T_a_base: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
        """Return where the flange must be for the base to be at a pose, in the same frame."""
        return T_a_base @ np.linalg.inv(self.T_flange_base)
