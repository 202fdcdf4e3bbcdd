"""How many grasps of many scenes are judged: in parallel processes, answers in the order of the questions."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from sceneleapultra.simulation.protocols.model import HandModel
from sceneleapultra.simulation.protocols.motion import pose_from_matrix
from sceneleapultra.simulation.protocols.protocol import Protocol, get_protocol
from sceneleapultra.simulation.protocols.simulator import GraspSimulator
from sceneleapultra.simulation.protocols.verdicts import Verdicts
from sceneleapultra.utils.core.parallel import Executor, LocalExecutor, map_ordered
from sceneleapultra.utils.records import Grasps, ObjectRecord, Outcome, Scene

if TYPE_CHECKING:
    from sceneleapultra.hands import Hand

Job = tuple[Scene, int, Grasps]  # a scene, the number of the target object, grasps in the world frame
_GRASPS_PER_TASK = 16  # small enough to keep all workers busy to the end
_COMPILED_OBJECTS = 4  # per process


def evaluate_grasps(
    hand: "Hand | HandModel",
    scene: Scene,
    grasps: Grasps,
    protocol: str | Protocol = "dgb-fc",
    workers: int = 2,
    target: int = 0,
    stop_at_failure: bool = False,
) -> Verdicts:
    """Evaluate grasps of one object of a scene in processes of this machine; see ``evaluate_many``."""
    jobs, executor = [(scene, target, grasps)], LocalExecutor(workers=workers)
    return evaluate_many(hand, jobs, protocol, executor, stop_at_failure=stop_at_failure)[0]


def evaluate_many(
    hand: "Hand | HandModel",
    jobs: Sequence[Job],
    protocol: str | Protocol,
    executor: Executor,
    progress: Callable[[int], None] | None = None,
    stop_at_failure: bool = False,
) -> list[Verdicts]:
    """Judge each job's grasps by a protocol; the same verdicts wherever they are computed.

    The protocol knows the target object and perhaps a floor: neighbors in the scene are left out.

    Args:
        hand: The hand whose joints the grasps move.
        jobs: Scenes, numbers of the target object, and grasps.
        protocol: A protocol or the name of one.
        executor: Where physics runs.
        progress: Called with the number of grasps done since the last call.
        stop_at_failure: Skip the directions after the first that fails: same success, fewer directions known.

    Raises:
        ValueError: Unknown protocol or target, or grasps of another hand.
    """
    rules = get_protocol(protocol) if isinstance(protocol, str) else protocol
    model = hand if isinstance(hand, HandModel) else HandModel.from_hand(hand)
    for index, job in enumerate(jobs):
        _check(index, job, len(model.joint_names))
    tasks = [
        (scene.objects[target], scene.T_world_object[target], grasps[begin : begin + _GRASPS_PER_TASK])
        for scene, target, grasps in jobs
        for begin in range(0, max(1, len(grasps)), _GRASPS_PER_TASK)
    ]
    judge = _Judge(model, rules, stop_at_failure)
    parts: list[Verdicts] = []
    for part in map_ordered(judge, tasks, executor, describe=lambda task: f"grasps of {task[0].name}"):
        parts.append(part)
        if progress is not None:
            progress(len(part))
    return _regroup(parts, [max(1, -(-len(grasps) // _GRASPS_PER_TASK)) for _, _, grasps in jobs])


class _Judge:
    """Judges grasps in one process; keeps the last objects compiled."""

    def __init__(self, hand: HandModel, protocol: Protocol, stop_at_failure: bool) -> None:
        self.hand, self.protocol, self.stop_at_failure = hand, protocol, stop_at_failure
        self._compiled: OrderedDict[str, GraspSimulator] = OrderedDict()

    def __call__(self, task: tuple[ObjectRecord, Float[np.ndarray, "4 4"], Grasps]) -> Verdicts:
        record, T_world_object, grasps = task
        simulator = self._simulator(record)
        object_pose = pose_from_matrix(T_world_object)
        n, d = len(grasps), len(self.protocol.directions)
        outcome = np.zeros(n, dtype=np.uint8)
        direction_success = np.zeros((n, d), dtype=bool)
        moved, measures = np.full((n, 2), np.nan), np.zeros((n, 5))
        for i in range(n):
            pregrasp, grasp, squeeze = stages(grasps, i)
            verdict = simulator.run(
                pregrasp, grasp, squeeze, object_pose, stop_at_failure=self.stop_at_failure
            )
            outcome[i], direction_success[i] = verdict.outcome, verdict.direction_success
            if np.isfinite(verdict.displacement_m).any():
                moved[i] = np.nanmax(verdict.displacement_m), np.nanmax(verdict.angle_deg)
            m = simulator.metrics(grasp, object_pose)
            measures[i] = (
                m.penetration_m,
                m.self_penetration_m,
                m.contact_links,
                m.contact_distance_m,
                m.contact_consistency_m,
            )
        return Verdicts(
            protocol=self.protocol.name,
            protocol_hash=self.protocol.hash,
            object=(record.name,) * n,
            success=outcome == Outcome.SUCCESS,
            direction_success=direction_success,
            outcome=outcome,
            displacement_m=moved[:, 0],
            angle_deg=moved[:, 1],
            penetration_m=measures[:, 0],
            self_penetration_m=measures[:, 1],
            contact_links=measures[:, 2].astype(int),
            contact_distance_m=measures[:, 3],
            contact_consistency_m=measures[:, 4],
        )

    def _simulator(self, record: ObjectRecord) -> GraspSimulator:
        key = record.name + "".join(str(hash(piece.tobytes())) for piece in record.pieces)
        if key not in self._compiled:
            if len(self._compiled) == _COMPILED_OBJECTS:
                self._compiled.popitem(last=False)
            self._compiled[key] = GraspSimulator(self.hand, record, self.protocol)
        return self._compiled[key]


def stages(grasps: Grasps, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pre-grasp, grasp and squeeze of one grasp as the simulator takes them: [base pose 7, joints]."""
    pose = grasps.hand_pose[index]
    base = np.concatenate([pose[:3], pose[-4:]])
    joints = (grasps.pregrasp_qpos[index], pose[3:-4], grasps.squeeze_qpos[index])
    pregrasp, grasp, squeeze = (np.concatenate([base, q]) for q in joints)
    return pregrasp, grasp, squeeze


def _regroup(parts: list[Verdicts], counts: list[int]) -> list[Verdicts]:
    ends = np.cumsum(counts)
    return [Verdicts.concatenate(parts[end - count : end]) for end, count in zip(ends, counts, strict=True)]


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
