"""Lift out of a scene: table and all objects under gravity; the hand approaches, closes, lifts and holds.

``picked``: the target is up at the end. ``picked_cleanly``, the trial's success: and nothing beside it was pressed hard
or shoved. An outcome names the first cause that applies, see ``SceneLift.outcome``.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from sceneleapultra.simulation.protocols.motion import interpolate_stage, shifted
from sceneleapultra.simulation.protocols.spec import Attempt, Surroundings, WorldSpec
from sceneleapultra.simulation.protocols.trials.approach_choice import ApproachChoice
from sceneleapultra.simulation.protocols.trials.base import Trial, Verdict
from sceneleapultra.simulation.protocols.trials.lift_settings import (
    CleanRule,
    LiftMotion,
    LiftTiming,
    ObjectWeight,
    PickRule,
)
from sceneleapultra.simulation.protocols.trials.lift_watch import LiftWatch
from sceneleapultra.simulation.protocols.world import World
from sceneleapultra.utils.columns import COLUMNS
from sceneleapultra.utils.geometry.moves import smooth
from sceneleapultra.utils.records import Outcome, Scene


@dataclass(frozen=True, kw_only=True)
class SceneLift(Trial):
    """One run; grasps without an approach get one, chosen with the true scene."""

    weight: ObjectWeight
    surroundings: Surroundings
    approach: ApproachChoice
    timing: LiftTiming
    motion: LiftMotion
    pick: PickRule
    clean: CleanRule
    frozen_until_lift: bool

    columns = tuple(COLUMNS[name] for name in ("picked_cleanly", "picked", "disturbance", *LiftWatch.columns))
    covers_scene = True

    @property
    def num_directions(self) -> int:
        """One: up."""
        return 1

    def world(self, scene: Scene, target: int) -> WorldSpec:
        """The target and all its neighbors on the table.

        Raises:
            ValueError: a scene without a table.
        """
        if not scene.table:
            raise ValueError(
                f"{scene.objects[target].name} floats alone: it can be lifted from a table only. Use scenes with a "
                "table, or protocol=dgb-fc."
            )
        numbers = (target, *(i for i in range(len(scene.objects)) if i != target))
        models = tuple(self.weight.model(scene.objects[i]) for i in numbers)
        return WorldSpec(models, numbers, table=True, gravity=True, surroundings=self.surroundings)

    def run(self, world: World, attempt: Attempt, *, stop_at_failure: bool) -> Verdict:
        """Approach, close, squeeze, lift and hold; stop where nothing that follows can change the outcome."""
        rest = world.settle(attempt.object_poses, round(self.timing.rest_s / world.timestep_s))
        if rest is None:
            return self._verdict(LiftWatch(world, attempt.object_poses), Outcome.NOT_RUN)
        offset, depth = self.approach.choose(world, attempt, rest)
        watch = LiftWatch(world, rest, approach_m=offset)
        if depth > self.approach.max_start_depth_m:
            return self._verdict(watch, Outcome.START_BLOCKED)
        with world.sleep.all():
            world.reset(shifted(attempt.pregrasp, offset), rest)
            with world.weightless() if self.frozen_until_lift else nullcontext():
                self._close(world, attempt, watch)
            if watch.held or not self.pick.touched:
                self._lift(world, attempt, watch)
        if world.diverged:
            return self._verdict(watch, Outcome.NOT_RUN)
        return self._verdict(watch, self.outcome(watch))

    def outcome(self, watch: LiftWatch) -> Outcome:
        """Return how a try ended: the first cause that applies."""
        clean, pick = self.clean, self.pick
        if clean.max_force_n is not None and watch.table_force_n > clean.max_force_n:
            return Outcome.TABLE_FORCE
        if clean.max_force_n is not None and watch.neighbor_force_n > clean.max_force_n:
            return Outcome.NEIGHBOR_FORCE
        if clean.max_neighbor_shift_m is not None and watch.neighbor_shift_m > clean.max_neighbor_shift_m:
            return Outcome.NEIGHBOR_SHOVED
        if self._picked(watch):
            return Outcome.SUCCESS
        moved, turned = watch.target_shift_m, watch.target_turn_deg
        if moved > clean.max_target_shift_m or turned > clean.max_target_turn_deg:
            return Outcome.TARGET_SHOVED
        if watch.closing_force_n > clean.max_closing_force_n:
            return Outcome.FINGERS_ON_TABLE
        if not watch.held:
            return Outcome.NO_CONTACT
        return Outcome.SLIPPED if watch.peak_rise_m >= pick.give_up_rise_m else Outcome.NOT_LIFTED

    def _close(self, world: World, attempt: Attempt, watch: LiftWatch) -> None:
        """Bring the hand to the grasp and squeeze."""
        t = self.timing
        start = shifted(attempt.pregrasp, watch.approach_m)
        for stage in self._way(start, attempt.pregrasp, t.approach_s, t.wait_s):
            self._step(world, stage)
            watch.read_approach()
        watch.end_approach()
        closing = (
            *self._way(attempt.pregrasp, attempt.grasp, t.close_s, 0.0),
            *self._way(attempt.grasp, attempt.squeeze, t.squeeze_s, t.settle_s),
        )
        for stage in closing:
            self._step(world, stage)
            watch.read_closing()
        watch.end_closing()

    def _step(self, world: World, stage: Float[np.ndarray, "h"]) -> None:
        self._lead(world, stage)
        if self.frozen_until_lift:
            world.stop_objects()

    def _lift(self, world: World, attempt: Attempt, watch: LiftWatch) -> None:
        """Lift, hold and shake; give up when the target stays behind or is lost."""
        up = self.motion.height_m * self._lift_direction(watch.approach_m)
        raised = shifted(attempt.squeeze, up)
        lifting = self._way(attempt.squeeze, raised, self.timing.lift_s, 0.0)
        for number, stage in enumerate(lifting, start=1):
            self._lead(world, stage)
            watch.read_lift(any_object=self.pick.any_object)
            late = number > self.pick.give_up_share * len(lifting)
            if late and watch.rise_m < self.pick.give_up_rise_m:
                watch.end()
                return
        self._stay(world, raised, watch)
        watch.end(goal_m=up)

    def _stay(self, world: World, raised: Float[np.ndarray, "h"], watch: LiftWatch) -> None:
        """Hold the target until it is still, or the time is over, and shake it; stop when it is lost."""
        t = self.timing
        reads, places = round(t.still_s / t.read_s), [world.target_pose[:3].copy()]
        for _ in range(round(t.stay_s / t.read_s)):
            self._lead(world, raised)
            watch.read_lift(any_object=self.pick.any_object)
            places.append(world.target_pose[:3].copy())
            still = len(places) > reads and np.linalg.norm(places[-1] - places[-1 - reads]) < t.still_m
            if still or self._lost(watch):
                break
        for offset in self._shaking():
            if self._lost(watch):
                break
            self._lead(world, shifted(raised, offset))
            watch.read_lift(any_object=self.pick.any_object)

    def _lost(self, watch: LiftWatch) -> bool:
        return watch.rise_m < self.pick.min_rise_m and not watch.touched()

    def _lead(self, world: World, stage: Float[np.ndarray, "h"]) -> None:
        world.sleep.update()
        world.lead(stage, round(self.timing.read_s / world.timestep_s))

    def _lift_direction(self, approach_m: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3"]:
        """Back along the approach where that is steep enough, else straight up."""
        back = approach_m / max(float(np.linalg.norm(approach_m)), 1e-9)
        steep = back[2] >= np.cos(np.deg2rad(self.motion.max_tilt_deg))
        return back if steep and self.motion.max_tilt_deg > 0 else np.array([0.0, 0.0, 1.0])

    def _shaking(self) -> list[Float[np.ndarray, "3"]]:
        """Return how far the hand is from its place at each read, shaken along x, then along y."""
        m, t = self.motion, self.timing
        phase = 2 * np.pi * m.shake_hz * t.read_s * np.arange(1, round(m.shake_s / t.read_s) + 1)
        shake = m.shake_m * np.sin(phase)
        return [s * axis for axis in np.eye(3)[:2] for s in shake]

    def _way(
        self, start: Float[np.ndarray, "h"], end: Float[np.ndarray, "h"], seconds: float, wait_s: float
    ) -> list[Float[np.ndarray, "h"]]:
        """Return the targets of a smooth move, one for each read, and of a wait at its end."""
        share = np.linspace(0.0, 1.0, round(seconds / self.timing.read_s) + 1)[1:]
        moving = [interpolate_stage(start, end, float(fraction)) for fraction in smooth(share)]
        return moving + [end] * round(wait_s / self.timing.read_s)

    def _picked(self, watch: LiftWatch) -> bool:
        return watch.rise_m >= self.pick.min_rise_m and (watch.touching or not self.pick.touched)

    def _verdict(self, watch: LiftWatch, outcome: Outcome) -> Verdict:
        ran, success = outcome != Outcome.NOT_RUN, outcome == Outcome.SUCCESS
        details = {
            "picked": ran and self._picked(watch),
            "picked_cleanly": success,
            "disturbance": self.clean.disturbance(watch) if ran else np.nan,
            **{name: getattr(watch, name) for name in LiftWatch.columns},
        }
        return Verdict(
            outcome,
            np.array([details["picked"]]),
            np.array([watch.missed_m]),
            np.array([watch.turn_in_hand_deg]),
            watch.target_pose[None],
            details,
        )

    def constants(self) -> Mapping[str, Any]:
        """Return the name of the procedure and every number."""
        return {"trial": "scene lift 1", **asdict(self)}
