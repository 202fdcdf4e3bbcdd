"""A camera over a cluttered table, called rightly and wrongly: what is refused, warned of, and what holds in physics.

    python -m benchmarks.camera --real <folder of real meshes> --json benchmarks/results/camera.json
    python -m benchmarks.camera --example model_zoo/example_view.npz --store model_zoo/example_scene.h5 --object 6

Each call of the Python API gets a simulated depth image (424 x 240, millimetres, a table that ends, a floor beyond).
Grasps that are returned are judged in the true scene: stable by the protocol, and touching neither table nor neighbors.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import command_line, table, write
from benchmarks.simulated_views import DEPTH_SCALE, SimulatedView, depth_image, real_targets, simulated_view
from sceneleapultra.evaluation.methods.training_index import transform_grasps
from sceneleapultra.evaluation.requests import request_from_store
from sceneleapultra.models import GraspModel, load_grasp_model
from sceneleapultra.simulation.collision import scene_clearance
from sceneleapultra.simulation.protocols import evaluate_many
from sceneleapultra.utils.core.parallel import LocalExecutor, map_ordered
from sceneleapultra.utils.core.stats import wilson_interval
from sceneleapultra.utils.records import Grasps, Scene
from sceneleapultra.utils.requests import GraspRequest, Target

Call = Callable[[SimulatedView], GraspRequest]
_LEVEL, _FLIP = (0.0, -1.0, 0.0), np.array([1.0, -1.0, -1.0])


def _image(view: SimulatedView, target: Target, up: Any = None) -> GraspRequest:
    return GraspRequest.from_depth(view.depth, view.K, depth_scale=DEPTH_SCALE, target=target, up=up)


def _masked(view: SimulatedView, mask: Any = None, up: Any = None) -> GraspRequest:
    return _image(view, Target(mask=view.mask if mask is None else mask), view.up if up is None else up)


def _cloud(view: SimulatedView, scale: float = 1.0, flip: bool = False, **settings: Any) -> GraspRequest:
    """Pass the points of the image as a list, with the true mask."""
    whole = _masked(view)
    points = whole.points * scale * (_FLIP if flip else 1.0)
    return GraspRequest.from_points(points, target=Target(mask=whole.object_mask), **settings)


# What somebody may call; the first is the reference, the right ones are compared with it.
RIGHT: Mapping[str, Call] = {
    "mask, true up": _masked,
    "depth, intrinsics and a pixel": lambda v: _image(v, Target(pixel=v.pixel)),
}
WRONG: Mapping[str, Call] = {
    "mask, up of a level camera": lambda v: _masked(v, up=_LEVEL),
    "mask, up flipped": lambda v: _masked(v, up=-v.up),
    "RealSense Viewer's .ply (y, z negated), up of a level camera": lambda v: _cloud(v, flip=True, up=_LEVEL),
    "RealSense Viewer's .ply (y, z negated), nothing else": lambda v: _cloud(v, flip=True),
    "mask, viewpoint 5 m behind": lambda v: _cloud(v, up=v.up, viewpoint=(0.0, 0.0, -5.0)),
    "nothing said, four objects": lambda v: _image(v, Target()),
    "mask inverted": lambda v: _masked(v, ~v.mask),
    "mask of logits": lambda v: _masked(v, np.where(v.mask, 3.0, -4.0)),
    "mask of probabilities": lambda v: _masked(v, np.where(v.mask, 0.8, 0.1)),
    "cloud x 0.001": lambda v: _cloud(v, 0.001, up=v.up),
    "cloud x 0.1": lambda v: _cloud(v, 0.1, up=v.up),
    "cloud x 4": lambda v: _cloud(v, 4.0, up=v.up),
    "cloud x 1000": lambda v: _cloud(v, 1000.0, up=v.up),
}


@dataclass(frozen=True)
class Outcome:
    """What one call gave in one scene."""

    what: str  # refused, warned or silent
    sentences: tuple[str, ...]
    job: tuple[Scene, int, Grasps] | None = None  # to be tested in the true scene
    expected: float | None = None  # the model's own odds of its best grasp
    overlap: float | None = None  # of the chosen points with the target's: intersection over union


@dataclass(frozen=True)
class SceneCalls:
    """Makes every call in one scene; a task of an executor."""

    checkpoint: str
    reals: tuple[Path, ...]
    seed: int
    grasps: int  # of a right call
    evaluated: int  # scenes in which wrong calls get half as many; none elsewhere

    def __call__(self, index: int) -> dict[str, Outcome]:
        """Return the outcome of each call."""
        model, view = _model(self.checkpoint), simulated_view(index, self.reals, self.seed)
        few = self.grasps // 2 if index < self.evaluated else 0
        outcomes = {name: call(view, make, model, self.grasps) for name, make in RIGHT.items()}
        for name, make in WRONG.items():
            # Grasps of a scaled cloud mean nothing in the true scene.
            outcomes[name] = call(view, make, model, 0 if name.startswith("cloud") else few)
        return outcomes


@functools.cache
def _model(checkpoint: str) -> GraspModel:
    return load_grasp_model(checkpoint)


def call(view: SimulatedView, make: Call, model: GraspModel, num_grasps: int) -> Outcome:
    """Make one call; without grasps where none are asked for."""
    try:
        request = make(view)
        sentences = model.check(request)
    except ValueError as error:
        return Outcome("refused", (str(error),))
    if num_grasps == 0:
        return Outcome("warned" if sentences else "silent", sentences)
    made = model.sample_request(request, num_grasps, sampling={"guidance": "score", "temperature": 0.2})
    sentences += (made.expectation,) if made.expectation else ()
    T_cam_cloud = np.eye(4)
    if (request.points[:, 2] < 0).all():  # y and z are negated
        T_cam_cloud[:3, :3] = np.diag(_FLIP)
    grasps = made.grasps
    assert made.p_success is not None
    return Outcome(
        what="warned" if sentences else "silent",
        sentences=sentences,
        job=(view.scene, 0, transform_grasps(grasps, view.T_world_cam @ T_cam_cloud)),
        expected=round(float(made.p_success.max()), 3),
        overlap=_overlap(view, request),
    )


def _overlap(view: SimulatedView, request: GraspRequest) -> float | None:
    true = view.mask[view.depth > 0]
    if len(true) != len(request.points):
        return None
    return round(float((true & request.object_mask).sum() / (true | request.object_mask).sum()), 3)


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return how many were refused, warned of and silent, with the commonest sentences by their beginnings."""
    common = Counter(sentence[:140] for o in outcomes for sentence in o.sentences).most_common(3)
    return {
        **{what: sum(o.what == what for o in outcomes) for what in ("refused", "warned", "silent")},
        "sentences": [sentence for sentence, _ in common],
        "best_expected": [o.expected for o in outcomes if o.expected is not None],
        "overlap": [o.overlap for o in outcomes if o.overlap is not None],
    }


def measure(jobs_by_scene: list[Any], hand: Any, protocol: str, workers: int) -> dict[str, Any]:
    """Return how many grasps hold, and hold and touch nothing else, in the true scenes; scenes may have none."""
    jobs = [job for job in jobs_by_scene if job is not None]
    tables = evaluate_many(hand, jobs, protocol, LocalExecutor(workers=workers))
    stable = np.concatenate([t["stable"] for t in tables])
    free = np.concatenate([scene_clearance(hand, s, k, g) >= 0.0 for s, k, g in jobs])
    both = stable & free
    low, high = wilson_interval(int(both.sum()), len(both))
    each = np.split(both, np.cumsum([len(t["stable"]) for t in tables])[:-1])
    rates = iter([round(float(x.mean()), 4) for x in each])
    return {
        "grasps": len(both),
        "stable": round(float(stable.mean()), 4),
        "stable_and_collision_free": round(float(both.mean()), 4),
        "interval": [round(low, 4), round(high, 4)],
        "by_scene": [None if job is None else next(rates) for job in jobs_by_scene],
    }


def paired_difference(
    one: Sequence[float | None], other: Sequence[float | None], seed: int
) -> dict[str, Any]:
    """Return the mean of the second minus the first over the scenes of both, with its 95 % interval by bootstrap."""
    difference = np.array([b - a for a, b in zip(one, other, strict=True) if a is not None and b is not None])
    drawn = np.random.default_rng(seed).integers(0, len(difference), (10_000, len(difference)))
    low, high = np.percentile(difference[drawn].mean(1), (2.5, 97.5))
    return {
        "scenes": len(difference),
        "difference": round(float(difference.mean()), 4),
        "interval": [round(float(low), 4), round(float(high), 4)],
    }


def write_example(path: Path, store: Path, number: int | None, seed: int) -> None:
    """Write a small depth image of a data set's first view, with the mask of an object."""
    _, item = request_from_store(store, number)
    rng = np.random.default_rng([seed, 0])
    depth, mask, K = depth_image(item.scene, item.target, item.view.T_world_cam, rng, 320, 240)
    np.savez_compressed(path, depth=depth, depth_scale=DEPTH_SCALE, K=K, mask=mask)


def main() -> None:
    """Measure and print."""
    parser = command_line(__doc__)
    parser.add_argument("--checkpoint", default="leap_table")
    parser.add_argument(
        "--real", type=Path, default=None, help="folder of real meshes, for a third of the targets"
    )
    parser.add_argument("--scenes", type=int, default=20)
    parser.add_argument("--grasps", type=int, default=16, help="of a right call; a wrong one gets half")
    parser.add_argument(
        "--evaluated", type=int, default=3, help="scenes in which grasps of wrong calls are judged"
    )
    parser.add_argument("--protocol", default="dgb-fc-quick")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument(
        "--example", type=Path, default=None, help="write a view of --store there, and nothing else"
    )
    parser.add_argument("--store", type=Path, default=Path("model_zoo/example_scene.h5"))
    parser.add_argument("--object", type=int, default=None, help="that the example's mask marks, from 1")
    options = parser.parse_args()
    if options.example is not None:
        write_example(options.example, options.store, options.object, options.seed)
        return

    reals = () if options.real is None else tuple(real_targets(options.real, options.seed))
    calls = SceneCalls(options.checkpoint, reals, options.seed, options.grasps, options.evaluated)
    scenes = []
    for outcomes in map_ordered(calls, range(options.scenes), LocalExecutor(workers=options.workers)):
        scenes.append(outcomes)
        print(f"scene {len(scenes)}: {' '.join(o.what for o in outcomes.values())}", flush=True)
    hand = _model(options.checkpoint).hand
    found: dict[str, Any] = {}
    for name in (*RIGHT, *WRONG):
        found[name] = summary([outcomes[name] for outcomes in scenes])
        jobs = [outcomes[name].job for outcomes in scenes]
        if any(jobs):
            found[name] |= measure(jobs, hand, options.protocol, options.workers)
        print(name, found[name], flush=True)
    mask, pixel = (found[name]["by_scene"] for name in RIGHT)
    difference = paired_difference(mask, pixel, options.seed)
    print("pixel minus mask", difference, flush=True)
    document = {
        "scenes": options.scenes,
        "real_targets": len(range(2, options.scenes, 3)) if reals else 0,
        "protocol": options.protocol,
        "pixel_minus_mask": difference,
        "calls": found,
    }
    write(document, options.json, seed=options.seed)
    lines = [
        [
            name,
            *(str(entry[key]) for key in ("refused", "warned", "silent")),
            f"{100 * entry['stable']:.1f}" if "stable" in entry else "-",
            f"{100 * entry['stable_and_collision_free']:.1f} {[round(100 * x, 1) for x in entry['interval']]}"
            if "stable" in entry
            else "-",
        ]
        for name, entry in found.items()
    ]
    print(table(["call", "refused", "warned", "silent", "stable, %", "stable and collision-free, %"], lines))


if __name__ == "__main__":
    main()
