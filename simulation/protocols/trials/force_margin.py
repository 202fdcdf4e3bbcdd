"""Force margin: how hard a squeezed object afloat can be pulled before it is lost, as multiples of its weight."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sceneleapultra.simulation.protocols.motion import displacement
from sceneleapultra.simulation.protocols.spec import Attempt, ObjectModel, WorldSpec
from sceneleapultra.simulation.protocols.trials.base import Approach, Runs, Trial, Verdict
from sceneleapultra.simulation.protocols.world import World
from sceneleapultra.utils.columns import COLUMNS
from sceneleapultra.utils.records import Outcome, Scene

_GRAVITY = 9.81


@dataclass(frozen=True, kw_only=True)
class ForceMargin(Trial):
    """Squeeze as for force closure, then pull along each direction, harder and harder.

    Raises:
        ValueError: multiples that do not rise.
    """

    approach: Approach
    object_mass_kg: float
    multiples: tuple[float, ...]
    required: float
    directions: tuple[tuple[float, float, float], ...]
    steps_per_multiple: int

    columns = (COLUMNS["force_margin"],)

    def __post_init__(self) -> None:
        if not self.multiples or (np.diff(self.multiples, prepend=0.0) <= 0).any():
            raise ValueError(f"multiples: expected rising numbers above 0, got {list(self.multiples)}.")

    @property
    def num_directions(self) -> int:
        """One run for each direction of the force."""
        return len(self.directions)

    def world(self, scene: Scene, target: int) -> WorldSpec:
        """The target alone, of one mass whatever its size, without gravity."""
        model = ObjectModel.from_record(scene.objects[target], self.object_mass_kg)
        return WorldSpec((model,), (target,), table=False, gravity=False)

    def run(self, world: World, attempt: Attempt, *, stop_at_failure: bool) -> Verdict:
        """Squeeze once; the margin is the largest multiple withstood in every direction, 0 for none."""
        runs, details = Runs(self.num_directions), {"force_margin": 0.0}
        rejected, _ = self.approach.reject(world, attempt)
        if rejected is not None:
            return runs.verdict(rejected, details)
        failure = self.approach.squeeze(world, attempt, None)
        world.save()
        margins = []
        for i, direction in enumerate(self.directions):
            if i:
                world.restore()
            margins.append(self._margin(world, attempt, np.asarray(direction, dtype=float)))
            runs.end(i, world, attempt.object_poses[0], self.approach)
            if world.diverged:
                return runs.verdict(Outcome.NOT_RUN, details)
            runs.passed[i] = margins[-1] >= self.required
            if stop_at_failure and not runs.passed[i]:
                break
        held = bool(runs.passed.all())
        return runs.verdict(Outcome.SUCCESS if held else failure, {"force_margin": min(margins)})

    def _margin(self, world: World, attempt: Attempt, direction: np.ndarray) -> float:
        """Pull along one direction; return the last multiple of the weight that the grasp withstood."""
        withstood = 0.0
        for multiple in self.multiples:
            world.push(multiple * _GRAVITY * self.object_mass_kg * direction)
            world.step(self.steps_per_multiple)
            moved = displacement(attempt.object_poses[0], world.target_pose)
            if not self.approach.within_limits(*moved):
                break
            withstood = multiple
        return withstood

    def constants(self) -> Mapping[str, Any]:
        """Return the name of the procedure and every number."""
        return {"trial": "force margin 1", **asdict(self)}
