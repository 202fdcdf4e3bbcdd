"""What is seen of one lift: disturbances so far, and where the target is."""

from typing import ClassVar

import numpy as np
from jaxtyping import Float

from sceneleapultra.simulation.protocols.motion import displacement
from sceneleapultra.simulation.protocols.world import World


class LiftWatch:
    """Reads the world every few steps; keeps the largest forces and shifts. NaN: not reached."""

    columns: ClassVar[tuple[str, ...]] = (
        "approach_m",
        "rise_m",
        "table_force_n",
        "neighbor_force_n",
        "closing_force_n",
        "neighbor_shift_m",
        "target_shift_m",
        "turn_in_hand_deg",
    )

    def __init__(
        self,
        world: World,
        rest: Float[np.ndarray, "k 7"],
        approach_m: Float[np.ndarray, "3"] | None = None,
    ) -> None:
        self._world, self._rest = world, rest
        self.approach_m = np.full(3, np.nan) if approach_m is None else approach_m
        self.table_force_n = self.neighbor_force_n = self.closing_force_n = np.nan
        self.neighbor_shift_m = self.target_shift_m = self.target_turn_deg = np.nan
        self.rise_m = self.peak_rise_m = self.turn_in_hand_deg = self.missed_m = np.nan
        self.held = False  # the target was touched after the squeeze
        self.touching = False  # and is at the end
        self._squeezed = self.target_pose = rest[0]

    def read_approach(self) -> None:
        """Note what the hand presses on its way to the grasp."""
        self.table_force_n = np.fmax(self.table_force_n, self._world.hand_force("table"))
        self.neighbor_force_n = np.fmax(self.neighbor_force_n, self._world.hand_force("neighbors"))
        self._read_neighbors()

    def end_approach(self) -> None:
        """Note how far the target was pushed before the hand closed."""
        moved = displacement(self._rest[0], self._world.target_pose)
        self.target_shift_m, self.target_turn_deg = moved

    def read_closing(self) -> None:
        """Note what the fingers press while they close."""
        self.closing_force_n = np.fmax(self.closing_force_n, self._world.hand_force("table"))
        self._read_neighbors()

    def end_closing(self) -> None:
        """Note whether the hand has the target."""
        self.held = self.touching = self.touched()
        self._squeezed = self.target_pose = self._world.target_pose.copy()

    def read_lift(self, *, any_object: bool) -> None:
        """Note how far up the target, or any object, is."""
        rise = self._world.object_poses[:, 2] - self._rest[:, 2]
        self.rise_m = float(rise.max() if any_object else rise[0])
        self.peak_rise_m = np.fmax(self.peak_rise_m, self.rise_m)
        self._read_neighbors()

    def end(self, goal_m: Float[np.ndarray, "3"] | None = None) -> None:
        """Note where the target is at the end, and how far from its ``goal_m`` above its rest."""
        self.touching, self.target_pose = self.touched(), self._world.target_pose.copy()
        _, self.turn_in_hand_deg = displacement(self._squeezed, self.target_pose)
        if goal_m is not None:
            self.missed_m = float(np.linalg.norm(self.target_pose[:3] - self._rest[0, :3] - goal_m))

    def touched(self) -> bool:
        """Tell whether the hand touches the target."""
        return self._world.hand_distance("target") < 0

    def _read_neighbors(self) -> None:
        if len(self._rest) > 1:
            shift = np.linalg.norm(self._world.object_poses[1:, :3] - self._rest[1:, :3], axis=1)
            self.neighbor_shift_m = np.fmax(self.neighbor_shift_m, shift.max())
