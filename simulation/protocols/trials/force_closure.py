"""Force closure: the hand squeezes an object afloat, which is then pulled along each of several directions.

Source: DexGraspBench (Chen et al. 2025), setting fc, commit 1e7a5a6.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from sceneleapultra.simulation.protocols.motion import displacement
from sceneleapultra.simulation.protocols.spec import Attempt, ObjectModel, WorldSpec
from sceneleapultra.simulation.protocols.trials.base import Approach, Runs, Trial, Verdict
from sceneleapultra.simulation.protocols.world import World
from sceneleapultra.utils.records import Outcome, Scene


@dataclass(frozen=True, kw_only=True)
class ForceClosure(Trial):
    """Squeeze, then a pull along each direction; neighbors and table are left out."""

    approach: Approach
    object_mass_kg: float
    force_n_per_kg: float
    directions: tuple[tuple[float, float, float], ...]
    hold_blocks: int
    hold_steps_per_block: int

    @property
    def num_directions(self) -> int:
        """One run for each direction of the force."""
        return len(self.directions)

    @property
    def forces_n(self) -> Float[np.ndarray, "d 3"]:
        """Force on the object in each direction, world frame."""
        return self.force_n_per_kg * np.asarray(self.directions, dtype=float) * self.object_mass_kg

    def world(self, scene: Scene, target: int) -> WorldSpec:
        """The target alone, of one mass whatever its size, without gravity."""
        model = ObjectModel.from_record(scene.objects[target], self.object_mass_kg)
        return WorldSpec((model,), (target,), table=False, gravity=False)

    def run(self, world: World, attempt: Attempt, *, stop_at_failure: bool) -> Verdict:
        """Squeeze once, and continue from there in every direction.

        Pre-grasp, grasp and squeeze do not depend on the direction, so they are simulated once; each direction gives,
        bit for bit, what it would give alone.
        """
        runs, blocks = Runs(self.num_directions), np.zeros(self.num_directions, dtype=int)
        rejected, details = self.approach.reject(world, attempt)
        details = {**details, "blocks": blocks}
        if rejected is not None:
            return runs.verdict(rejected, details)
        outcome = Outcome.SUCCESS
        failure = self.approach.squeeze(world, attempt, None)
        world.save()
        for i, force_n in enumerate(self.forces_n):
            if i:
                world.restore()
            blocks[i] = self._blocks_held(world, attempt.object_poses[0], force_n)
            passed = runs.end(i, world, attempt.object_poses[0], self.approach)
            if world.diverged:
                return runs.verdict(Outcome.NOT_RUN, details)
            if not passed:
                outcome = failure
                if stop_at_failure:
                    break
        return runs.verdict(outcome, details)

    def _blocks_held(
        self, world: World, start: Float[np.ndarray, "7"], force_n: Float[np.ndarray, "3"]
    ) -> int:
        """Pull until the hold is over or the object lost; return the number of blocks run."""
        world.push(force_n)
        for block in range(self.hold_blocks):
            world.step(self.hold_steps_per_block)
            if not self.approach.within_limits(*displacement(start, world.target_pose)):
                return block + 1
        return self.hold_blocks

    def constants(self) -> Mapping[str, Any]:
        """Return the constants by the names that version 0.1 gave them: hashes of its stores stay valid."""
        own = {k: v for k, v in asdict(self).items() if k != "approach"}
        return {**asdict(self.approach), **own, "force_from_start": False, "floor": False, "lift_m": 0.0}
