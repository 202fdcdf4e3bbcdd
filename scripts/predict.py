"""Generate grasps for what your camera sees, or for a mesh.

python scripts/predict.py
python scripts/predict.py depth.png --depth-scale 0.001 --intrinsics 615 615 320 240 --pixel 310 255
python scripts/predict.py cloud.ply --at 0.05 0.02 0.61 --sampling.guidance score
python scripts/predict.py mesh.obj --checkpoint runs/x/checkpoints/last.ckpt --sampling.temperature 0.3 --device cuda
python scripts/predict.py model_zoo/example_scene.h5 --object 6

Without an input: a view that is shipped with the project. A depth image (.png of 16 bits, .npy, .npz; with
--intrinsics) or a cloud (.ply, .pcd, .npy, .npz; metres; any frame) is grasped as it was seen: the table is found in
it, and up with it; name the object by --pixel, --at, --box, --object or --mask where more than one stands there. A mesh
(.obj, .stl, .ply with faces, or a folder of one object with its convex pieces) is dropped on a table, seen by a virtual
camera, and the grasps are tested in simulation; so are those for an object of a data set's first scene (.h5). Writes
grasps.html and grasps.png, the best grasp first, grasps.npz and grasps.json.
"""

from __future__ import annotations

import sceneleapultra.utils.core.environment  # noqa: F401

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from sceneleapultra.utils.core import cli
from sceneleapultra.utils.core.config import CONFIG_DIR
from sceneleapultra.utils.core.console import console
from sceneleapultra.utils.core.files import make_folder

if TYPE_CHECKING:
    from sceneleapultra.models import SampledGrasps
    from sceneleapultra.utils.requests import GraspRequest
    from sceneleapultra.utils.verdicts import VerdictTable

EXAMPLE = CONFIG_DIR.parent / "model_zoo" / "example_view.npz"
_TESTED = ("stable", "collision_free", "picked", "picked_cleanly", "outcome", "penetration_m", "clearance_m")


def predict(
    input: Path = EXAMPLE,
    *,
    checkpoint: str = "leap_table",
    hand: str | None = None,
    retarget: bool = False,
    num_grasps: int = 32,
    best: int | None = None,
    intrinsics: list[str] | None = None,
    depth_scale: float | None = None,
    mask: str | None = None,
    box: list[float] | None = None,
    pixel: tuple[int, int] | None = None,
    at: tuple[float, float, float] | None = None,
    object: int | None = None,
    any_object: bool = False,
    repair: bool = False,
    viewpoint: tuple[float, float, float] = (0.0, 0.0, 0.0),
    up: tuple[float, float, float] | None = None,
    prompt: str | None = None,
    negative_prompts: list[str] | None = None,
    sampling: Annotated[dict[str, Any], cli.Settings("sampling/changes")],
    protocol: str = "scene-lift",
    workers: int = 2,
    device: str = "cpu",
    seed: int = 0,
    plugins: list[str] | None = None,
    completion: str | None = None,
    hypotheses: int = 1,
    output: Path = Path("predicted"),
) -> None:
    """Sample, test where the scene is known, and write.

    Args:
        input: depth image (.png, .npy, .npz), cloud (.ply, .pcd, .npy, .npz), mesh (.obj, .stl, .ply, folder) or data
            set (.h5)
        checkpoint: a file, or the name of a shipped model
        hand: another than the model's: its mirror image (leap_left), any if the model serves many, any with --retarget
        retarget: the hand takes over the grasps of the model's, by fingertips, where nothing was learned of it
        num_grasps: how many
        best: how many of them are kept: the best, and the best of those that differ from it and from one another
        intrinsics: of a depth image: FX FY CX CY (pixels), the nine numbers of K, or a JSON file of them
        depth_scale: metres per unit of a depth image of whole numbers: 0.001 for millimetres
        mask: the object: an .npy or .png file that marks it, or `all` where the whole cloud is the object
        box: the object is the largest in it: U0 V0 U1 V1 (pixels) or X0 Y0 Z0 X1 Y1 Z1 (m)
        pixel: column and row of a pixel that shows the object
        at: a point on the object (m)
        object: its number in the list that is printed where several stand there
        any_object: the model chooses: the object that it is the likeliest to pick
        repair: mend a mesh that is not closed; what moved is printed
        viewpoint: camera center in the frame of the cloud
        up: direction against gravity in the frame of the cloud; measured from the table if it is not given
        prompt: what to grasp, for models trained with prompts
        negative_prompts: what not to grasp
        sampling: changes of the checkpoint's own sampling; the temperature may be `tuned`, by test_lightning.py
        protocol: the test in simulation, where the scene is known
        workers: processes of the simulation
        device: where the model samples: cpu, cuda or cuda:<number>
        seed: of the noise, and of a mesh's scene
        plugins: packages outside the project that the model is built from
        completion: checkpoint of scene completion, by which hidden parts of the scene count in clearances
        hypotheses: of each scene that the completion draws, of which the worst counts
        output: folder for the results

    Raises:
        FileNotFoundError: no such input or checkpoint.
        ValueError: an input or a setting without a meaning for this model.
    """
    from sceneleapultra.models.checkpoints.zoo import find_checkpoint
    from sceneleapultra.utils.requests import Target
    from sceneleapultra.utils.requests.files import is_mesh

    # What can be wrong without a model is looked at before torch is imported.
    if num_grasps < 1:
        raise ValueError(f"--num-grasps: expected at least 1, got {num_grasps}.")
    if best is not None and not 1 <= best <= num_grasps:
        raise ValueError(f"--best: expected 1 to {num_grasps}, the number of grasps, got {best}.")
    if seed < 0:
        raise ValueError(f"--seed: expected 0 or more, got {seed}.")
    if hypotheses != 1 and completion is None:
        raise ValueError(
            f"--hypotheses {hypotheses}: they are of a completion, and none is named. Pass --completion CHECKPOINT."
        )
    if retarget and hand is None:
        raise ValueError(
            "--retarget: no hand is named that could take over the model's grasps. Pass --hand HAND."
        )
    marks: dict[str, Any] = {"mask": mask, "box": box, "pixel": pixel, "at": at, "up": up}
    marks |= {"intrinsics": intrinsics, "depth-scale": depth_scale}
    marks["viewpoint"] = None if viewpoint == (0.0, 0.0, 0.0) else viewpoint
    if is_mesh(input):
        _refuse("a mesh", input, {**marks, "object": object, "any-object": any_object or None})
    elif input.suffix == ".h5":
        _refuse("a data set", input, {**marks, "repair": repair or None})
    else:
        _refuse("what a camera saw", input, {"repair": repair or None})
    path = find_checkpoint(checkpoint)
    _check_settings(sampling, protocol)
    make_folder(output)
    request, item = None, None
    if input.suffix == ".h5":
        from sceneleapultra.evaluation.requests import request_from_store

        if any_object:
            raise ValueError(
                "--any-object chooses in what a camera saw. Name an object of a data set by --object N."
            )
        request, item = request_from_store(input, object)
        _say(request.notes)
    elif is_mesh(input):
        if not input.exists():
            raise FileNotFoundError(f"There is no mesh at {input}.")
    else:
        target = Target(box=None if box is None else tuple(box), pixel=pixel, at=at, number=object)
        if any_object and (target.named or mask is not None):
            raise ValueError(
                f"--any-object and {' '.join(target.named) or '--mask'} both name the object. Pass one of them."
            )
        target = replace(target, number=1) if any_object else target
        request = _read(input, mask, target, intrinsics, depth_scale, viewpoint, up)
        _say(request.notes[:-1] if any_object else request.notes)  # the last tells of the first object

    from sceneleapultra.evaluation.folders import home_of
    from sceneleapultra.evaluation.prediction_page import write_prediction
    from sceneleapultra.evaluation.tuning import tuned_for, tuned_temperature
    from sceneleapultra.hands import Hand
    from sceneleapultra.models import load_grasp_model
    from sceneleapultra.models.many_hands import served

    model = load_grasp_model(
        path, device=device, plugins=plugins or [], completion=completion, hypotheses=hypotheses
    )
    sampler = model if hand is None else served(model, hand, retarget=retarget)
    if sampling["temperature"] == "tuned":
        chosen = model.generator.sampling.changed(**{**sampling, "temperature": None})
        sampling = {**sampling, "temperature": tuned_temperature(home_of(path), tuned_for(path, chosen))}
    if request is None:
        from sceneleapultra.evaluation.requests import request_from_mesh

        _say([f"reading {input}; convex pieces it lacks are computed once, which can take minutes"])
        request, item = request_from_mesh(input, seed, repair=repair)
    if model.uses_color and request.rgb is None:
        raise ValueError(f"{checkpoint} was trained with colors, {input} has none. Pass a view with colors.")
    if request.rgb is not None and not model.uses_color:
        request = request.without_colors()
    settings: dict[str, Any] = {"prompt": prompt, "negative_prompts": negative_prompts or [], "seed": seed}
    settings["sampling"] = sampling
    if any_object and item is None:
        console.print(f"sampling {num_grasps} grasps for each object above the table")
        request, made = sampler.sample_any(request, num_grasps, **settings)
        odd = made.warnings
        center = ", ".join(f"{x:.3f}" for x in request.target_points.mean(0))
        console.print(f"chosen: the object at ({center}), {int(request.object_mask.sum()):,} points")
        _say(odd, "warning: ")
    else:
        odd = sampler.check(request) if item is None else ()
        _say(odd, "warning: ")
        console.print(
            f"sampling {num_grasps} grasps for {int(request.object_mask.sum()):,} points of the object"
        )
        made = sampler.sample_request(request, num_grasps, **settings)
    _say([made.expectation] if made.expectation else [], "warning: ")
    made = made if best is None else made.best(best)
    made = made.with_warnings((*odd, *([made.expectation] if made.expectation else [])))
    simulated = Hand(sampler.hand.description)  # on the processor
    tested = None
    if item is not None:
        from sceneleapultra.evaluation.predicted import describe_tests, try_grasps

        tested = (item, try_grasps(item, made, simulated, protocol, workers))
        _say([describe_tests(tested[1])])
    _write(output, request, made, None if tested is None else tested[1])
    title = f"Grasps for {input.name}"
    write_prediction(request, made, tested, hand=simulated, folder=output, title=title)
    _say([f"best: {made.describe(int(made.score.argmax()))}"])
    console.print(
        f"grasps   {output / 'grasps.npz'}, .json\npicture  {output / 'grasps.png'}\nview     {output / 'grasps.html'}",
        soft_wrap=True,
    )


def _refuse(kind: str, input: Path, settings: dict[str, Any]) -> None:
    """Refuse settings that would be passed over for an input of this kind."""
    if options := [f"--{name}" for name, value in settings.items() if value is not None]:
        raise ValueError(f"{' '.join(options)}: no meaning for {kind}, which {input} is. Leave it out.")


def _check_settings(sampling: dict[str, Any], protocol: str) -> None:
    from sceneleapultra.models.sampling_changes import check_group_name, check_sampling_changes

    tuned = sampling["temperature"] == "tuned"
    check_sampling_changes({**sampling, "temperature": None} if tuned else sampling)
    check_group_name("protocol", protocol)


def _read(
    input: Path,
    mask: str | None,
    target: Any,
    intrinsics: list[str] | None,
    depth_scale: float | None,
    viewpoint: tuple[float, float, float],
    up: tuple[float, float, float] | None,
) -> GraspRequest:
    """Read what a camera saw, and mark the object in it."""
    import numpy as np

    from sceneleapultra.utils.requests import GraspRequest
    from sceneleapultra.utils.requests.depth import read_intrinsics
    from sceneleapultra.utils.requests.files import read_mask, read_sensor

    cloud = read_sensor(input, None if intrinsics is None else read_intrinsics(intrinsics), depth_scale)
    if mask is not None:
        marked = np.ones(cloud.points.shape[:-1], dtype=bool) if mask == "all" else read_mask(Path(mask))
        target = replace(target, mask=marked)
    return GraspRequest.of(cloud, target=target, up=up, viewpoint=viewpoint)


def _say(lines: Any, before: str = "") -> None:
    for line in lines:
        console.print(f"{before}{line}", soft_wrap=True, highlight=False)


def _write(output: Path, request: GraspRequest, made: SampledGrasps, verdicts: VerdictTable | None) -> None:
    import numpy as np

    from sceneleapultra.utils.core.files import write_atomically, write_json

    arrays: dict[str, Any] = {
        "hand_pose": made.hand_pose,
        "pregrasp_qpos": made.pregrasp_qpos,
        "squeeze_qpos": made.squeeze_qpos,
        "score": made.score,
        "observed_clearance_m": made.clearance_m,
        "joint_names": np.array(made.joint_names),
        "frame": np.array(made.frame),
        "hand": np.array(made.hand),
        "points": request.points,
        "object_mask": request.object_mask,
        "viewpoint": request.viewpoint,
        "up": request.up,
    }
    if made.p_stable is not None and made.p_collision_free is not None:
        arrays |= {"p_stable": made.p_stable, "p_collision_free": made.p_collision_free}
    if verdicts is not None:
        arrays |= {name: verdicts[name] for name in _TESTED if name in verdicts.values}
    write_atomically(output / "grasps.npz", lambda file: np.savez_compressed(file, **arrays))
    write_json(output / "grasps.json", made.to_dict(), indent=1)


def main() -> None:
    """Answer what the command line names."""
    cli.run(predict, __doc__)


if __name__ == "__main__":
    main()
