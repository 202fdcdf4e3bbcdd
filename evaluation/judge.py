"""How a method is judged: its grasps for chosen items go into physics, and clear of what stands around or not."""

from collections.abc import Callable, Sequence

import numpy as np

from sceneleapultra.evaluation.items import Item
from sceneleapultra.evaluation.methods.base import Method, Proposal
from sceneleapultra.evaluation.metrics import top_scored
from sceneleapultra.evaluation.result import MethodResult, Rows
from sceneleapultra.hands import Hand
from sceneleapultra.reporting.results import Role
from sceneleapultra.simulation.collision import scene_clearance
from sceneleapultra.simulation.protocols import Protocol, evaluate_many
from sceneleapultra.utils.core.parallel import Executor
from sceneleapultra.utils.records import Grasps


def judge(
    method: Method,
    items: Sequence[Item],
    k: int,
    *,
    hand: Hand,
    protocol: Protocol,
    executor: Executor,
    min_clearance_m: float,
    keep: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> MethodResult:
    """Sample ``k`` grasps for each item and put them through a protocol.

    A method may know fewer for an item; what it does not return is not tried, and the number of trials shows it.

    Args:
        method: what is tested.
        items: questions, all of one split.
        k: grasps sampled per item.
        hand: the hand that executes them.
        protocol: the physics test.
        executor: where physics runs.
        min_clearance_m: distance to table and neighbors from which a grasp counts as clear.
        keep: judge only this many of each item's samples, the best by score.
        progress: called with the number of grasps done since the last call.

    Raises:
        ValueError: no items, items of several splits, a method that returns more grasps than asked for, or ``keep``
            with a method that gives no scores.
    """
    splits = {item.split for item in items}
    if len(splits) != 1:
        raise ValueError(f"One split is judged at a time; got items of {sorted(splits) or 'none'}.")
    proposals = method.sample_items(items, k)
    for item, proposal in zip(items, proposals, strict=True):
        if len(proposal.grasps) > k:
            raise ValueError(
                f"{method.name} returned {len(proposal.grasps)} grasps for item {item.index}, more than {k}."
            )
    if keep is not None:
        proposals = [_best(proposal, keep) for proposal in proposals]
    jobs = [(item.scene, item.target, p.grasps) for item, p in zip(items, proposals, strict=True)]
    verdicts = evaluate_many(hand, jobs, protocol, executor, progress)
    clearance = np.concatenate([scene_clearance(hand, *job) for job in jobs])
    count = [len(p.grasps) for p in proposals]

    def per_grasp(values: list[str]) -> tuple[str, ...]:
        return tuple(value for value, n in zip(values, count, strict=True) for _ in range(n))

    rows = Rows(
        object_name=per_grasp([item.object.name for item in items]),
        family=per_grasp([item.object.family for item in items]),
        item=np.repeat([item.index for item in items], count),
        success=np.concatenate([v.success for v in verdicts]),
        clear=clearance >= min_clearance_m,
        outcome=np.concatenate([v.outcome for v in verdicts]),
        direction_success=np.concatenate([v.direction_success for v in verdicts]),
        displacement_m=np.concatenate([v.displacement_m for v in verdicts]),
        penetration_m=np.concatenate([v.penetration_m for v in verdicts]),
        self_penetration_m=np.concatenate([v.self_penetration_m for v in verdicts]),
        contact_links=np.concatenate([v.contact_links for v in verdicts]).astype(float),
        clearance_m=clearance,
        score=np.concatenate([p.score for p in proposals]),
    )
    return MethodResult(
        method=method.name if keep is None else f"{method.name}, best {keep} of {k}",
        privileged_inputs=method.privileged_inputs,
        role=method.role if keep is None else Role.SELECTION,
        split=splits.pop(),
        rows=rows,
        grasps=Grasps.concatenate([p.grasps for p in proposals]),
    )


def _best(proposal: Proposal, keep: int) -> Proposal:
    chosen = top_scored(proposal.score, keep)
    return Proposal(proposal.grasps[chosen], proposal.score[chosen])
