"""What a service answers, in memory: grasps with their approaches; the same in JSON and in the binary form."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from sceneleapultra.models.sampled_grasps import COLUMNS, SampledGrasps
from sceneleapultra.serving.arrays import pack
from sceneleapultra.serving.schema import VERSION

_TEXT = "answer"


@dataclass(frozen=True)
class ServedGrasps:
    """Grasps of one request in its own frame, best first, and how to come to them.

    Example:
        >>> served = GraspClient().grasps(points, 32, mask=mask)
        >>> served.grasps.position, served.grasps.qpos, served.waypoints[0], served.free[0]
    """

    grasps: SampledGrasps
    waypoints: Float[
        np.ndarray, "g 2 7"
    ]  # base poses [position, quaternion wxyz]: start of the approach, and grasp
    free: Bool[np.ndarray, "g"]  # the way is, as far as it was observed
    up: Float[np.ndarray, "3"]  # against gravity
    notes: tuple[str, ...]  # what was left out of the cloud, measured and chosen
    model: str

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON says, see :class:`~sceneleapultra.serving.schema.GraspsAnswer`."""
        plain = self.grasps.to_dict()
        for grasp, ways, free in zip(
            plain["grasps"], self.waypoints.tolist(), self.free.tolist(), strict=True
        ):
            del grasp["rotation"]
            points = [{"position": way[:3], "quat_wxyz": way[3:]} for way in ways]
            grasp["approach"] = {"waypoints": points, "free": free}
        return {**self._head(), "warnings": plain["warnings"], "grasps": plain["grasps"]}

    def to_json(self) -> bytes:
        """Return the same as text."""
        return json.dumps(self.to_dict(), separators=(",", ":"), allow_nan=False).encode()

    def to_npz(self) -> bytes:
        """Return the binary form: a column for each number of the grasps, and a text ``answer`` with all else."""
        columns = {name: getattr(self.grasps, name) for name in COLUMNS}
        arrays = {name: column for name, column in columns.items() if column is not None}
        head = {**self._head(), "warnings": list(self.grasps.warnings)}
        arrays |= {"waypoints": self.waypoints, "free": self.free, _TEXT: np.array(json.dumps(head))}
        return pack(arrays)

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "ServedGrasps":
        """Return what the binary form says."""
        head = json.loads(str(arrays[_TEXT]))
        grasps = SampledGrasps(
            **{name: arrays.get(name) for name in COLUMNS},  # type: ignore[arg-type]
            joint_names=tuple(head["joint_names"]),
            hand=head["hand"],
            frame=head["frame"],
            nfe=head["nfe"],
            warnings=tuple(head["warnings"]),
        )
        return cls(
            grasps=grasps,
            waypoints=arrays["waypoints"],
            free=arrays["free"],
            up=np.array(head["up"]),
            notes=tuple(head["notes"]),
            model=head["model"],
        )

    def _head(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "model": self.model,
            "hand": self.grasps.hand,
            "frame": self.grasps.frame,
            "up": self.up.tolist(),
            "joint_names": list(self.grasps.joint_names),
            "notes": list(self.notes),
            "nfe": self.grasps.nfe,
        }
