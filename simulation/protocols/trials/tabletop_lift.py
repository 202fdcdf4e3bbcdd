"""Lift from a table: the hand squeezes an object that stands there, under its weight, and lifts it.

Source: DexGraspBench (Chen et al. 2025), setting tabletop, commit 1e7a5a6.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from sceneleapultra.simulation.protocols.spec import Attempt, ObjectModel, WorldSpec
from sceneleapultra.simulation.protocols.trials.base import Approach, Runs, Trial, Verdict
from sceneleapultra.simulation.protocols.world import World
from sceneleapultra.utils.records import Outcome, Scene

_DOWN = (0.0, 0.0, -1.0)


@dataclass(frozen=True, kw_only=True)
class TabletopLift(Trial):
    """Squeeze and lift, one run; the weight is a force on the target, neighbors are left out."""

    approach: Approach
    object_mass_kg: float
    force_n_per_kg: float
    lift_m: float

    @property
    def num_directions(self) -> int:
        """One: down."""
        return 1

    @property
    def weight_n(self) -> Float[np.ndarray, "3"]:
        """Force on the object, world frame."""
        return self.force_n_per_kg * np.asarray(_DOWN) * self.object_mass_kg

    def world(self, scene: Scene, target: int) -> WorldSpec:
        """The target alone on the table, of one mass whatever its size; the hand has no weight."""
        model = ObjectModel.from_record(scene.objects[target], self.object_mass_kg)
        return WorldSpec((model,), (target,), table=True, gravity=False)

    def run(self, world: World, attempt: Attempt, *, stop_at_failure: bool) -> Verdict:
        """Squeeze and lift; the target must come along."""
        runs = Runs(1)
        rejected, details = self.approach.reject(world, attempt)
        if rejected is not None:
            return runs.verdict(rejected, details)
        failure = self.approach.squeeze(world, attempt, self.weight_n)
        raised, goal = attempt.squeeze.copy(), attempt.object_poses[0].copy()
        raised[2] += self.lift_m
        goal[2] += self.lift_m
        self.approach.move(world, attempt.squeeze, raised)
        passed = runs.end(0, world, goal, self.approach)
        if world.diverged:
            return runs.verdict(Outcome.NOT_RUN, details)
        return runs.verdict(Outcome.SUCCESS if passed else failure, details)

    def constants(self) -> Mapping[str, Any]:
        """Return the constants by the names that version 0.1 gave them: hashes of its stores stay valid."""
        own = {k: v for k, v in asdict(self).items() if k != "approach"}
        # 0.1 described this trial as a force closure along one direction that holds for no time and then lifts.
        unused = {"hold_blocks": 0, "hold_steps_per_block": 50}
        fixed = {"directions": (_DOWN,), "force_from_start": True, "floor": True}
        return {**asdict(self.approach), **own, **unused, **fixed}
