"""A camera over a cluttered table, called rightly and wrongly: what is refused, warned of, and what holds in physics.

    python -m benchmarks.camera --real <folder of real meshes> --json benchmarks/results/camera.json
    python -m benchmarks.camera --example model_zoo/example_view.npz

Each call of the Python API gets a simulated depth image (640 x 480, millimetres, a table that ends, a floor beyond).
Grasps that are returned are judged in the true scene: stable by the protocol, and touching neither table nor neighbors.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import command_line, commit, table, write
from benchmarks.simulated_views import DEPTH_SCALE, SimulatedView, simulated_views
from sceneleapultra.evaluation.methods.training_index import transform_grasps
from sceneleapultra.hands import load_hand
from sceneleapultra.models import GraspModel, load_grasp_model
from sceneleapultra.simulation.collision import scene_clearance
from sceneleapultra.simulation.protocols import evaluate_many
from sceneleapultra.utils.core.parallel import LocalExecutor
from sceneleapultra.utils.core.stats import wilson_interval
from sceneleapultra.utils.records import Grasps
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


@dataclass
class Row:
    """What one call gave over all scenes."""

    refused: int = 0
    warned: int = 0
    silent: int = 0
    sentences: dict[str, int] = field(default_factory=dict)  # by their first words
    jobs: list[Any] = field(default_factory=list)  # (scene, target, grasps)
    expected: list[float] = field(default_factory=list)  # the model's own best odds in each scene

    def note(self, sentence: str) -> None:
        """Keep a sentence, counted by its beginning."""
        key = sentence[:140]
        self.sentences[key] = self.sentences.get(key, 0) + 1

    def outcome(self) -> dict[str, Any]:
        """Return the counts, with the most frequent sentences."""
        common = sorted(self.sentences, key=lambda key: -self.sentences[key])[:3]
        counts = {"refused": self.refused, "warned": self.warned, "silent": self.silent}
        return {**counts, "sentences": common, "best_expected": [round(p, 3) for p in self.expected]}


def call(row: Row, view: SimulatedView, make: Call, model: GraspModel, num_grasps: int) -> None:
    """Make one call, and keep what came of it; without grasps where none are asked for."""
    try:
        request = make(view)
        warnings = model.check(request)
        made = (
            None
            if num_grasps == 0
            else model.sample_request(request, num_grasps, sampling={"guidance": "score", "temperature": 0.2})
        )
    except ValueError as error:
        row.refused += 1
        row.note(str(error))
        return
    warnings += (made.expectation,) if made is not None and made.expectation else ()
    row.warned += bool(warnings)
    row.silent += not warnings
    for warning in warnings:
        row.note(warning)
    if made is None:
        return
    row.expected.append(float(made.p_success.max()) if made.p_success is not None else np.nan)
    # A scaled cloud's grasps mean nothing in the true scene; a flipped one's are turned back.
    T_cam_cloud = np.eye(4)
    if (request.points[:, 2] < 0).all():
        T_cam_cloud[:3, :3] = np.diag(_FLIP)
    grasps = Grasps(made.hand_pose, made.pregrasp_qpos, made.squeeze_qpos)
    row.jobs.append((view.scene, 0, transform_grasps(grasps, view.T_world_cam @ T_cam_cloud)))


def evaluated(row: Row, hand: Any, protocol: str, workers: int) -> dict[str, Any]:
    """Return how many grasps hold, and hold and are clear, in the true scenes."""
    tables = evaluate_many(hand, row.jobs, protocol, LocalExecutor(workers=workers))
    stable = np.concatenate([t["stable"] for t in tables])
    free = np.concatenate([scene_clearance(hand, s, k, g) >= 0.0 for s, k, g in row.jobs])
    both = stable & free
    low, high = wilson_interval(int(both.sum()), len(both))
    return {
        "grasps": len(both),
        "stable": round(float(stable.mean()), 4),
        "stable_and_collision_free": round(float(both.mean()), 4),
        "interval": [round(low, 4), round(high, 4)],
    }


def write_example(path: Path, seed: int) -> None:
    """Write one small view with the mask of its target: what predict.py takes without an input."""
    view = next(simulated_views(1, None, seed, width=320, height=240))
    np.savez_compressed(path, depth=view.depth, depth_scale=DEPTH_SCALE, K=view.K, mask=view.mask)


def main() -> None:
    """Measure and print."""
    parser = command_line(__doc__)
    parser.add_argument("--checkpoint", default="leap_table")
    parser.add_argument(
        "--real", type=Path, default=None, help="folder of real meshes, for a third of the targets"
    )
    parser.add_argument("--scenes", type=int, default=24)
    parser.add_argument("--grasps", type=int, default=32, help="of a right call; a wrong one gets half")
    parser.add_argument(
        "--evaluated", type=int, default=6, help="scenes in which grasps of wrong calls are judged"
    )
    parser.add_argument("--protocol", default="dgb-fc-quick")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument(
        "--example", type=Path, default=None, help="write an example view there, and nothing else"
    )
    options = parser.parse_args()
    if options.example is not None:
        write_example(options.example, options.seed)
        return

    model = load_grasp_model(options.checkpoint)
    hand = load_hand(model.hand.name)
    views = list(simulated_views(options.scenes, options.real, options.seed))
    rows = {name: Row() for name in (*RIGHT, *WRONG)}
    for name, make in {**RIGHT, **WRONG}.items():
        for i, view in enumerate(views):
            wrong = options.grasps // 2 if i < options.evaluated and not name.startswith("cloud") else 0
            call(rows[name], view, make, model, options.grasps if name in RIGHT else wrong)
        print(f"{name}: {rows[name].outcome()}", flush=True)
    found: dict[str, Any] = {}
    for name, row in rows.items():
        found[name] = row.outcome()
        if row.jobs:
            found[name] |= evaluated(row, hand, options.protocol, options.workers)
    document = {
        "command": f"camera --scenes {options.scenes} --grasps {options.grasps} --seed {options.seed}",
        "commit": commit(),
        "scenes": len(views),
        "real_targets": sum(view.real for view in views),
        "tilts_deg": [round(view.tilt_deg) for view in views],
        "protocol": options.protocol,
        "calls": found,
    }
    write(document, options.json)
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
