"""A trial: the hand closes, and must have the object after a while under real gravity."""

from dataclasses import asdict, dataclass
from typing import Any

from sceneleapultra.simulation.protocols import Attempt, ObjectModel, Verdict, World, WorldSpec
from sceneleapultra.simulation.protocols.trials import Approach, Runs, Trial
from sceneleapultra.utils.columns import Column
from sceneleapultra.utils.records import Outcome, Scene


@dataclass(frozen=True, kw_only=True)
class Hang(Trial):
    """One run: squeeze, then wait."""

    approach: Approach
    steps: int

    columns = (
        Column(
            "sag_m",
            "f8",
            "How far the object sank.",
            unit="m",
            shown_unit="mm",
            reductions=("mean", "median"),
        ),
    )
    num_directions = 1

    def world(self, scene: Scene, target: int) -> WorldSpec:
        """Return a world of the target alone, afloat at first."""
        model = ObjectModel.from_record(scene.objects[target], scene.objects[target].mass)
        return WorldSpec((model,), (target,), table=False, gravity=True)

    def run(self, world: World, attempt: Attempt, *, stop_at_failure: bool) -> Verdict:
        """Squeeze, wait, and look where the object is."""
        runs, start = Runs(1), attempt.object_poses[0]
        failure = self.approach.squeeze(world, attempt, None)
        world.step(self.steps)
        outcome = Outcome.SUCCESS if runs.end(0, world, start, self.approach) else failure
        return runs.verdict(outcome, {"sag_m": start[2] - world.target_pose[2]})

    def constants(self) -> dict[str, Any]:
        """Return the name of the procedure and every number."""
        return {"trial": "hang 1", **asdict(self)}
