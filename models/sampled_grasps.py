"""What a user gets: grasps of one cloud in its own frame, with what the model expects of them."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from sceneleapultra.models.apart import best_and_apart
from sceneleapultra.utils.records import Grasps

COLUMNS = (
    "hand_pose",
    "pregrasp_qpos",
    "squeeze_qpos",
    "score",
    "p_stable",
    "p_collision_free",
    "clearance_m",
    "clearance_spread_m",
)
EVEN = 0.5  # the model expects a grasp below these odds to fail


@dataclass(frozen=True)
class SampledGrasps:
    """Grasps of one cloud in the cloud's own frame, best first unless the rank leaves their order.

    Examples:
        >>> best = grasps.to_dict()["grasps"][0]
        >>> best["position"], best["quat_wxyz"], best["qpos"], best["p_stable"], best["clearance_m"]
    """

    hand_pose: Float[np.ndarray, "g p"]  # [translation, joints, quaternion wxyz]
    pregrasp_qpos: Float[np.ndarray, "g j"]
    squeeze_qpos: Float[np.ndarray, "g j"]
    score: Float[np.ndarray, "g"]  # what the grasps are ranked by; higher is better
    p_stable: Float[np.ndarray, "g"] | None  # holds the object; None for a model without a score head
    p_collision_free: Float[np.ndarray, "g"] | None  # touches neither table nor neighbors
    clearance_m: Float[
        np.ndarray, "g"
    ]  # from hand to the observed points beside the object; negative: they are inside
    joint_names: tuple[str, ...]
    hand: str
    frame: str  # of all poses: the name that the request gives to its own
    nfe: int  # evaluations of the network
    clearance_spread_m: Float[np.ndarray, "g"] | None = (
        None  # by which hypotheses of the scene differ about the clearance; None without a completion
    )
    warnings: tuple[str, ...] = ()  # what was odd about the request
    trajectory: Float[np.ndarray, "n g p"] | None = None  # hand poses after every step, if asked for

    def __len__(self) -> int:
        return len(self.hand_pose)

    @property
    def grasps(self) -> Grasps:
        """What the hand does, as simulation takes it."""
        return Grasps(self.hand_pose, self.pregrasp_qpos, self.squeeze_qpos)

    @property
    def position(self) -> Float[np.ndarray, "g 3"]:
        """Where the hand's base is (m)."""
        return self.hand_pose[:, :3]

    @property
    def quat_wxyz(self) -> Float[np.ndarray, "g 4"]:
        """How the hand's base is turned."""
        return self.hand_pose[:, -4:]

    @cached_property
    def rotation(self) -> Float[np.ndarray, "g 3 3"]:
        """The same as matrices."""
        return Rotation.from_quat(self.quat_wxyz, scalar_first=True).as_matrix()

    @property
    def qpos(self) -> Float[np.ndarray, "g j"]:
        """Joint angles of the grasp (rad), in the order of ``joint_names``."""
        return self.hand_pose[:, 3:-4]

    @property
    def p_success(self) -> Float[np.ndarray, "g"] | None:
        """Probability that a grasp is stable and collision-free, the two taken as independent."""
        if self.p_stable is None or self.p_collision_free is None:
            return None
        return self.p_stable * self.p_collision_free

    @property
    def expectation(self) -> str | None:
        """A sentence where the model expects that no grasp succeeds, by its own score head."""
        if self.p_success is None or len(self) == 0 or (best := float(self.p_success.max())) >= EVEN:
            return None
        return (
            f"the model expects none of these {len(self)} grasps to hold without touching table or neighbors: best "
            f"{100 * best:.0f} %. Check object, up and viewpoint, or sample more, with sampling.guidance=score."
        )

    def describe(self, i: int) -> str:
        """Say what is expected of a grasp."""
        believed = (
            f"score {self.score[i]:.2f}"
            if self.p_success is None
            else f"{100 * self.p_success[i]:.0f} % expected to succeed"
        )
        return f"{believed}, {1e3 * self.clearance_m[i]:.0f} mm from other points"

    def best(self, number: int, *, apart_m: float = 0.03, apart_rad: float = 0.5) -> "SampledGrasps":
        """Return the best grasp and the best of those that differ from it and from one another, best first.

        What counts as different: :func:`~sceneleapultra.models.apart.best_and_apart`.

        Raises:
            ValueError: fewer grasps than asked for.
        """
        rows = best_and_apart(
            self.score, self.position, self.quat_wxyz, number, apart_m=apart_m, apart_rad=apart_rad
        )
        values = {name: getattr(self, name) for name in COLUMNS}
        some: dict[str, Any] = {
            name: None if column is None else column[rows] for name, column in values.items()
        }
        trajectory = None if self.trajectory is None else self.trajectory[:, rows]
        return replace(self, **some, trajectory=trajectory)

    def with_warnings(self, warnings: tuple[str, ...]) -> "SampledGrasps":
        """Return the same with what was odd about the request."""
        return replace(self, warnings=warnings)

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers that JSON can hold, one entry per grasp."""
        columns = {
            "position": self.position,
            "quat_wxyz": self.quat_wxyz,
            "rotation": self.rotation,
            "qpos": self.qpos,
            "pregrasp_qpos": self.pregrasp_qpos,
            "squeeze_qpos": self.squeeze_qpos,
            "score": self.score,
            "p_stable": self.p_stable,
            "p_collision_free": self.p_collision_free,
            "clearance_m": self.clearance_m,
            "clearance_spread_m": self.clearance_spread_m,
        }
        plain = {name: None if column is None else column.tolist() for name, column in columns.items()}
        return {
            "hand": self.hand,
            "frame": self.frame,
            "joint_names": list(self.joint_names),
            "warnings": list(self.warnings),
            "grasps": [
                {name: None if values is None else values[i] for name, values in plain.items()}
                for i in range(len(self))
            ],
        }
