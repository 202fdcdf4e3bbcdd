"""Self-training data: a model's grasps for the objects of a store, tested in simulation and kept with their verdicts.

A score head that has only seen the grasps of a data generator ranks a model's grasps outside its training distribution
(Murali et al. 2025, GraspGen, train their discriminator on their generator's samples for this reason); and the grasps
that were stable are training data for the model itself.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sceneleapultra.hands import Hand
from sceneleapultra.models import GraspModel, SampledGrasps
from sceneleapultra.simulation.collision import scene_clearance
from sceneleapultra.simulation.protocols import GRASP_LABELS, Protocol, evaluate_many
from sceneleapultra.simulation.protocols.evaluate import Job
from sceneleapultra.utils.core.parallel import Executor
from sceneleapultra.utils.core.seeding import keyed_seed
from sceneleapultra.utils.records import Grasps, GraspType, LabeledGrasps, Outcome, SceneRecord, View
from sceneleapultra.utils.requests import GraspRequest
from sceneleapultra.utils.verdicts import VerdictTable

_SCENES_AT_ONCE = 16  # tested together


@dataclass(frozen=True, kw_only=True)
class SelfTrainingSettings:
    """What is sampled and tested.

    Args:
        per_object: grasps of each object that are tested.
        candidates: grasps of each object that are sampled; the best by the rank of ``sampling`` that differ
            are tested (:meth:`~sceneleapultra.models.SampledGrasps.best`): what becomes of two alike is one lesson.
        temperatures: scales of the initial noise; each object gets one of them.
        squeeze_gains: factors on the predicted squeeze; each object gets one of them.
        sampling: changes of the model's own sampling, by name.
        min_points: objects with fewer visible points are left out.
        splits: scenes of other splits stay as they are.
        seed: of every choice.

    Raises:
        ValueError: a number that makes no sense.
    """

    per_object: int
    candidates: int
    temperatures: tuple[float, ...]
    squeeze_gains: tuple[float, ...]
    sampling: dict[str, Any]
    min_points: int
    splits: tuple[str, ...]
    seed: int

    def __post_init__(self) -> None:
        if self.per_object < 1 or not self.temperatures or not self.squeeze_gains:
            raise ValueError(
                f"per_object={self.per_object}, temperatures={self.temperatures}, squeeze_gains={self.squeeze_gains}: "
                "expected at least one grasp, one temperature and one gain."
            )
        rank = self.sampling.get("rank")
        if self.candidates < self.per_object or (self.candidates > self.per_object and rank == "none"):
            raise ValueError(
                f"candidates={self.candidates}, rank={rank}: expected as many candidates as are tested, "
                f"per_object={self.per_object}, or more and a rank to choose by."
            )


def add_tested_grasps(
    records: Iterator[SceneRecord],
    model: GraspModel,
    settings: SelfTrainingSettings,
    *,
    hand: Hand,
    protocol: Protocol,
    executor: Executor,
    progress: Callable[[int], None] | None = None,
) -> Iterator[SceneRecord]:
    """Yield the scenes with the model's tested grasps behind those they had, sampled from one view of each object.

    What is added to a scene depends on the scene, the model and the settings only.

    Args:
        records: scenes.
        model: called as a user's program calls it.
        settings: what is sampled.
        hand: executes the grasps.
        protocol: tests them; grasps that collide with the scene are tested, too.
        executor: where physics runs.
        progress: called with the number of grasps done since the last call.
    """
    for group in _groups(records, _SCENES_AT_ONCE):
        for i, record in enumerate(group):
            parts = zip(record.labeled, record.scene.objects, strict=True)
            had = tuple(_of_directions(part, protocol.trial.num_directions, o.name) for part, o in parts)
            group[i] = replace(record, labeled=had)
        requests = [
            (i, target, view)
            for i, record in enumerate(group)
            for target, view in chosen_views(record, settings)
        ]
        jobs = [
            (
                group[i].scene,
                target,
                propose_grasps(group[i], target, view, model, settings).best(settings.per_object).grasps,
            )
            for i, target, view in requests
        ]
        for own, (i, target, _) in zip(
            run_trials(hand, jobs, protocol, executor, progress), requests, strict=True
        ):
            labeled = list(group[i].labeled)
            labeled[target] = LabeledGrasps.concatenate([labeled[target], own])
            group[i] = replace(group[i], labeled=tuple(labeled))
        yield from group


def run_trials(
    hand: Hand,
    jobs: Sequence[Job],
    protocol: Protocol,
    executor: Executor,
    progress: Callable[[int], None] | None = None,
) -> list[LabeledGrasps]:
    """Put the grasps of each job through a protocol; see :func:`add_tested_grasps`."""
    verdicts = evaluate_many(
        hand, jobs, protocol, executor, progress, metrics=GRASP_LABELS, stop_at_failure=True
    )
    covers = protocol.trial.covers_scene
    return [
        label_grasps(job[2], verdict, scene_clearance(hand, *job), covers_scene=covers)
        for job, verdict in zip(jobs, verdicts, strict=True)
    ]


def label_grasps(
    grasps: Grasps, table: VerdictTable, clearance_m: np.ndarray, *, covers_scene: bool
) -> LabeledGrasps:
    """Put a verdict of physics and the distance to the scene together: success is both.

    Where the verdict ``covers_scene``, table and neighbors included, it is all. The type of a grasp is unknown where it
    was not measured.
    """
    stable, collision_free = table["stable"], covers_scene | (clearance_m >= 0.0)
    outcome = np.where(stable & ~collision_free, Outcome.SCENE_COLLISION, table["outcome"]).astype(np.uint8)
    return LabeledGrasps(
        grasps=grasps,
        success=stable & collision_free,
        direction_success=table["direction_success"],
        outcome=outcome,
        penetration_m=table["penetration_m"],
        self_penetration_m=table["self_penetration_m"],
        clearance_m=clearance_m,
        robustness=np.full(len(grasps), np.nan),
        grasp_type=table.values.get("grasp_type", np.full(len(grasps), GraspType.UNKNOWN, np.uint8)),
        held_part=table.values.get("held_part", np.zeros(len(grasps), np.uint8)),
        touched_parts=table.values.get("touched_parts", np.zeros(len(grasps), np.uint16)),
        disturbance=table.values.get("disturbance", np.full(len(grasps), np.nan)),
    )


def _of_directions(labeled: LabeledGrasps, directions: int, name: str) -> LabeledGrasps:
    """Return what an object has as one with verdicts of this protocol's directions."""
    if (had := labeled.direction_success.shape[1]) == directions:
        return labeled
    if len(labeled):
        raise ValueError(
            f"{name} has grasps tested in {had} directions, this protocol tests {directions}. Take scenes without "
            "grasps (grasps.max_attempts=0), or the protocol that the store was made with."
        )
    return replace(labeled, direction_success=np.zeros((0, directions), dtype=bool))


def _groups(records: Iterator[SceneRecord], size: int) -> Iterator[list[SceneRecord]]:
    group: list[SceneRecord] = []
    for record in records:
        group.append(record)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def chosen_views(record: SceneRecord, s: SelfTrainingSettings) -> Iterator[tuple[int, int]]:
    """Yield the number of each object that a view shows enough of, and the view that was drawn for it."""
    if record.split not in s.splits:
        return
    rng = np.random.default_rng([s.seed, record.index, 0])
    for target in range(len(record.scene.objects)):
        visible = [
            v for v, view in enumerate(record.views) if (view.instance == target + 1).sum() >= s.min_points
        ]
        if visible:
            yield target, visible[int(rng.integers(len(visible)))]


def request_of(view: View, target: int, *, colors: bool) -> GraspRequest:
    """Return what a model is asked for an object of a scene under a view."""
    return GraspRequest(
        points=view.points,
        object_mask=view.instance == target + 1,
        viewpoint=view.T_world_cam[:3, 3],
        up=np.array([0.0, 0.0, 1.0]),
        rgb=view.rgb if colors else None,
    )


def propose_grasps(
    record: SceneRecord, target: int, view: int, model: GraspModel, s: SelfTrainingSettings
) -> SampledGrasps:
    """Return the candidates of an object of a scene, in the order of their rank."""
    rng = np.random.default_rng([s.seed, record.index, 1, target])
    return model.sample_request(
        request_of(record.views[view], target, colors=model.uses_color),
        s.candidates,
        seed=keyed_seed(s.seed, record.index, target),
        sampling={
            **s.sampling,
            "temperature": float(rng.choice(s.temperatures)),
            "squeeze_gain": float(rng.choice(s.squeeze_gains)),
        },
    )
