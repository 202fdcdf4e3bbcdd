"""How a method is evaluated: its grasps for chosen items go into physics, and are measured against the scene."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from sceneleapultra.evaluation.items import Item
from sceneleapultra.evaluation.methods.base import Method, Proposal
from sceneleapultra.evaluation.metrics import top_scored
from sceneleapultra.evaluation.part_prompts import part_columns
from sceneleapultra.evaluation.results import GraspResults
from sceneleapultra.hands import Hand
from sceneleapultra.reporting.results import Role
from sceneleapultra.simulation.collision import scene_clearance
from sceneleapultra.simulation.protocols import PARTS, Metric, Protocol, evaluate_many
from sceneleapultra.utils.core.parallel import Executor
from sceneleapultra.utils.parts import Part
from sceneleapultra.utils.records import Grasps
from sceneleapultra.utils.verdicts import VerdictTable


def evaluate_method(
    method: Method,
    items: Sequence[Item],
    k: int,
    *,
    hand: Hand,
    protocol: Protocol,
    executor: Executor,
    min_clearance_m: float,
    metrics: Sequence[Metric] = (),
    keep: int | None = None,
    by_part: bool = False,
    progress: Callable[[int], None] | None = None,
) -> GraspResults:
    """Sample ``k`` grasps for each item and put them through a protocol.

    A method may know fewer for an item; what it does not return is not tried, and the number of trials shows it.

    Args:
        method: what is tested.
        items: what it is asked for, all of one split.
        k: grasps sampled per item.
        hand: the hand that executes them.
        protocol: the physics test.
        executor: where physics runs.
        min_clearance_m: distance to table and neighbors from which a grasp counts as collision-free.
        metrics: measured beside the contact metrics.
        keep: evaluate only this many of each item's samples, the best by score.
        by_part: say of each grasp whether it is on the part of its item, and off it.
        progress: called with the number of grasps done since the last call.

    Raises:
        ValueError: no items, items of several splits, a method that returns more grasps than asked for, or ``keep``
            with a method that gives no scores.
    """
    splits = {item.split for item in items}
    if len(splits) != 1:
        raise ValueError(f"One split is evaluated at a time; got items of {sorted(splits) or 'none'}.")
    proposals = method.sample_items(items, k)
    for item, proposal in zip(items, proposals, strict=True):
        if len(proposal.grasps) > k:
            raise ValueError(
                f"{method.name} returned {len(proposal.grasps)} grasps for item {item.index}, more than {k}."
            )
    if keep is not None:
        proposals = [_best(proposal, keep) for proposal in proposals]
    jobs = [(item.scene, item.target, p.grasps) for item, p in zip(items, proposals, strict=True)]
    metrics = (*metrics, *PARTS) if by_part else metrics
    tables = evaluate_many(hand, jobs, protocol, executor, progress, metrics=metrics)
    clearance = np.concatenate([scene_clearance(hand, *job) for job in jobs])
    count = [len(p.grasps) for p in proposals]
    table = VerdictTable.concatenate(tables).with_columns(
        {
            "family": np.repeat([item.object.family for item in items], count),
            "item": np.repeat([item.index for item in items], count),
            "collision_free": clearance >= min_clearance_m,
            "clearance_m": clearance,
            "score": np.concatenate([p.score for p in proposals]),
        }
    )
    if by_part:
        number = np.array([Part.UNNAMED if item.part is None else item.part for item in items], dtype=int)
        table = table.with_columns(part_columns(table, np.repeat(number, count)))
    grasps = Grasps.concatenate([p.grasps for p in proposals])
    if "approach_m" in table.values:
        grasps = replace(grasps, approach=table["approach_m"])
    return GraspResults(
        method=method.name if keep is None else f"{method.name}, best {keep} of {k}",
        privileged_inputs=method.privileged_inputs,
        role=method.role if keep is None else Role.SELECTION,
        split=splits.pop(),
        table=table,
        grasps=grasps,
    )


def _best(proposal: Proposal, keep: int) -> Proposal:
    chosen = top_scored(proposal.score, keep)
    return Proposal(proposal.grasps[chosen], proposal.score[chosen])
