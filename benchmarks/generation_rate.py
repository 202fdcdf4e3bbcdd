"""How many successful grasps a second the generator makes: lone objects by family, or scenes with everything.

    python -m benchmarks.generation_rate --workers 2                 # lone objects, no images
    python -m benchmarks.generation_rate --workers 2 --scenes 40     # on tables, images included

Prints JSON. Processor seconds are the measure on a machine that others use too; wall-clock seconds on an idle one.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import time
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from benchmarks.common import command_line, write
from sceneleapultra.hands import load_hand
from sceneleapultra.simulation.generate import GenerateSettings, SceneReport, generate_scenes, prepare_objects
from sceneleapultra.simulation.objects import FAMILIES
from sceneleapultra.utils.core.config import CONFIG_DIR, build
from sceneleapultra.utils.core.parallel import LocalExecutor

CONTENT = ("seed", "splits", "table", "views", "objects", "scene", "camera", "grasps", "synthesis")


def settings(overrides: list[str]) -> GenerateSettings:
    """Return the generator's own settings with some overrides."""
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = OmegaConf.to_container(compose("generate", overrides=["path=none", *overrides]), resolve=True)
    content = {key: cfg[key] for key in CONTENT}  # type: ignore[index, call-overload]
    made: GenerateSettings = build(
        {"_target_": "sceneleapultra.simulation.generate.GenerateSettings", **content}
    )
    return made


def totals(reports: list[SceneReport]) -> dict[str, Any]:
    """Sum up reports: attempts, successes and what they cost."""
    good = sum(sum(r.successes) for r in reports)
    attempts = sum(sum(r.attempts) for r in reports)
    cpu_s = sum(r.dropped_s + r.rendered_s + r.grasped_s for r in reports)
    return {
        "objects": sum(len(r.families) for r in reports),
        "objects_with_a_grasp": sum(n > 0 for r in reports for n in r.successes),
        "attempts": attempts,
        "good": good,
        "success": round(good / max(attempts, 1), 3),
        "cpu_s_per_good": round(cpu_s / max(good, 1), 3),
        "dropped_s": round(sum(r.dropped_s for r in reports), 2),
        "rendered_s": round(sum(r.rendered_s for r in reports), 2),
        "grasped_s": round(sum(r.grasped_s for r in reports), 2),
    }


def main() -> None:
    """Measure and print."""
    parser = command_line(__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--scenes", type=int, default=0, help="scenes on a table; 0: lone objects of each family"
    )
    parser.add_argument("--objects", type=int, default=4, help="lone objects per family")
    parser.add_argument("overrides", nargs="*", help="of config/generate.yaml")
    arguments = parser.parse_args()
    lone = arguments.scenes == 0
    overrides = ["splits.val=0", "splits.test=0", "splits.test_family=0", "objects.held_out_families=[]"]
    if lone:
        overrides += ["table=false", "views=0", "objects.per_scene=[1]"]
    scenes = arguments.objects * len(FAMILIES) if lone else arguments.scenes
    reports: list[SceneReport] = []
    start = time.perf_counter()
    made = settings([*overrides, *arguments.overrides])
    hand, executor = load_hand("leap_right"), LocalExecutor(workers=arguments.workers)
    source = prepare_objects(hand, made, executor)
    for _ in generate_scenes(hand, made, source, scenes, executor, on_scene=reports.append):
        pass
    wall_s = time.perf_counter() - start
    result: dict[str, Any] = {"workers": arguments.workers, "lone": lone, "scenes": scenes, **totals(reports)}
    result |= {"wall_s": round(wall_s, 1), "good_per_s": round(result["good"] / wall_s, 2)}
    result["good_per_cpu_s"] = round(1 / max(result["cpu_s_per_good"], 1e-9), 2)
    if lone:
        result["families"] = {
            family: totals([r for r in reports if r.families == (family,)]) for family in FAMILIES
        }
    write(result, None, seed=made.seed, show=True)


if __name__ == "__main__":
    main()
