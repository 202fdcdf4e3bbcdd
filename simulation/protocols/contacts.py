"""Which bodies touch in a world: MuJoCo's contacts, sorted into hand, target and everything else."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import mujoco
import numpy as np
from jaxtyping import Bool, Float, Int

from sceneleapultra.simulation.protocols.compiling import HAND_WORLD, object_body
from sceneleapultra.simulation.protocols.servos import HAND_PREFIX

Group = Literal["target", "hand", "scene", "table", "neighbors"]  # scene: table and neighbors
_WORLD = 0  # MuJoCo's body that does not move: here the table


class Contacts:
    """Sorts the contacts of a compiled world."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model = model
        self.target = model.body(object_body(0)).id
        root = int(model.body_rootid[model.body(HAND_WORLD).id])
        self.is_hand: Bool[np.ndarray, "_"] = np.asarray(model.body_rootid == root)

    def hand_distance(self, data: mujoco.MjData, to: Group) -> float:
        """Return the least distance of the hand to the target, to itself or to the rest, 0 where nothing touches."""
        pairs, distance = self._pairs(data)
        return float(distance[self._between(pairs, to)].min(initial=0.0))

    def hand_force(self, data: mujoco.MjData, to: Group) -> float:
        """Return the sum of the normal forces between the hand and something (N)."""
        pairs, _ = self._pairs(data)
        total, force = 0.0, np.empty(6)
        for number in np.flatnonzero(self._between(pairs, to)):
            mujoco.mj_contactForce(self._model, data, number, force)
            total += force[0]
        return total

    def of_hand(
        self, data: mujoco.MjData, to: Group
    ) -> Iterator[tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]]:
        """Return where the hand touches something (m), and its force on it there (N), world frame."""
        pairs, _ = self._pairs(data)
        force = np.empty(6)
        for number in np.flatnonzero(self._between(pairs, to)):
            mujoco.mj_contactForce(self._model, data, number, force)
            contact = data.contact[number]
            # MuJoCo's force is on the second body, in the contact's frame, whose axes are rows.
            on_second = contact.frame.reshape(3, 3).T @ force[:3]
            hand_first = self.is_hand[pairs[number, 0]]
            yield contact.pos.copy(), on_second if hand_first else -on_second

    def with_target(self, data: mujoco.MjData) -> tuple[Int[np.ndarray, "c"], Float[np.ndarray, "c"]]:
        """Return the body of the hand, and the distance, of each contact of hand and target."""
        pairs, distance = self._pairs(data)
        chosen = self._between(pairs, "target")
        first, second = pairs[chosen].T
        return np.where(self.is_hand[first], first, second), distance[chosen]

    def places_on_target(self, data: mujoco.MjData) -> tuple[Int[np.ndarray, "c"], Float[np.ndarray, "c 3"]]:
        """Return the target's piece, and the place in its frame (m), of each contact of :meth:`with_target`."""
        chosen = np.flatnonzero(self._between(self._pairs(data)[0], "target"))
        geoms = data.contact.geom[chosen]
        of_target = geoms[self._model.geom_bodyid[geoms] == self.target]
        R, t = data.xmat[self.target].reshape(3, 3), data.xpos[self.target]
        return of_target - self._model.body_geomadr[self.target], (data.contact.pos[chosen] - t) @ R

    def hand_bodies(self, names: Sequence[str]) -> Int[np.ndarray, "_"]:
        """Return the numbers of bodies of the hand, named as in its description."""
        return np.array([self._model.body(HAND_PREFIX + name).id for name in names], dtype=int)

    @contextmanager
    def margin(self, margin_m: float) -> Iterator[None]:
        """Let MuJoCo report contacts of the target from a distance, without force."""
        model = self._model
        arrays = (model.geom_margin, model.geom_gap, model.body_margin)
        saved = [array.copy() for array in arrays]
        of_target = model.geom_bodyid == self.target
        model.geom_margin[of_target] = margin_m
        model.geom_gap[of_target] = margin_m
        model.body_margin[self.target] = margin_m
        try:
            yield
        finally:
            for array, values in zip(arrays, saved, strict=True):
                array[:] = values

    def _pairs(self, data: mujoco.MjData) -> tuple[Int[np.ndarray, "c 2"], Float[np.ndarray, "c"]]:
        return self._model.geom_bodyid[data.contact.geom], data.contact.dist

    def _between(self, pairs: Int[np.ndarray, "c 2"], to: Group) -> Bool[np.ndarray, "c"]:
        hand, target = self.is_hand[pairs], (pairs == self.target).any(axis=1)
        if to == "hand":
            return hand.all(axis=1)
        if to == "target":
            return target & hand.any(axis=1)
        table, with_scene = (pairs == _WORLD).any(axis=1), hand.any(axis=1) & ~hand.all(axis=1) & ~target
        if to == "scene":
            return with_scene
        return with_scene & (table if to == "table" else ~table)
