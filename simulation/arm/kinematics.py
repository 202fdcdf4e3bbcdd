"""Where an arm's joints must be for its flange to be at a pose, by mink's differential inverse kinematics.

Needs ``pip install sceneleapultra[arm]``.
"""

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

import mujoco
import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from sceneleapultra.simulation.arm.description import FLANGE, ArmDescription

_STEP_S, _STEPS = 1.0, 60
_NEAR_M, _NEAR_RAD = 1e-4, 5e-4
_TURN_M = 0.1  # a turn of one radian counts as much as this distance
_REST_COST, _DAMPING = 1e-3, 1e-6


class Found(NamedTuple):
    """The nearest that was found: joints, and how far the flange is from where it shall be."""

    q: Float[np.ndarray, "q"]
    missed_m: float
    missed_rad: float

    @property
    def reached(self) -> bool:
        """Whether the flange is where it shall be: to a millimetre and half a degree."""
        return self.missed_m < 1e-3 and self.missed_rad < 0.01


class ArmKinematics:
    """Forward and inverse kinematics of one arm, in the world's frame.

    Raises:
        ValueError: mink is not installed.
    """

    def __init__(self, arm: ArmDescription) -> None:
        if find_spec("mink") is None:
            raise ValueError(
                "An arm's inverse kinematics need mink, which is not installed. Run: python -m pip install "
                "'sceneleapultra[arm]'"
            )
        self._mink, self.arm = import_module("mink"), arm
        spec = mujoco.MjSpec()
        arm.attach(spec)
        self._model = spec.compile()
        self._configuration = self._mink.Configuration(self._model)
        self._flange = self._mink.FrameTask(
            FLANGE, "body", position_cost=1.0, orientation_cost=_TURN_M, lm_damping=1e-4
        )
        self._rest = self._mink.PostureTask(self._model, cost=_REST_COST)
        self._limits = [self._mink.ConfigurationLimit(self._model)]

    def flange_pose(self, q: Float[np.ndarray, "q"]) -> Float[np.ndarray, "4 4"]:
        """Return where the flange is."""
        self._configuration.update(np.asarray(q, dtype=float))
        T: Float[np.ndarray, "4 4"] = self._configuration.get_transform_frame_to_world(
            FLANGE, "body"
        ).as_matrix()
        return T

    def solve(self, T_world_flange: Float[np.ndarray, "4 4"], start: Float[np.ndarray, "q"]) -> Found:
        """Follow the flange to a pose from a place of the joints, within their limits; the nearest to it is left free.

        Args:
            T_world_flange: where the flange shall be.
            start: joints from which to go; they stay near it where there is a choice.
        """
        lower, upper = self.arm.limits.T
        self._configuration.update(np.clip(start, lower, upper))
        self._flange.set_target(self._mink.SE3.from_matrix(np.asarray(T_world_flange, dtype=float)))
        self._rest.set_target(self._configuration.q)
        found = self._missed(T_world_flange)
        for _ in range(_STEPS):
            if found.missed_m < _NEAR_M and found.missed_rad < _NEAR_RAD:
                break
            velocity = self._mink.solve_ik(
                self._configuration,
                (self._flange, self._rest),
                _STEP_S,
                "daqp",
                _DAMPING,
                limits=self._limits,
            )
            self._configuration.update(
                np.clip(self._configuration.integrate(velocity, _STEP_S), lower, upper)
            )
            self._rest.set_target(self._configuration.q)
            found = self._missed(T_world_flange)
        return found

    def follow(self, poses: Sequence[Float[np.ndarray, "4 4"]], start: Float[np.ndarray, "q"]) -> list[Found]:
        """Solve one pose after the other, each from the one before."""
        found: list[Found] = []
        for pose in poses:
            found.append(self.solve(pose, found[-1].q if found else start))
        return found

    def _missed(self, wanted: Float[np.ndarray, "4 4"]) -> Found:
        q = self._configuration.q.copy()
        T = self._configuration.get_transform_frame_to_world(FLANGE, "body").as_matrix()
        turn = Rotation.from_matrix(T[:3, :3].T @ wanted[:3, :3]).magnitude()
        return Found(q, float(np.linalg.norm(T[:3, 3] - wanted[:3, 3])), float(turn))
