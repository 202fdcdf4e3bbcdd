"""Predicted grasps tried in simulation, where the scene is known."""

from sceneleapultra.evaluation.items import Item
from sceneleapultra.hands import Hand
from sceneleapultra.models.sampled_grasps import SampledGrasps
from sceneleapultra.simulation.collision import scene_clearance
from sceneleapultra.simulation.protocols import evaluate_many
from sceneleapultra.utils.core.console import ProgressBars
from sceneleapultra.utils.core.parallel import LocalExecutor
from sceneleapultra.utils.core.stats import wilson_interval
from sceneleapultra.utils.verdicts import VerdictTable


def try_grasps(item: Item, made: SampledGrasps, hand: Hand, protocol: str, workers: int) -> VerdictTable:
    """Try grasps by a protocol.

    Args:
        item: the true scene, and the object.
        made: grasps in the world frame.
        hand: on the processor.
        protocol: name of the protocol.
        workers: processes.
    """
    grasps = made.grasps
    with ProgressBars(transient=True) as bars:
        advance = bars.start_bar(f"testing, {protocol}", len(grasps))
        jobs = [(item.scene, item.target, grasps)]
        (verdicts,) = evaluate_many(hand, jobs, protocol, LocalExecutor(workers=workers), advance)
    clearance = scene_clearance(hand, item.scene, item.target, grasps)
    return verdicts.with_columns({"clearance_m": clearance, "collision_free": clearance >= 0.0})


def describe_tests(verdicts: VerdictTable) -> str:
    """Say how many grasps succeeded, with the Wilson interval in percent, and whether the best one did."""
    lifted = "picked" in verdicts.values
    success, rest = ("picked", "picked_cleanly") if lifted else ("stable", "collision_free")
    rows, n = verdicts[success], len(verdicts)
    both = int((rows & verdicts[rest]).sum())
    low, high = (100 * x for x in wilson_interval(int(rows.sum()), n))
    return (
        f"{verdicts.protocol}: {int(rows.sum())} of {n} {success}, {100 * rows.mean():.0f} % [{low:.0f}, {high:.0f}]; "
        f"{both} of them {'cleanly' if lifted else 'collision-free'}; the best-scored one is "
        f"{'' if rows[0] else 'not '}{success}"
    )
