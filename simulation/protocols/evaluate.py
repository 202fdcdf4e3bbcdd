"""How many grasps of many scenes are tried: in parallel, answers in the order of the jobs."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sceneleapultra.simulation.protocols.hand_model import HandModel
from sceneleapultra.simulation.protocols.metrics import CONTACT_METRICS, Metric
from sceneleapultra.simulation.protocols.protocol import Protocol, get_protocol
from sceneleapultra.simulation.protocols.simulator import GraspSimulator
from sceneleapultra.simulation.protocols.spec import Attempt, WorldSpec
from sceneleapultra.utils.core.parallel import Executor, LocalExecutor, map_ordered
from sceneleapultra.utils.records import Grasps, Scene
from sceneleapultra.utils.verdicts import VerdictTable

if TYPE_CHECKING:
    from sceneleapultra.hands import Hand

Job = tuple[Scene, int, Grasps]  # a scene, the number of the target object, grasps in the world frame
_GRASPS_PER_TASK = 16  # small enough to keep all workers busy to the end
_COMPILED_WORLDS = 4  # per process


def evaluate_grasps(
    hand: "Hand | HandModel",
    scene: Scene,
    grasps: Grasps,
    protocol: str | Protocol = "dgb-fc",
    workers: int = 2,
    target: int = 0,
    stop_at_failure: bool = False,
) -> VerdictTable:
    """Evaluate grasps of one object of a scene in processes of this machine; see ``evaluate_many``."""
    jobs, executor = [(scene, target, grasps)], LocalExecutor(workers=workers)
    return evaluate_many(hand, jobs, protocol, executor, stop_at_failure=stop_at_failure)[0]


def evaluate_many(
    hand: "Hand | HandModel",
    jobs: Sequence[Job],
    protocol: str | Protocol,
    executor: Executor,
    progress: Callable[[int], None] | None = None,
    *,
    metrics: Sequence[Metric] = (),
    stop_at_failure: bool = False,
) -> list[VerdictTable]:
    """Try each job's grasps by a protocol; the same verdicts wherever they are computed.

    Which bodies of a scene are in the world is the trial's choice: those of DexGraspBench leave neighbors out.

    Args:
        hand: the hand whose joints the grasps move.
        jobs: scenes, numbers of the target object, and grasps.
        protocol: a protocol or the name of one.
        executor: where physics runs.
        progress: called with the number of grasps done since the last call.
        metrics: measured beside the contact metrics.
        stop_at_failure: skip the directions after the first that fails: same outcome, fewer directions known.

    Raises:
        ValueError: unknown protocol or target, or grasps of another hand.
    """
    rules = get_protocol(protocol) if isinstance(protocol, str) else protocol
    model = hand if isinstance(hand, HandModel) else HandModel.from_hand(hand)
    for index, job in enumerate(jobs):
        _check(index, job, len(model.joint_names))
    tasks = [
        (scene, target, grasps[begin : begin + _GRASPS_PER_TASK])
        for scene, target, grasps in jobs
        for begin in range(0, max(1, len(grasps)), _GRASPS_PER_TASK)
    ]
    evaluator = _Evaluator(model, rules, (*CONTACT_METRICS, *metrics), stop_at_failure)
    parts: list[VerdictTable] = []
    for part in map_ordered(
        evaluator, tasks, executor, describe=lambda t: f"grasps of {t[0].objects[t[1]].name}"
    ):
        parts.append(part)
        if progress is not None:
            progress(len(part))
    return _regroup(parts, [max(1, -(-len(grasps) // _GRASPS_PER_TASK)) for _, _, grasps in jobs])


def measure_grasps(
    hand: "Hand | HandModel",
    scene: Scene,
    target: int,
    grasps: Grasps,
    protocol: Protocol,
    metrics: Sequence[Metric],
) -> VerdictTable:
    """Measure grasps of one object of a scene where they are, without trying them.

    Args:
        hand: the hand whose joints the grasps move.
        scene: where the object lies.
        target: number of the object.
        grasps: in the world frame.
        protocol: whose world and contact settings apply.
        metrics: what is measured.
    """
    spec = protocol.trial.world(scene, target)
    simulator, poses = GraspSimulator(hand, spec, protocol), spec.poses(scene)
    measured = [simulator.measure(Attempt.of(grasps, i, poses), metrics) for i in range(len(grasps))]
    values: dict[str, Any] = {"object_name": [scene.objects[target].name] * len(grasps)}
    values |= {m.column.name: [found[m.column.name] for found in measured] for m in metrics}
    return VerdictTable.of(protocol.name, protocol.hash, values, [metric.column for metric in metrics])


class _Evaluator:
    """Evaluates grasps in one process; keeps the last worlds compiled."""

    def __init__(
        self, hand: HandModel, protocol: Protocol, metrics: Sequence[Metric], stop_at_failure: bool
    ) -> None:
        self.hand, self.protocol, self.metrics = hand, protocol, metrics
        self.stop_at_failure = stop_at_failure
        self._compiled: OrderedDict[tuple[object, ...], GraspSimulator] = OrderedDict()

    def __call__(self, job: Job) -> VerdictTable:
        scene, target, grasps = job
        trial = self.protocol.trial
        spec = trial.world(scene, target)
        simulator, poses = self._simulator(spec), spec.poses(scene)
        attempts = [Attempt.of(grasps, i, poses) for i in range(len(grasps))]
        verdicts = [simulator.run(attempt, stop_at_failure=self.stop_at_failure) for attempt in attempts]
        measured = [simulator.measure(attempt, self.metrics) for attempt in attempts]
        n, d = len(grasps), trial.num_directions
        values: dict[str, Any] = {
            "object_name": [scene.objects[target].name] * n,
            "stable": [verdict.stable for verdict in verdicts],
            "direction_success": np.array([v.direction_success for v in verdicts], dtype=bool).reshape(n, d),
            "outcome": [verdict.outcome for verdict in verdicts],
            "displacement_m": [_largest(verdict.displacement_m) for verdict in verdicts],
            "angle_deg": [_largest(verdict.angle_deg) for verdict in verdicts],
        }
        values |= {
            c.name: np.array([verdict.details[c.name] for verdict in verdicts]).reshape(n, *c.row)
            for c in trial.columns
        }
        values |= {m.column.name: [found[m.column.name] for found in measured] for m in self.metrics}
        extra = (*trial.columns, *(metric.column for metric in self.metrics))
        return VerdictTable.of(self.protocol.name, self.protocol.hash, values, extra)

    def _simulator(self, spec: WorldSpec) -> GraspSimulator:
        if spec.key not in self._compiled:
            if len(self._compiled) == _COMPILED_WORLDS:
                self._compiled.popitem(last=False)
            self._compiled[spec.key] = GraspSimulator(self.hand, spec, self.protocol)
        return self._compiled[spec.key]


def _largest(values: np.ndarray) -> float:
    return float(np.nanmax(values)) if np.isfinite(values).any() else float("nan")


def _regroup(parts: list[VerdictTable], counts: list[int]) -> list[VerdictTable]:
    ends = np.cumsum(counts)
    return [
        VerdictTable.concatenate(parts[end - count : end]) for end, count in zip(ends, counts, strict=True)
    ]


def _check(index: int, job: Job, num_joints: int) -> None:
    scene, target, grasps = job
    if not 0 <= target < len(scene.objects):
        raise ValueError(
            f"Job {index}: target {target} is not an object of its scene, which has {len(scene.objects)}."
        )
    shapes = (grasps.hand_pose.shape, grasps.pregrasp_qpos.shape, grasps.squeeze_qpos.shape)
    n = len(grasps.hand_pose)
    if shapes != ((n, 7 + num_joints), (n, num_joints), (n, num_joints)):
        raise ValueError(
            f"Job {index}: expected grasps of a hand with {num_joints} joints, shapes (n, {7 + num_joints}), "
            f"(n, {num_joints}), (n, {num_joints}), got {shapes}. Load the hand the grasps were made for."
        )
