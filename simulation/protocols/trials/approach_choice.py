"""From where a hand comes to its grasp: the first straight path along which it is free."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from sceneleapultra.simulation.protocols.contacts import Group
from sceneleapultra.simulation.protocols.motion import shifted
from sceneleapultra.simulation.protocols.spec import Attempt
from sceneleapultra.simulation.protocols.world import World

_UP = np.array([0.0, 0.0, 1.0])
_OBSTACLES: tuple[Group, ...] = ("table", "neighbors", "target")


class _Approach(NamedTuple):
    blocked_m: float  # deeper than at the pre-grasp, somewhere on the way
    offset_m: Float[np.ndarray, "3"]
    start_depth_m: float


@dataclass(frozen=True, kw_only=True)
class ApproachChoice:
    """How the path is chosen; ``config/protocol/scene-lift.yaml`` says what each number means.

    Raises:
        ValueError: no direction to choose from.
    """

    directions: tuple[Literal["palm", "mean", "up"], ...]
    standoff_m: float
    checked_m: tuple[float, ...]
    tolerance_m: float
    max_start_depth_m: float

    def __post_init__(self) -> None:
        if not self.directions:
            raise ValueError("approach.directions: expected at least one of palm, mean, up, got none.")

    def choose(
        self, world: World, attempt: Attempt, object_poses: Float[np.ndarray, "k 7"]
    ) -> tuple[Float[np.ndarray, "3"], float]:
        """Return where the hand starts, seen from the grasp, and how deep it is in anything there.

        The first direction along which the hand is nowhere deeper in table, neighbors or target than at the pre-grasp
        (by a tolerance) and starts free, else the least blocked one. An approach that the attempt brings is kept.
        """
        if attempt.approach is not None:
            offset = np.asarray(attempt.approach, dtype=float)
            return offset, float(self._depths(world, attempt, offset, object_poses).max())
        allowed = self._depths(world, attempt, np.zeros(3), object_poses)
        best: _Approach | None = None
        for direction in self.candidates(world, attempt):
            depths = [
                self._depths(world, attempt, s * direction, object_poses)
                for s in (*self.checked_m, self.standoff_m)
            ]
            start = float(depths[-1].max())
            deeper = float((np.array(depths) - allowed).max())
            found = _Approach(max(deeper, start - self.max_start_depth_m), self.standoff_m * direction, start)
            if best is None or found.blocked_m < best.blocked_m:
                best = found
            if best.blocked_m <= self.tolerance_m:
                break
        assert best is not None  # there is a direction
        return best.offset_m, best.start_depth_m

    def candidates(self, world: World, attempt: Attempt) -> list[Float[np.ndarray, "3"]]:
        """Return unit vectors from the grasp to where the hand may come from, the first choice first."""
        found = []
        for name in self.directions:
            if name == "up":
                found.append(_UP)
                continue
            back = -world.palm_direction(attempt.pregrasp)
            if name == "mean":
                back = back + _UP
            length = float(np.linalg.norm(back))
            found.append(back / length if length > 1e-6 else _UP)  # a palm that looks straight up
        return found

    def _depths(
        self,
        world: World,
        attempt: Attempt,
        offset: Float[np.ndarray, "3"],
        object_poses: Float[np.ndarray, "k 7"],
    ) -> Float[np.ndarray, "3"]:
        """Return how deep the open hand is in table, neighbors and target, moved away from its grasp."""
        world.place(shifted(attempt.pregrasp, offset), object_poses)
        return np.array([-world.hand_distance(to) for to in _OBSTACLES])
