"""Grasps for your own cloud or mesh.

python scripts/predict.py cloud.npy --checkpoint runs/x/checkpoints/last.ckpt --viewpoint 0 0 0 --up 0 -1 0
python scripts/predict.py mesh.obj --checkpoint runs/x/checkpoints/last.ckpt

A mesh (.obj, .stl, .ply with faces, or a folder of one object with its convex pieces) is dropped on a table, seen by
a virtual depth camera, and the grasps are put into physics. A cloud (.npy of n x 3, .ply of points; metres) is taken in
its own frame. Writes grasps.npz and grasps.html.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sceneleapultra.utils.core.console import console, exit_on_user_error


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("input", type=Path, help="cloud (.npy, .ply) or mesh (.obj, .stl, .ply, folder)")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument(
        "--plugins", nargs="+", default=[], help="packages of your own that the model is built from"
    )
    parser.add_argument("--num-grasps", type=int, default=32)
    parser.add_argument("--mask", default="above-table", help="above-table, all, or an .npy file of booleans")
    parser.add_argument(
        "--viewpoint", type=float, nargs=3, default=(0.0, 0.0, 0.0), help="camera center (cloud)"
    )
    parser.add_argument("--up", type=float, nargs=3, default=(0.0, -1.0, 0.0), help="against gravity (cloud)")
    parser.add_argument("--sampler", default="ddim", help="a file of config/sampling/solver")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--temperature", default="tuned", help="a number, or `tuned`: by test_lightning.py")
    parser.add_argument(
        "--guidance",
        default="none",
        help="none, stable, score, physics or physics_collision_free: config/sampling/guidance",
    )
    parser.add_argument("--cfg-scale", type=float, help="of classifier-free guidance: 1 off, 0 unconditional")
    parser.add_argument("--prompt", help="what to grasp, for models trained with prompts")
    parser.add_argument(
        "--negative-prompt", action="append", default=[], help="what not to grasp; repeatable"
    )
    parser.add_argument("--protocol", default="dgb-fc", help="physics test, where a mesh is known")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("predicted"), help="folder for the results")
    return parser.parse_args()


def main() -> None:
    """Answer one file."""
    options = arguments()
    with exit_on_user_error():
        predict(options)


def predict(options: argparse.Namespace) -> dict[str, Any]:
    """Sample, judge where the truth is known, write; return what grasps.npz holds."""
    from sceneleapultra.evaluation.requests import is_mesh, question_from_cloud, question_from_mesh
    from sceneleapultra.evaluation.suite import run_folder
    from sceneleapultra.evaluation.tuning import tuned_temperature
    from sceneleapultra.models import load_grasp_model

    model = load_grasp_model(options.checkpoint, plugins=options.plugins)
    hand = model.hand
    if options.temperature == "tuned":
        temperature = tuned_temperature(run_folder(options.checkpoint))
    else:
        temperature = float(options.temperature)
    if is_mesh(options.input):
        question = question_from_mesh(options.input, options.seed)
    else:
        question = question_from_cloud(options.input, options.mask, options.viewpoint, options.up)
    made = model.sample(
        question.points,
        options.num_grasps,
        object_mask=question.object_mask,
        viewpoint=tuple(question.viewpoint.tolist()),
        up=tuple(question.up.tolist()),
        seed=options.seed,
        sampling={
            "solver": options.sampler,
            "steps": options.steps,
            "temperature": temperature,
            "guidance": options.guidance,
            "cfg_scale": options.cfg_scale,
        },
        prompt=options.prompt,
        negative_prompts=options.negative_prompt,
    )
    grasps: dict[str, Any] = {
        "hand_pose": made.hand_pose,
        "pregrasp_qpos": made.pregrasp_qpos,
        "squeeze_qpos": made.squeeze_qpos,
        "score": made.score,
        "joint_names": np.array(hand.joint_names),
    }
    console.print(f"{len(made.score)} grasps from {int(question.object_mask.sum())} points of the object")
    verdict = labeled(question, made, hand, options) if question.item is not None else {}
    options.output.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(options.output / "grasps.npz", **grasps, **verdict)
    write_page(question, grasps | verdict, hand, options)
    console.print(
        f"grasps   {options.output / 'grasps.npz'}\nview     {options.output / 'grasps.html'}", soft_wrap=True
    )
    return grasps | verdict


def labeled(question: Any, made: Any, hand: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Put the grasps into physics and say how many held."""
    from sceneleapultra.simulation.collision import scene_clearance
    from sceneleapultra.simulation.protocols import evaluate_grasps
    from sceneleapultra.utils.core.stats import wilson_interval
    from sceneleapultra.utils.records import Grasps

    grasps = Grasps(made.hand_pose, made.pregrasp_qpos, made.squeeze_qpos)
    scene = question.item.scene
    verdicts = evaluate_grasps(hand, scene, grasps, options.protocol, options.workers)
    clearance = scene_clearance(hand, scene, 0, grasps)
    held, n = int(verdicts["stable"].sum()), len(verdicts)
    low, high = wilson_interval(held, n)
    best = "held" if verdicts["stable"][0] else "did not hold"
    console.print(
        f"{options.protocol}: {held} of {n} held, {100 * held / n:.0f} % [{100 * low:.0f}, {100 * high:.0f}]; "
        f"{int((verdicts['stable'] & (clearance >= 0)).sum())} of them clear of the table; the best-scored one {best}"
    )
    return {
        "stable": verdicts["stable"],
        "outcome": verdicts["outcome"],
        "penetration_m": verdicts["penetration_m"],
        "clearance_m": clearance,
    }


def write_page(question: Any, grasps: dict[str, Any], hand: Any, options: argparse.Namespace) -> None:
    """Write the 3D view: every grasp by itself, best score first."""
    from sceneleapultra.evaluation.methods.training_index import transform_grasps
    from sceneleapultra.evaluation.requests import table_height, upright
    from sceneleapultra.reporting.drawing import UNTESTED, CloudView, draw_cloud, draw_scene, outcome_color
    from sceneleapultra.reporting.html import LAYERS, cards
    from sceneleapultra.reporting.html import write_page as write_html
    from sceneleapultra.utils.records import Grasps, Outcome

    drawings = []
    on_table = question.item is not None or options.mask == "above-table"
    T = upright(question.up, table_height(question.points, question.up) if on_table else 0.0)
    shown = Grasps(grasps["hand_pose"], grasps["pregrasp_qpos"], grasps["squeeze_qpos"])
    poses = transform_grasps(shown, T).hand_pose
    seen = CloudView(question.points @ T[:3, :3].T + T[:3, 3], question.object_mask, on_table)
    for i in range(min(24, len(poses))):
        caption, detail = f"grasp {i + 1}", f"score {grasps['score'][i]:.2f}"
        if question.item is None:
            drawings.append(
                draw_cloud(seen, hand, poses[i : i + 1], [UNTESTED], caption=caption, detail=detail)
            )
            continue
        outcome = Outcome(int(grasps["outcome"][i]))
        color = outcome_color(outcome, bool(grasps["clearance_m"][i] >= 0))
        caption += f": {outcome.name.lower().replace('_', ' ')}"
        pose = grasps["hand_pose"][i : i + 1]
        item = question.item
        drawings.append(
            draw_scene(
                item.scene, item.view, item.target, hand, pose, [color], caption=caption, detail=detail
            )
        )
    title = f"Grasps for {options.input.name}"
    write_html(
        title, [f"<h1>{title}</h1>", LAYERS, cards(drawings)], drawings, options.output / "grasps.html"
    )


if __name__ == "__main__":
    main()
