"""A trial and a metric as somebody else would write them, in a file outside the project."""

TRIAL_PLUGIN = '''
"""The hand closes, and must have the object after a while under real gravity."""

from dataclasses import asdict, dataclass

import numpy as np

from sceneleapultra.simulation.protocols import Metric, ObjectModel, WorldSpec
from sceneleapultra.simulation.protocols.trials import Approach, Runs, Trial
from sceneleapultra.utils.columns import Column
from sceneleapultra.utils.records import Outcome


@dataclass(frozen=True, kw_only=True)
class Hang(Trial):
    approach: Approach
    steps: int

    columns = (
        Column(
            "sag_m", "f8", "How far the object sank.", unit="m", shown_unit="mm", reductions=("mean", "median")
        ),
    )
    num_directions = 1

    def world(self, scene, target):
        model = ObjectModel.from_record(scene.objects[target], scene.objects[target].mass)
        return WorldSpec((model,), (target,), table=False, gravity=True)

    def run(self, world, attempt, *, stop_at_failure):
        runs, start = Runs(1), attempt.object_poses[0]
        failure = self.approach.squeeze(world, attempt, None)
        world.step(self.steps)
        passed = runs.end(0, world, start, self.approach)
        return runs.verdict(Outcome.SUCCESS if passed else failure, {"sag_m": start[2] - world.target_pose[2]})

    def constants(self):
        return {"trial": "hang 1", **asdict(self)}


def palm_height() -> Metric:
    column = Column("palm_height_m", "f8", "Height of the hand above the object.", unit="m", shown_unit="mm")
    return Metric(column, measure)


def measure(state):
    return float(state.world.data.qpos[2] - state.world.target_pose[2])
'''
