"""How deep, how near and where the hand meets the object: read from MuJoCo's contacts."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import mujoco
import numpy as np
from jaxtyping import Bool, Float, Int

from sceneleapultra.simulation.protocols.model import HAND_PREFIX, HandModel
from sceneleapultra.simulation.protocols.protocol import Protocol


@dataclass(frozen=True)
class ContactMetrics:
    """How the hand meets the object at the grasp pose, nothing moving.

    Source: DexGraspBench: PD, SPD, CLN, contact distance and contact distance consistency.
    """

    penetration_m: float  # deepest point of the hand in the object, 0 outside
    self_penetration_m: float
    contact_links: int  # links of the hand that touch the object
    contact_distance_m: float  # mean over fingers of their distance, at most the margin
    contact_consistency_m: float  # largest less least distance of a finger; 0 is best


class ContactReader:
    """Sorts the contacts of a compiled protocol into hand with object and hand with itself."""

    def __init__(self, model: mujoco.MjModel, hand: HandModel, protocol: Protocol) -> None:
        self._model = model
        self._protocol = protocol
        # Bodies: world, the hand's subtree, the hand's target, the object. The floor belongs to the world.
        self._object = model.nbody - 1
        self._hand = np.zeros(model.nbody, dtype=bool)
        self._hand[1 : model.nbody - 2] = True
        self._links = self._ids(hand.contact_bodies)
        self._fingers = [self._ids(bodies) for bodies in hand.finger_bodies.values()]

    def least_distance(self, data: mujoco.MjData, *, with_object: bool) -> float:
        """Return the least distance of the hand to the object or to itself, 0 where nothing touches."""
        pairs, dist = self._pairs(data)
        chosen = self._with_object(pairs) if with_object else self._hand[pairs].all(axis=1)
        return float(dist[chosen].min(initial=0.0))

    @contextmanager
    def margin(self) -> Iterator[None]:
        """Let MuJoCo report contacts of the object from a distance, without force."""
        model, margin = self._model, self._protocol.metric_margin_m
        arrays = (model.geom_margin, model.geom_gap, model.body_margin)
        saved = [array.copy() for array in arrays]
        of_object = model.geom_bodyid == self._object
        model.geom_margin[of_object] = margin
        model.geom_gap[of_object] = margin
        model.body_margin[self._object] = margin
        try:
            yield
        finally:
            for array, values in zip(arrays, saved, strict=True):
                array[:] = values

    def metrics(self, data: mujoco.MjData) -> ContactMetrics:
        """Measure the contacts of the data, which was brought forward within ``margin``."""
        pairs, dist = self._pairs(data)
        touching = self._with_object(pairs)
        bodies, gaps = pairs[touching].min(axis=1), dist[touching]
        near = bodies[np.abs(gaps) < self._protocol.touch_distance_m]
        fingers = np.array(
            [gaps[np.isin(bodies, f)].min(initial=self._protocol.metric_margin_m) for f in self._fingers]
        )
        return ContactMetrics(
            penetration_m=max(0.0, -self.least_distance(data, with_object=True)),
            self_penetration_m=max(0.0, -self.least_distance(data, with_object=False)),
            contact_links=int(np.isin(self._links, near).sum()),
            contact_distance_m=float(np.maximum(fingers, 0).mean()),
            contact_consistency_m=float(fingers.max() - fingers.min()),
        )

    def _pairs(self, data: mujoco.MjData) -> tuple[Int[np.ndarray, "c 2"], Float[np.ndarray, "c"]]:
        return self._model.geom_bodyid[data.contact.geom], data.contact.dist

    def _with_object(self, pairs: Int[np.ndarray, "c 2"]) -> Bool[np.ndarray, "c"]:
        return (pairs == self._object).any(axis=1) & self._hand[pairs].any(axis=1)

    def _ids(self, bodies: tuple[str, ...]) -> Int[np.ndarray, "_"]:
        return np.array([self._model.body(HAND_PREFIX + name).id for name in bodies], dtype=int)
