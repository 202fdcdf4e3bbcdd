"""From one grasp to way-points of a real hand with times, and on to the commands of each tick.

Axes: n way-points, t ticks, j joints in the hand's order.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from sceneleapultra.hands.adapters.adapter import HandAdapter
from sceneleapultra.hands.hand import Hand
from sceneleapultra.utils.geometry.moves import smooth

_SMOOTH_PEAK = 1.5  # the fastest moment of a smooth move, over its mean speed


@dataclass(frozen=True)
class HandWaypoint:
    """Where the joints shall be, when, and where an arm shall have brought the hand's base by then."""

    name: str
    time_s: float
    qpos: Float[np.ndarray, "j"]
    T_frame_base: Float[np.ndarray, "4 4"]
    squeezes: bool  # whether the torque is that of the squeeze


@dataclass(frozen=True)
class HandTrajectory:
    """Way-points of one grasp: standoff, pre-grasp, grasp, squeeze, settled, lift."""

    hand: str
    joint_names: tuple[str, ...]
    frame: str
    waypoints: tuple[HandWaypoint, ...]
    squeeze_nm: float

    @property
    def duration_s(self) -> float:
        """When the last way-point is reached."""
        return self.waypoints[-1].time_s

    def at(self, time_s: float) -> Float[np.ndarray, "j"]:
        """Return the joint angles at a time: smooth between two way-points."""
        index = next((i for i, w in enumerate(self.waypoints) if w.time_s >= time_s), len(self.waypoints) - 1)
        if index == 0:
            return self.waypoints[0].qpos
        first, second = self.waypoints[index - 1 : index + 1]
        share = np.clip((time_s - first.time_s) / (second.time_s - first.time_s), 0.0, 1.0)
        return first.qpos + smooth(float(share)) * (second.qpos - first.qpos)

    def squeezes(self, time_s: float) -> bool:
        """Tell whether the hand squeezes at a time."""
        return next((w.squeezes for w in self.waypoints if w.time_s >= time_s), self.waypoints[-1].squeezes)


def move_s(
    adapter: HandAdapter, start: Float[np.ndarray, "j"], end: Float[np.ndarray, "j"], least_s: float
) -> float:
    """Return the time of a smooth move in which no joint is faster than it may be."""
    return max(least_s, _SMOOTH_PEAK * float(np.abs(end - start).max()) / adapter.max_speed_rad_s)


def plan_waypoints(
    adapter: HandAdapter,
    hand: Hand,
    T_frame_base: Float[np.ndarray, "4 4"],
    stages: tuple[Float[np.ndarray, "j"], Float[np.ndarray, "j"], Float[np.ndarray, "j"]],
    *,
    approach_m: Float[np.ndarray, "3"],
    lift_m: Float[np.ndarray, "3"],
    squeeze_nm: float,
    frame: str,
) -> HandTrajectory:
    """Plan one grasp.

    Args:
        adapter: the real hand.
        hand: its description.
        T_frame_base: where the hand's base is in the grasp.
        stages: joint angles (rad) of pre-grasp, grasp and squeeze. The last is an aim, moved to the limits.
        approach_m: from the grasp to where the base starts.
        lift_m: from the grasp to where the base ends.
        squeeze_nm: torque of each joint in the squeeze.
        frame: of the poses.

    Raises:
        ValueError: a stage beyond the joints' limits.
    """
    names = ("pre-grasp", "grasp", "squeeze")
    pregrasp, grasp, squeeze = (
        adapter.within_limits(hand, stage, what=name, aim=name == "squeeze")
        for name, stage in zip(names, stages, strict=True)
    )
    timing = adapter.timing
    close_s = move_s(adapter, pregrasp, grasp, timing.close_s)
    squeeze_s = move_s(adapter, grasp, squeeze, timing.squeeze_s)
    steps = [
        ("standoff", 0.0, pregrasp, approach_m, False),
        ("pre-grasp", timing.approach_s, pregrasp, np.zeros(3), False),
        ("grasp", close_s, grasp, np.zeros(3), False),
        ("squeeze", squeeze_s, squeeze, np.zeros(3), True),
        ("settled", timing.settle_s, squeeze, np.zeros(3), True),
        ("lift", timing.lift_s, squeeze, lift_m, True),
    ]
    times = np.cumsum([seconds for _, seconds, *_ in steps])
    waypoints = tuple(
        HandWaypoint(name, float(time), qpos, _shifted(T_frame_base, offset), squeezes)
        for (name, _, qpos, offset, squeezes), time in zip(steps, times, strict=True)
    )
    return HandTrajectory(hand.name, tuple(hand.joint_names), frame, waypoints, squeeze_nm)


def _shifted(T: Float[np.ndarray, "4 4"], by_m: Float[np.ndarray, "3"]) -> Float[np.ndarray, "4 4"]:
    moved = np.array(T, dtype=float)
    moved[:3, 3] += by_m
    return moved
