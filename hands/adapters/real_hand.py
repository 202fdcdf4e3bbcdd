"""A real hand at work: switched on, led along a trajectory at a rate that it can follow, left holding.

The torque is switched off by :meth:`RealHand.release` alone. Where the cable is pulled or the program ends, the motors
hold the last command with the last current: an object in the hand is not dropped.
"""

import time
from collections.abc import Callable
from types import TracebackType

import numpy as np
from jaxtyping import Float

from sceneleapultra.hands.adapters.adapter import HandAdapter
from sceneleapultra.hands.adapters.dynamixel import (
    CURRENT_BASED_POSITION,
    GOAL_CURRENT,
    GOAL_POSITION,
    KD,
    KI,
    KP,
    OPERATING_MODE,
    PRESENT_POSITION,
    STEPS_PER_TURN,
    TORQUE_ENABLE,
    Motors,
    MotorsLostError,
    Register,
)
from sceneleapultra.hands.adapters.trajectory import HandTrajectory, move_s
from sceneleapultra.hands.hand import Hand
from sceneleapultra.utils.geometry.moves import smooth

_STEP_RAD = 2 * np.pi / STEPS_PER_TURN


class RealHand:
    """A hand on a serial port; a context manager that leaves the torque as it is.

    Raises:
        ValueError: motors are missing, or of another kind.
    """

    def __init__(self, adapter: HandAdapter, hand: Hand, port: str, preset: str) -> None:
        self.adapter, self.hand, self.preset, self._kind = adapter, hand, preset, adapter.preset(preset)
        self._motors = Motors(port, range(len(adapter.motors)))
        try:
            self._check_motors()
        except (ValueError, OSError):
            self._motors.close()
            raise
        self._command: Float[np.ndarray, "m"] | None = None

    def __enter__(self) -> "RealHand":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._motors.close()

    def qpos(self) -> Float[np.ndarray, "j"]:
        """Read where the joints are (rad)."""
        return self.adapter.to_joints(self.hand, self._positions())

    def start(self) -> None:
        """Set mode and gains, and hold the hand where it is; it is loose for a moment where the mode must change.

        Raises:
            ValueError: a motor reports a fault.
        """
        self._check_faults()
        motors = self._motors
        if set(motors.read(OPERATING_MODE).values()) != {CURRENT_BASED_POSITION}:
            self._set_all(TORQUE_ENABLE, 0)
            self._set_all(OPERATING_MODE, CURRENT_BASED_POSITION)
        gains = [self.adapter.gains.of(joint) for joint in self.adapter.motors]
        for register, column in ((KP, 0), (KI, 1), (KD, 2)):
            motors.set(register, {n: gain[column] for n, gain in enumerate(gains)})
        self._set_current(np.full(len(self.adapter.motors), self._kind.max_current_ma))
        self._command = self._positions()
        self._send(self._command)
        self._set_all(TORQUE_ENABLE, 1)

    def release(self) -> None:
        """Switch the torque off: the hand lets go, whatever its motors report."""
        self._set_all(TORQUE_ENABLE, 0)

    def command(self, qpos: Float[np.ndarray, "j"]) -> None:
        """Send joint angles (rad), one tick away from the last ones at most.

        Raises:
            ValueError: beyond a limit, or further than a joint may go in one tick. Nothing is sent then.
        """
        self._lead(self.adapter.to_motors(self.hand, qpos))

    def _lead(self, goal: Float[np.ndarray, "m"]) -> None:
        if self._command is None:
            raise ValueError("The hand is not held yet: call start() before the first command.")
        step, most = np.abs(goal - self._command), self.adapter.max_speed_rad_s / self.adapter.rate_hz
        if (step > most + _STEP_RAD).any():
            worst = int(step.argmax())
            raise ValueError(
                f"command: {self.adapter.motors[worst]} is to go {step[worst]:.3f} rad in one tick, and may go "
                f"{most:.3f} ({self.adapter.max_speed_rad_s} rad/s at {self.adapter.rate_hz:g} Hz). Send the way in "
                "smaller steps."
            )
        self._send(goal)
        self._command = goal

    def play(self, trajectory: HandTrajectory, progress: Callable[[str], None]) -> None:
        """Go to the first way-point from wherever the hand is, then along the trajectory; the hand holds at its end.

        Args:
            trajectory: of this hand.
            progress: called with the name of each way-point that is reached.

        Raises:
            ValueError: a squeeze beyond the motors, a command beyond a limit, a fault: before the hand is moved.
            MotorsLostError: the cable was pulled, or the power is off; the hand holds.
        """
        squeeze_ma = self.adapter.currents(
            self.hand, np.full(self.hand.num_joints, trajectory.squeeze_nm), self.preset
        )
        self._check_moves(trajectory)
        at = "the start"
        try:
            self.start()
            self._come(self.adapter.to_motors(self.hand, trajectory.waypoints[0].qpos))
            progress(at := trajectory.waypoints[0].name)
            for before, waypoint in zip(trajectory.waypoints, trajectory.waypoints[1:], strict=False):
                at = waypoint.name
                if waypoint.squeezes and not before.squeezes:
                    self._set_current(squeeze_ma)
                self._ticks(
                    lambda s, t0=before.time_s: self.adapter.to_motors(self.hand, trajectory.at(t0 + s)),
                    waypoint.time_s - before.time_s,
                )
                self._check_faults()
                progress(at)
        except MotorsLostError as error:
            raise MotorsLostError(
                f"{error}, on the way to {at}. They keep their torque and hold the last command as long as they have "
                "power, so an object in the hand is not dropped. Plug the cable in again; to let go: python "
                "scripts/hand.py release --port <port>, or switch the power off."
            ) from error

    def _check_moves(self, trajectory: HandTrajectory) -> None:
        """Refuse a trajectory that passes a limit or asks for more speed than the joints may have."""
        for waypoint in trajectory.waypoints:
            self.adapter.within_limits(self.hand, waypoint.qpos, what=waypoint.name)
        for before, waypoint in zip(trajectory.waypoints, trajectory.waypoints[1:], strict=False):
            least_s = move_s(self.adapter, before.qpos, waypoint.qpos, 0.0)
            planned_s = waypoint.time_s - before.time_s
            if planned_s < least_s * (1 - 1e-6):
                raise ValueError(
                    f"{waypoint.name}: {planned_s:.2f} s are given for a move that takes {least_s:.2f} s at "
                    f"{self.adapter.max_speed_rad_s} rad/s, so the hand is not moved. Plan the grasp again."
                )

    def _come(self, goal: Float[np.ndarray, "m"]) -> None:
        """Go to motor angles from wherever the hand is, which may be outside the limits."""
        assert self._command is not None
        start = self._command
        seconds = move_s(self.adapter, start, goal, 1.0 / self.adapter.rate_hz)
        self._ticks(lambda s: start + smooth(s / seconds) * (goal - start), seconds)

    def _ticks(self, way: Callable[[float], Float[np.ndarray, "m"]], seconds: float) -> None:
        """Send a way at the adapter's rate, by the clock; its end exactly.

        Where this program was kept waiting, the rest of the way comes later: in a hurry it would be too fast.
        """
        period_s = 1.0 / self.adapter.rate_hz
        count = max(1, int(np.ceil(seconds * self.adapter.rate_hz)))
        start_s = time.monotonic()
        for tick in range(1, count + 1):
            due_s = tick * period_s
            late_s = time.monotonic() - (start_s + due_s - period_s)
            if late_s > period_s:
                start_s += late_s
            self._lead(way(min(due_s, seconds)))
            time.sleep(max(0.0, start_s + due_s - time.monotonic()))

    def _positions(self) -> Float[np.ndarray, "m"]:
        steps = self._motors.read(PRESENT_POSITION)
        return np.array([steps[n] for n in self._motors.numbers]) * _STEP_RAD

    def _send(self, goal: Float[np.ndarray, "m"]) -> None:
        steps = np.round(goal / _STEP_RAD).astype(int)
        self._motors.write(GOAL_POSITION, {n: int(step) for n, step in enumerate(steps)})

    def _set_current(self, current_ma: Float[np.ndarray, "m"]) -> None:
        self._motors.set(GOAL_CURRENT, {n: int(current) for n, current in enumerate(current_ma)})

    def _set_all(self, register: Register, value: int) -> None:
        self._motors.set(register, dict.fromkeys(self._motors.numbers, value))

    def _check_motors(self) -> None:
        found, wanted = self._motors.ping(), self._kind.model_number
        if missing := [n for n in self._motors.numbers if n not in found]:
            joints = ", ".join(f"{n} ({self.adapter.motors[n]})" for n in missing)
            raise ValueError(
                f"{len(found)} of {len(self._motors.numbers)} motors answer at {self._motors.port}; missing: {joints}. "
                "Check power, cables and the motors' numbers."
            )
        if other := {n: model for n, model in found.items() if model != wanted}:
            kinds = {preset.model_number: name for name, preset in self.adapter.presets.items()}
            number, model = next(iter(other.items()))
            known = f"those of preset '{kinds[model]}'" if model in kinds else f"model {model}"
            raise ValueError(
                f"Motor {number} at {self._motors.port} is {known}, and preset '{self.preset}' is for model {wanted}. "
                "Pass the preset of your hand: --motors."
            )

    def _check_faults(self) -> None:
        if faults := self._motors.faults():
            listed = "; ".join(f"{n} ({self.adapter.motors[n]}): {what}" for n, what in faults.items())
            raise ValueError(
                f"Motors at {self._motors.port} report faults: {listed}. They have no torque until they are restarted: "
                "switch the power off and on, and look for what blocks or heats them."
            )
