"""How a data set comes about: planned scenes are dropped, rendered and grasped, in parallel, in order, resumably."""

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.spatial.transform import Rotation

from sceneleapultra.hands import Hand
from sceneleapultra.simulation.camera import CameraSettings, render_views
from sceneleapultra.simulation.objects import Progress
from sceneleapultra.simulation.plan import ObjectSettings, ObjectSource, ScenePlan, plan_scenes
from sceneleapultra.simulation.scene import SceneSettings, drop_scene
from sceneleapultra.simulation.synthesis import GraspSettings, Synthesis, synthesize
from sceneleapultra.utils.core.parallel import Executor, map_ordered
from sceneleapultra.utils.records import ObjectRecord, Scene, SceneRecord


@dataclass(frozen=True, kw_only=True)
class GenerateSettings:
    """Everything the content of a data set depends on; ``config/generate.yaml`` explains each setting."""

    seed: int
    splits: dict[str, float]
    table: bool
    views: int
    objects: ObjectSettings
    scene: SceneSettings
    camera: CameraSettings
    grasps: GraspSettings
    synthesis: Synthesis

    def __post_init__(self) -> None:
        _refuse_below("", self, seed=0, views=0)
        _refuse_below(
            "camera.", self.camera, width=1, height=1, object_points=1, table_points=0, oversampling=1
        )
        _refuse_below("grasps.", self.grasps, successes=1, max_attempts=0, batch=1)
        _refuse_below("grasps.robustness.", self.grasps.robustness, trials=0)


def _refuse_below(prefix: str, settings: object, **least: int) -> None:
    """Make sure that whole numbers are large enough, before any work begins.

    Args:
        prefix: of the settings' names on the command line.
        settings: holds them as attributes.
        least: the smallest value that each may have.

    Raises:
        ValueError: one is smaller.
    """
    for name, smallest in least.items():
        if (value := getattr(settings, name)) < smallest:
            raise ValueError(f"{prefix}{name}={value}: expected a whole number of at least {smallest}.")


@dataclass(frozen=True)
class SceneReport:
    """What one scene cost and gave, for progress and summary."""

    index: int
    split: str
    families: tuple[str, ...]  # of its objects
    attempts: tuple[int, ...]  # grasps proposed, per object
    successes: tuple[int, ...]
    dropped_s: float  # processor seconds
    rendered_s: float
    grasped_s: float


def prepare_objects(
    hand: Hand, settings: GenerateSettings, executor: Executor, progress: Progress = lambda *_: None
) -> ObjectSource:
    """Check that the hand is known well enough, and load the objects: all that can be wrong before work begins.

    Raises:
        FileNotFoundError: no objects where the settings say.
        ValueError: the hand's source lacks what the method needs, bad objects, or settings that contradict each other.
    """
    hand.check_semantics(settings.synthesis.needs, "Generating grasps")
    return ObjectSource(settings.objects, settings.splits, settings.seed, executor, progress)


def generate_scenes(
    hand: Hand,
    settings: GenerateSettings,
    source: ObjectSource,
    scenes: int,
    executor: Executor,
    done: Collection[int] = (),
    on_scene: Callable[[SceneReport], None] | None = None,
) -> Iterator[SceneRecord]:
    """Yield the scenes that are not ``done``, in the order of their indices.

    The content of a scene depends on ``settings`` and its index only, not on ``scenes``, ``executor`` or ``done``.

    Args:
        hand: the hand that grasps.
        settings: what to make.
        source: its objects, of :func:`prepare_objects`.
        scenes: how many there will be.
        executor: where scenes are made.
        done: indices made before.
        on_scene: called with the report of each scene before it is yielded.

    Raises:
        ValueError: settings that contradict each other, or fewer than one scene.
    """
    if scenes < 1:
        raise ValueError(f"scenes: expected at least 1, got {scenes}.")
    plans = (plan for plan in plan_scenes(source, scenes) if plan.index not in done)
    make = partial(make_scene, hand, settings, source)
    for record, report in map_ordered(make, plans, executor, describe=lambda plan: f"scene {plan.index}"):
        if on_scene is not None:
            on_scene(report)
        yield record


def make_scene(
    hand: Hand, settings: GenerateSettings, source: ObjectSource, plan: ScenePlan
) -> tuple[SceneRecord, SceneReport]:
    """Make one scene: what one process does at a time."""
    start = time.process_time()
    objects = tuple(source.record(key) for key in plan.objects)
    scene = _lay(objects, settings, np.random.default_rng([plan.seed, 1]))
    dropped = time.process_time()
    views = render_views(scene, settings.views, np.random.default_rng([plan.seed, 2]), settings.camera)
    rendered = time.process_time()
    made = [
        synthesize(
            hand, scene, i, settings.synthesis, settings.grasps, np.random.default_rng([plan.seed, 3, i])
        )
        for i in range(len(scene.objects))
    ]
    record = SceneRecord(
        index=plan.index,
        split=plan.split,
        seed=plan.seed,
        scene=scene,
        views=views,
        labeled=tuple(m.labeled for m in made),
    )
    report = SceneReport(
        index=plan.index,
        split=plan.split,
        families=tuple(o.family for o in scene.objects),
        attempts=tuple(m.attempts for m in made),
        successes=tuple(m.successes for m in made),
        dropped_s=dropped - start,
        rendered_s=rendered - dropped,
        grasped_s=time.process_time() - rendered,
    )
    return record, report


def _lay(objects: tuple[ObjectRecord, ...], settings: GenerateSettings, rng: np.random.Generator) -> Scene:
    if settings.table:
        return drop_scene(objects, rng, settings.scene)
    T = np.eye(4)
    T[:3, :3] = Rotation.random(rng=rng).as_matrix()
    return Scene(objects[:1], T[None], table=False)
