"""What a model reads and returns, and for which hand, in plain containers."""

from typing import Any

from sceneleapultra.models.inference import GraspModel


def signature_of(model: GraspModel) -> dict[str, Any]:
    """Describe the calls of a model; a dimension is a number or a letter: n points, g grasps."""
    joints = list(model.hand.joint_names)
    inputs = {
        "points": _tensor("float32", "n", 3),
        "object_mask": _tensor("bool", "n"),
        "up": _tensor("float32", 3),
        **({"rgb": _tensor("uint8", "n", 3)} if model.uses_color else {}),
    }
    outputs = {
        "position": _tensor("float32", "g", 3),
        "quat_wxyz": _tensor("float32", "g", 4),
        "qpos": _tensor("float32", "g", len(joints)),
        "score": _tensor("float32", "g"),
    }
    return {
        "inputs": inputs,
        "outputs": outputs,
        "hand": model.hand.name,
        "hand_hash": model.hand.table_hash,
        "joints": joints,
        "frame": model.frame,
        "min_points": model.min_points,
    }


def _tensor(dtype: str, *shape: int | str) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape)}
