"""What a protocol said about a set of grasps, and how that is summed up."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from sceneleapultra.utils.core.stats import wilson_interval
from sceneleapultra.utils.records import Outcome


@dataclass(frozen=True)
class Verdicts:
    """Verdicts on g grasps in the order given; d directions of the protocol.

    Directions that were not run (pre-grasp rejected, stopped at a failure) are False. Displacement and angle
    are the largest over the directions run, NaN where none was.
    """

    protocol: str
    protocol_hash: str
    object: tuple[str, ...]  # name of the object, per grasp
    success: Bool[np.ndarray, "g"]
    direction_success: Bool[np.ndarray, "g d"]
    outcome: UInt8[np.ndarray, "g"]  # values of utils.records.Outcome
    displacement_m: Float[np.ndarray, "g"]
    angle_deg: Float[np.ndarray, "g"]
    penetration_m: Float[np.ndarray, "g"]
    self_penetration_m: Float[np.ndarray, "g"]
    contact_links: Int[np.ndarray, "g"]
    contact_distance_m: Float[np.ndarray, "g"]
    contact_consistency_m: Float[np.ndarray, "g"]

    def __len__(self) -> int:
        return len(self.success)

    @property
    def ran(self) -> Bool[np.ndarray, "g"]:
        """Which grasps have a verdict; the simulation of the others diverged."""
        return self.outcome != Outcome.NOT_RUN

    @classmethod
    def concatenate(cls, parts: Sequence["Verdicts"]) -> "Verdicts":
        """Join verdicts of one protocol in order.

        Raises:
            ValueError: Nothing to join, or verdicts of different protocols or MuJoCo versions.
        """
        hashes = {part.protocol_hash for part in parts}
        if len(hashes) != 1:
            known = ", ".join(f"{p.protocol} ({p.protocol_hash})" for p in parts) or "none"
            raise ValueError(f"Verdicts of one protocol can be joined, got {known}. Join each apart.")
        joined: dict[str, Any] = {"protocol": parts[0].protocol, "protocol_hash": parts[0].protocol_hash}
        joined["object"] = tuple(name for part in parts for name in part.object)
        for field in fields(cls)[3:]:
            joined[field.name] = np.concatenate([getattr(part, field.name) for part in parts])
        return cls(**joined)

    def summary(self) -> dict[str, Any]:
        """Return rates, a 95 % Wilson interval and means, ready for JSON; grasps not run are no trials."""
        ran = self.ran
        trials, successes = int(ran.sum()), int(self.success.sum())
        low, high = wilson_interval(successes, trials)
        names = np.array(self.object, dtype=object)
        solved = len(set(names[self.success]))
        return {
            "protocol": self.protocol,
            "protocol_hash": self.protocol_hash,
            "num_grasps": len(self),
            "num_not_run": len(self) - trials,
            "num_objects": len(set(names)),
            "num_success": successes,
            "success": successes / trials if trials else None,
            "success_interval": [low, high],
            "object_success": solved / len(set(names)) if len(self) else None,
            "direction_success": [
                _mean(self.direction_success[ran, i]) for i in range(self.direction_success.shape[1])
            ],
            "outcome": {o.name.lower(): int((self.outcome == o).sum()) for o in Outcome},
            "penetration_mm": _mean(1000 * self.penetration_m[ran]),
            "self_penetration_mm": _mean(1000 * self.self_penetration_m[ran]),
            "contact_links": _mean(self.contact_links[ran]),
            "contact_distance_mm": _mean(1000 * self.contact_distance_m[ran]),
            "contact_consistency_mm": _mean(1000 * self.contact_consistency_m[ran]),
        }


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
