"""Generate grasps for your own cloud or mesh.

python scripts/predict.py cloud.npy --checkpoint leap_table --viewpoint 0 0 0 --up 0 -1 0
python scripts/predict.py mesh.obj --checkpoint runs/x/checkpoints/last.ckpt --sampling.temperature 0.3 --device cuda

A mesh (.obj, .stl, .ply with faces, or a folder of one object with its convex pieces) is dropped on a table, seen by
a virtual depth camera, and the grasps are tested in simulation. A cloud (.npy of n x 3, .ply of points, .npz of points,
rgb and mask; metres) is taken in its own frame. Writes grasps.npz and grasps.html.
"""

from __future__ import annotations

import sceneleapultra.utils.core.environment  # noqa: F401

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from sceneleapultra.utils.core import cli
from sceneleapultra.utils.core.console import console

if TYPE_CHECKING:
    from sceneleapultra.evaluation.requests import GraspRequest
    from sceneleapultra.hands import Hand
    from sceneleapultra.utils.records import Grasps
    from sceneleapultra.utils.verdicts import VerdictTable


def predict(
    input: Path,
    *,
    checkpoint: str,
    num_grasps: int = 32,
    mask: str | None = None,
    viewpoint: tuple[float, float, float] = (0.0, 0.0, 0.0),
    up: tuple[float, float, float] = (0.0, -1.0, 0.0),
    prompt: str | None = None,
    negative_prompts: list[str] | None = None,
    sampling: Annotated[dict[str, Any], cli.Settings("sampling/changes")],
    protocol: str = "dgb-fc",
    workers: int = 2,
    device: str = "cpu",
    seed: int = 0,
    plugins: list[str] | None = None,
    output: Path = Path("predicted"),
) -> None:
    """Sample, test where the scene is known, and write.

    Args:
        input: cloud (.npy, .npz, .ply) or mesh (.obj, .stl, .ply, folder)
        checkpoint: a file, or the name of a shipped model
        num_grasps: how many
        mask: the object in a cloud: above-table, all, or an .npy file of booleans; by default the mask in the .npz, or
            above-table
        viewpoint: camera center in the frame of the cloud
        up: direction against gravity in the frame of the cloud
        prompt: what to grasp, for models trained with prompts
        negative_prompts: what not to grasp
        sampling: changes of the checkpoint's own sampling; the temperature may be `tuned`, by test_lightning.py
        protocol: the test in simulation, where a mesh is known
        workers: processes of the simulation
        device: where the model samples: cpu, cuda or cuda:<number>
        seed: of the noise, and of a mesh's scene
        plugins: packages outside the project that the model is built from
        output: folder for the results

    Raises:
        FileNotFoundError: no such input or checkpoint.
        ValueError: an input or a setting without a meaning for this model.
    """
    import numpy as np

    from sceneleapultra.evaluation.prediction_page import write_prediction_page
    from sceneleapultra.evaluation.requests import GraspRequest, is_mesh
    from sceneleapultra.evaluation.suite import run_folder
    from sceneleapultra.evaluation.tuning import tuned_temperature
    from sceneleapultra.hands import Hand
    from sceneleapultra.models import load_grasp_model
    from sceneleapultra.models.checkpoints.zoo import find_checkpoint
    from sceneleapultra.utils.records import Grasps

    path = find_checkpoint(checkpoint)
    model = load_grasp_model(path, device=device, plugins=plugins or [])
    if sampling["temperature"] == "tuned":
        sampling = {**sampling, "temperature": tuned_temperature(run_folder(path))}
    if is_mesh(input):
        request = GraspRequest.from_mesh(input, seed)
    else:
        request = GraspRequest.from_cloud(input, mask, viewpoint, up)
    if model.uses_color and request.rgb is None:
        raise ValueError(
            f"{checkpoint} was trained with colors, {input} has none. Pass a .ply or .npz with colors."
        )
    if request.rgb is not None and request.item is None and not model.uses_color:
        console.print("The model was trained without colors; those of the input are left out.")
    made = model.sample(
        request.points,
        num_grasps,
        object_mask=request.object_mask,
        viewpoint=tuple(request.viewpoint.tolist()),
        up=tuple(request.up.tolist()),
        rgb=request.rgb if model.uses_color else None,
        prompt=prompt,
        negative_prompts=negative_prompts or [],
        seed=seed,
        sampling=sampling,
    )
    grasps = Grasps(made.hand_pose, made.pregrasp_qpos, made.squeeze_qpos)
    console.print(f"{len(grasps)} grasps from {int(request.object_mask.sum())} points of the object")
    hand = Hand(model.hand.description)  # on the processor, for the simulation
    verdicts = evaluate_request(request, grasps, hand, protocol, workers)
    output.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {
        "hand_pose": grasps.hand_pose,
        "pregrasp_qpos": grasps.pregrasp_qpos,
        "squeeze_qpos": grasps.squeeze_qpos,
        "score": made.score,
        "joint_names": np.array(hand.joint_names),
    }
    if verdicts is not None:
        arrays |= {name: verdicts[name] for name in _WRITTEN}
    np.savez_compressed(output / "grasps.npz", **arrays)
    page = write_prediction_page(
        request,
        grasps,
        made.score,
        verdicts,
        hand=hand,
        on_table=mask in (None, "above-table"),
        path=output / "grasps.html",
        title=f"Grasps for {input.name}",
    )
    console.print(f"grasps   {output / 'grasps.npz'}\nview     {page}", soft_wrap=True)


_WRITTEN = ("stable", "collision_free", "outcome", "penetration_m", "clearance_m")


def evaluate_request(
    request: GraspRequest, grasps: Grasps, hand: Hand, protocol: str, workers: int
) -> VerdictTable | None:
    """Test grasps in simulation and print how many were stable; None where the scene is unknown."""
    if request.item is None:
        return None
    from sceneleapultra.simulation.collision import scene_clearance
    from sceneleapultra.simulation.protocols import evaluate_grasps
    from sceneleapultra.utils.core.stats import wilson_interval

    scene = request.item.scene
    verdicts = evaluate_grasps(hand, scene, grasps, protocol, workers)
    clearance = scene_clearance(hand, scene, request.item.target, grasps)
    verdicts = verdicts.with_columns({"clearance_m": clearance, "collision_free": clearance >= 0.0})
    stable, n = int(verdicts["stable"].sum()), len(verdicts)
    low, high = wilson_interval(stable, n)
    both = int((verdicts["stable"] & verdicts["collision_free"]).sum())
    console.print(
        f"{protocol}: {stable} of {n} stable, {100 * stable / n:.0f} % [{100 * low:.0f}, {100 * high:.0f}]; {both} of "
        f"them collision-free; the best-scored one is {'' if verdicts['stable'][0] else 'not '}stable"
    )
    return verdicts


def main() -> None:
    """Answer what the command line names."""
    cli.run(predict, __doc__)


if __name__ == "__main__":
    main()
