"""What any lift of a target does to its neighbors: those that lie on it or lean on it move, whoever lifts it."""

from dataclasses import replace

import numpy as np

from sceneleapultra.simulation.protocols.hand_model import HandModel
from sceneleapultra.simulation.protocols.protocol import Protocol
from sceneleapultra.simulation.protocols.spec import ObjectModel
from sceneleapultra.simulation.protocols.trials.lift_watch import LiftWatch
from sceneleapultra.simulation.protocols.trials.scene_lift import SceneLift
from sceneleapultra.simulation.protocols.world import World
from sceneleapultra.utils.geometry.moves import smooth
from sceneleapultra.utils.records import Scene

_MUCH_HEAVIER = 1000.0


def bare_lift(hand: HandModel, scene: Scene, target: int, protocol: Protocol) -> float:
    """Return how far neighbors move (m) when the target is raised by itself, no hand near it.

    It goes straight up, without turning, as high and in as much time as the protocol lifts, and stays. Beyond
    ``clean.max_neighbor_shift_m`` no lift straight up is clean: something lies on the target, or leans on it, and is to
    be taken first. NaN where the simulation diverges.

    Args:
        hand: of the protocol's world; it stays far above.
        scene: where the objects lie.
        target: number of the object that is raised.
        protocol: a lift out of the scene.

    Raises:
        ValueError: another kind of trial, or a scene without a table.
    """
    lift = protocol.trial
    if not isinstance(lift, SceneLift):
        raise ValueError(
            f"bare_lift: expected a protocol that lifts out of the scene, got {protocol.name}. Take scene-lift."
        )
    spec = lift.world(scene, target)
    world = World(hand, spec, protocol.physics)
    rest = world.settle(spec.poses(scene), round(lift.timing.rest_s / world.timestep_s))
    if rest is None:
        return float("nan")
    # What pushes and carries, and is not pushed back: much heavier than what it carries.
    heavy = ObjectModel.solid(scene.objects[target], _MUCH_HEAVIER * scene.objects[target].mass)
    world = World(hand, replace(spec, objects=(heavy, *spec.objects[1:])), protocol.physics)
    watch = LiftWatch(world, rest)
    world.park(rest)
    steps = round((lift.timing.lift_s + lift.timing.stay_s) / world.timestep_s)
    share = np.minimum(world.timestep_s * np.arange(1, steps + 1) / lift.timing.lift_s, 1.0)
    heights_m = lift.motion.height_m * smooth(share)
    speeds_m_s = np.gradient(heights_m, world.timestep_s)
    for height_m, speed_m_s in zip(heights_m, speeds_m_s, strict=True):
        world.carry_target(rest[0] + [0.0, 0.0, height_m, 0.0, 0.0, 0.0, 0.0], float(speed_m_s))
        world.step(1)
        watch.read_lift(any_object=False)
    return float("nan") if world.diverged else float(np.nan_to_num(watch.neighbor_shift_m))
