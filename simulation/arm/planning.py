"""Which way an arm takes to a grasp: reached at every point, and free of table, neighbors and itself."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from sceneleapultra.simulation.arm.world import ArmWorld
from sceneleapultra.simulation.protocols.contacts import Group
from sceneleapultra.simulation.protocols.motion import shifted
from sceneleapultra.simulation.protocols.spec import Attempt
from sceneleapultra.simulation.protocols.trials import ApproachChoice

_UP = np.array([0.0, 0.0, 1.0])
_OBSTACLES: tuple[Group, ...] = ("table", "neighbors", "hand")
_PIECES = 6  # of the straight ways of approach and lift
_CHECK_RAD = 0.08  # between two checks along a way of the joints
_RAISED_M = 0.15  # above the standoff, where the way from home goes if the straight one is blocked
_YAWS, _ELBOWS = (-0.8, 0.8), (-0.5, 0.5)  # of the first and the third joint, where home leads nowhere


class ReachError(ValueError):
    """The arm cannot reach a grasp, or not without touching something."""


@dataclass(frozen=True)
class ArmPlan:
    """One way to one grasp.

    Attributes:
        attempt: the grasp, with the approach that the arm can make.
        way: joints from home to the standoff (rad).
    """

    attempt: Attempt
    way: Float[np.ndarray, "n q"]


class ArmPlanner:
    """Plans in a world of what was seen; see :func:`observed_world`."""

    def __init__(
        self, world: ArmWorld, object_poses: Float[np.ndarray, "k 7"], approach: ApproachChoice, lift_m: float
    ) -> None:
        self._world, self._poses, self._approach, self._lift_m = world, object_poses, approach, lift_m

    def plan(self, attempt: Attempt) -> ArmPlan:
        """Return the first way that is free.

        Raises:
            ReachError: there is none; says what is in the way.
        """
        prepared = self._world.prepare(replace(attempt, object_poses=self._poses))
        reasons: list[str] = []
        for q in self._postures(prepared, reasons):
            for direction in self._approach.candidates(self._world, prepared):
                way = self._way(prepared, q, self._approach.standoff_m * direction, reasons)
                if way is not None:
                    offset = self._approach.standoff_m * direction
                    return ArmPlan(replace(attempt, approach=offset), way)
        raise ReachError(
            f"Arm '{self._world.arm.name}' cannot reach this grasp: {reasons[-1]}. Try the next one."
        )

    def _postures(self, attempt: Attempt, reasons: list[str]) -> Iterator[Float[np.ndarray, "q"]]:
        """Yield joints at which the hand is at the pre-grasp."""
        pose, home = self._world.flange_pose(attempt.pregrasp[:7]), self._world.arm.home
        bent = [(yaw, elbow) for yaw in _YAWS for elbow in _ELBOWS]
        missed_m: list[float] = []
        for yaw, elbow in ((0.0, 0.0), *bent):
            found = self._world.kinematics.solve(pose, home + yaw * _unit(0) + elbow * _unit(2))
            if found.reached:
                yield found.q
            missed_m.append(0.0 if found.reached else found.missed_m)
        if min(missed_m) > 0.0:
            place = ", ".join(f"{x:.2f}" for x in pose[:3, 3])
            reasons.append(
                f"its flange stays {1000 * min(missed_m):.0f} mm away from ({place}) m, where the pre-grasp needs it"
            )

    def _way(
        self, attempt: Attempt, q: Float[np.ndarray, "q"], offset: Float[np.ndarray, "3"], reasons: list[str]
    ) -> Float[np.ndarray, "n q"] | None:
        fingers = attempt.pregrasp[7:]
        depths = self._depths(q, fingers)
        if depths[0] > self._approach.tolerance_m:
            reasons.append("its links would touch something at the pre-grasp")
            return None
        allowed = depths + self._approach.tolerance_m
        standoff = q
        for by_m, what in ((self._lift_m * _UP, "lift"), (offset, "approach")):
            line = self._line(attempt, q, by_m)
            if line is None:
                reasons.append(f"the {what} leaves its reach")
                return None
            if any((self._depths(each, fingers) > allowed).any() for each in line):
                reasons.append(f"it would touch something in the {what}")
                return None
            standoff = line[-1]
        raised = self._line(attempt, standoff, offset + _RAISED_M * _UP, start_m=offset)
        for stops in ([standoff], [] if raised is None else [raised[-1], standoff]):
            way = self._from_home(stops)
            free = stops and not any(self._touches(each, fingers) for each in way)
            if free:
                return way
        reasons.append("the way from its home to the standoff is blocked")
        return None

    def _line(
        self,
        attempt: Attempt,
        q: Float[np.ndarray, "q"],
        end_m: Float[np.ndarray, "3"],
        start_m: Float[np.ndarray, "3"] | None = None,
    ) -> list[Float[np.ndarray, "q"]] | None:
        """Return joints along a straight way of the hand, offsets from the pre-grasp; None: not reached."""
        start_m = np.zeros(3) if start_m is None else start_m
        shares = np.linspace(0.0, 1.0, _PIECES + 1)[1:]
        poses = [
            self._world.flange_pose(shifted(attempt.pregrasp, (1 - s) * start_m + s * end_m)[:7])
            for s in shares
        ]
        found = self._world.kinematics.follow(poses, q)
        return [each.q for each in found] if all(each.reached for each in found) else None

    def _from_home(self, stops: Sequence[Float[np.ndarray, "q"]]) -> Float[np.ndarray, "n q"]:
        rows, at = [self._world.arm.home], self._world.arm.home
        for stop in stops:
            pieces = max(1, int(np.ceil(np.abs(stop - at).max() / _CHECK_RAD)))
            rows += [at + s * (stop - at) for s in np.linspace(0.0, 1.0, pieces + 1)[1:]]
            at = stop
        return np.array(rows)

    def _depths(self, q: Float[np.ndarray, "q"], fingers: Float[np.ndarray, "j"]) -> Float[np.ndarray, "4"]:
        """Return how deep the links are in anything, and the hand in table, neighbors and itself."""
        self._world.place_arm(q, fingers, self._poses)
        return np.array([self._world.arm_depth(), *(-self._world.hand_distance(to) for to in _OBSTACLES)])

    def _touches(self, q: Float[np.ndarray, "q"], fingers: Float[np.ndarray, "j"]) -> bool:
        depths = self._depths(q, fingers)
        return bool((depths > self._approach.tolerance_m).any() or self._world.hand_distance("target") < 0.0)


def _unit(joint: int) -> Float[np.ndarray, "q"]:
    return np.eye(7)[joint]
