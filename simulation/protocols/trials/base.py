"""What a trial is: a procedure that puts one grasp through a world and says how it ended.

A new procedure is one subclass of ``Trial`` and one YAML that names it by ``_target_``, in the project or outside::

    @dataclass(frozen=True, kw_only=True)
    class Hold(Trial):
        approach: Approach
        steps: int

        num_directions = 1

        def world(self, scene, target):
            model = ObjectModel.from_record(scene.objects[target], 0.1)
            return WorldSpec((model,), (target,), table=False, gravity=True)

        def run(self, world, attempt, *, stop_at_failure): ...

        def constants(self):
            return {"trial": "hold 1", **asdict(self)}
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float

from sceneleapultra.simulation.protocols.motion import displacement
from sceneleapultra.simulation.protocols.spec import Attempt, WorldSpec
from sceneleapultra.simulation.protocols.world import World
from sceneleapultra.utils.columns import Column
from sceneleapultra.utils.records import Outcome, Scene


@dataclass(frozen=True)
class Verdict:
    """What happened to one grasp; directions in the trial's order, those not run are False and NaN.

    ``details`` holds what else the trial saw, among it the columns that it declares.
    """

    outcome: Outcome
    direction_success: Bool[np.ndarray, "d"]
    displacement_m: Float[np.ndarray, "d"]  # of the target, where its run stopped
    angle_deg: Float[np.ndarray, "d"]
    target_pose: Float[np.ndarray, "d 7"]
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stable(self) -> bool:
        """Whether the grasp stood the trial."""
        return self.outcome == Outcome.SUCCESS


class Trial(ABC):
    """A procedure with its constants. ``columns`` are those that it fills beside the verdict's own."""

    columns: ClassVar[tuple[Column, ...]] = ()
    # Whether success says that table and neighbors were spared; else the hand's distance to them says it.
    covers_scene: ClassVar[bool] = False

    @property
    @abstractmethod
    def num_directions(self) -> int:
        """How many runs, each with its own success, one grasp gets."""

    @abstractmethod
    def world(self, scene: Scene, target: int) -> WorldSpec:
        """Say which bodies of a scene are in the world, whether there is a table, and gravity."""

    @abstractmethod
    def run(self, world: World, attempt: Attempt, *, stop_at_failure: bool) -> Verdict:
        """Try one grasp, an attempt that the world has prepared.

        ``stop_at_failure`` allows to skip what cannot change the outcome after the first failure.
        """

    @abstractmethod
    def constants(self) -> Mapping[str, Any]:
        """Return all that the verdicts depend on, a name of the procedure included: the hash is made of it."""


@dataclass(frozen=True, kw_only=True)
class Approach:
    """How the hand comes to its squeeze, and what the target may suffer; ``config/protocol`` explains each number."""

    waypoints: int
    steps_per_waypoint: int
    max_penetration_m: float
    max_displacement_m: float
    max_angle_deg: float

    def reject(self, world: World, attempt: Attempt) -> tuple[Outcome | None, dict[str, Any]]:
        """Place the hand at the pre-grasp; return why it is rejected there, if it is, and the depths found."""
        world.reset(attempt.pregrasp, attempt.object_poses)
        depth, depth_self = world.hand_distance("target"), world.hand_distance("hand")
        found: dict[str, Any] = {"pregrasp_distance_object_m": depth, "pregrasp_distance_self_m": depth_self}
        if depth < -self.max_penetration_m:
            return Outcome.PREGRASP_PENETRATION, found
        if depth_self < -self.max_penetration_m:
            return Outcome.SELF_PENETRATION, found
        return None, found

    def squeeze(self, world: World, attempt: Attempt, force_n: Float[np.ndarray, "3"] | None) -> Outcome:
        """Go over the grasp to the squeeze, under a force if there is one; return what a later failure is called."""
        world.reset(attempt.pregrasp, attempt.object_poses)
        if force_n is not None:
            world.push(force_n)
        self.move(world, attempt.pregrasp, attempt.grasp)
        self.move(world, attempt.grasp, attempt.squeeze)
        if not self.within_limits(*displacement(attempt.object_poses[0], world.target_pose)):
            return Outcome.MOVED_IN_SQUEEZE
        return Outcome.SLIPPED if world.hand_distance("target") < 0 else Outcome.NO_CONTACT

    def move(self, world: World, start: Float[np.ndarray, "h"], end: Float[np.ndarray, "h"]) -> None:
        """Lead the hand from one stage to another."""
        world.move(start, end, self.waypoints, self.steps_per_waypoint)

    def within_limits(self, distance_m: float, angle_deg: float) -> bool:
        """Tell whether the target is still where it should be."""
        return bool(distance_m < self.max_displacement_m and angle_deg < self.max_angle_deg)


class Runs:
    """Collects the runs of one grasp, one for each direction."""

    def __init__(self, num_directions: int) -> None:
        n = num_directions
        self.passed = np.zeros(n, dtype=bool)
        self._moved, self._turned = np.full(n, np.nan), np.full(n, np.nan)
        self._poses = np.full((n, 7), np.nan)

    def end(self, direction: int, world: World, goal: Float[np.ndarray, "7"], approach: Approach) -> bool:
        """Note where the target is at the end of a run, against where it should be; return whether it passed."""
        self._poses[direction] = world.target_pose
        moved = displacement(goal, self._poses[direction])
        self._moved[direction], self._turned[direction] = moved
        self.passed[direction] = approach.within_limits(*moved)
        return bool(self.passed[direction])

    def verdict(self, outcome: Outcome, details: Mapping[str, Any]) -> Verdict:
        """Return what happened; a simulation that diverged has passed nothing."""
        if outcome == Outcome.NOT_RUN:
            self.passed[:] = False
        return Verdict(outcome, self.passed, self._moved, self._turned, self._poses, details)
