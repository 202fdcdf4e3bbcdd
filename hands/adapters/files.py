"""Grasps as files hold them, and plans for a real hand as JSON."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from sceneleapultra.hands.adapters.trajectory import HandTrajectory, HandWaypoint
from sceneleapultra.utils.core.npz import read_npz

_STAGES = ("hand_pose", "pregrasp_qpos", "squeeze_qpos")


class ChosenGrasp(NamedTuple):
    """One grasp of a file."""

    hand_pose: Float[np.ndarray, "p"]  # [translation, joints, quaternion wxyz]
    pregrasp_qpos: Float[np.ndarray, "j"]
    squeeze_qpos: Float[np.ndarray, "j"]
    approach_m: (
        Float[np.ndarray, "3"] | None
    )  # from the grasp to where the base starts, where the file says it
    frame: str
    quality: float


def read_grasp(path: Path, number: int, joint_names: tuple[str, ...]) -> ChosenGrasp:
    """Read one grasp from what prediction or a test wrote (``grasps.npz``).

    Args:
        path: the file.
        number: of the grasp; 0 is the first, of a prediction the best.
        joint_names: of the hand.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no such grasp, or grasps of another hand.
    """
    arrays = _of_one_split(read_npz(path), path)
    names = arrays.get("joint_names")
    if names is not None and tuple(names.tolist()) != joint_names:
        raise ValueError(
            f"{path} has grasps of a hand with the joints {', '.join(names.tolist())}; expected "
            f"{', '.join(joint_names)}. Pass the hand they are for."
        )
    j, n = len(joint_names), len(arrays["hand_pose"])
    shapes = tuple(arrays[key].shape for key in _STAGES)
    if shapes != ((n, 7 + j), (n, j), (n, j)):
        raise ValueError(
            f"{path}: expected {', '.join(_STAGES)} of a hand with {j} joints, (n, {7 + j}), (n, {j}), (n, {j}); "
            f"got {', '.join(map(str, shapes))}. Pass the hand they are for."
        )
    if not 0 <= number < n:
        raise ValueError(f"--number: {path} has grasps 0 to {n - 1}, got {number}.")
    approach = arrays["approach"][number] if "approach" in arrays else None
    pose, pregrasp, squeeze = (np.asarray(arrays[key][number], dtype=float) for key in _STAGES)
    return ChosenGrasp(
        pose,
        pregrasp,
        squeeze,
        approach_m=None
        if approach is None or np.isnan(approach).any()
        else np.asarray(approach, dtype=float),
        frame=str(arrays["frame"]) if "frame" in arrays else "world",
        quality=float(arrays["score"][number]) if "score" in arrays else 0.0,
    )


def _of_one_split(arrays: dict[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a prediction, or those of the one split of a test."""
    if "hand_pose" in arrays:
        found = arrays
    else:
        splits = sorted({name.partition("/")[0] for name in arrays if name.endswith("/hand_pose")})
        if len(splits) > 1:
            raise ValueError(
                f"{path} has the grasps of {len(splits)} splits: {', '.join(splits)}. Keep one of them in a file of "
                "its own, or predict for one scene: python scripts/predict.py"
            )
        prefix = f"{splits[0]}/" if splits else ""
        found = {name.removeprefix(prefix): values for name, values in arrays.items()}
    if missing := [key for key in _STAGES if key not in found]:
        raise ValueError(
            f"{path} lacks {', '.join(missing)}. Expected a grasps.npz of scripts/predict.py or test_lightning.py."
        )
    return found


def trajectory_to_dict(trajectory: HandTrajectory) -> dict[str, Any]:
    """Return plain containers that JSON can hold."""
    return {
        "hand": trajectory.hand,
        "joint_names": list(trajectory.joint_names),
        "frame": trajectory.frame,
        "squeeze_nm": trajectory.squeeze_nm,
        "waypoints": [
            {
                "name": w.name,
                "time_s": w.time_s,
                "qpos": w.qpos.tolist(),
                "T_frame_base": w.T_frame_base.tolist(),
                "squeezes": w.squeezes,
            }
            for w in trajectory.waypoints
        ],
    }


def read_trajectory(path: Path) -> HandTrajectory:
    """Read the plan that ``trajectory_to_dict`` gave, below the key ``trajectory``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a plan, or times that do not grow.
    """
    try:
        raw = json.loads(path.read_text())["trajectory"]
        waypoints = tuple(
            HandWaypoint(
                str(w["name"]),
                float(w["time_s"]),
                np.array(w["qpos"], dtype=float),
                np.array(w["T_frame_base"], dtype=float),
                bool(w["squeezes"]),
            )
            for w in raw["waypoints"]
        )
        plan = HandTrajectory(
            str(raw["hand"]),
            tuple(raw["joint_names"]),
            str(raw["frame"]),
            waypoints,
            float(raw["squeeze_nm"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is no plan of a hand ({error}). Make one: python scripts/hand.py plan grasps.npz"
        ) from error
    times = [w.time_s for w in waypoints]
    sizes = {w.qpos.shape for w in waypoints}
    if len(times) < 2 or not (np.diff(times) > 0).all() or sizes != {(len(plan.joint_names),)}:
        raise ValueError(
            f"{path}: expected two way-points at least, at growing times, with {len(plan.joint_names)} joints each; "
            f"got times {times}."
        )
    return plan
