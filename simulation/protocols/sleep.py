"""Objects that rest untouched need no simulation: they stand still until something comes near."""

from collections.abc import Iterator
from contextlib import contextmanager

import mujoco
import numpy as np
from jaxtyping import Float, Int

# Contact bit of what does not move: the table, and objects asleep. They do not touch one another.
_STILL_BIT = 1 << 30
_MOVER_BIT = 1  # of everything, as MuJoCo sets it
# An object wakes when a mover is so near (m) at a look: more than a hand goes between two looks.
_WAKE_M = 0.008
# All wake when the target is faster (m/s) than a hand carries it: it may go further between two looks.
_FAST_M_S = 0.5


def allow_sleep(spec: mujoco.MjSpec, table: mujoco.MjsGeom, neighbors: list[mujoco.MjsBody]) -> None:
    """Give geoms the contact bits that sleeping takes away: bits that are raised after compiling are not heeded."""
    for geom in spec.geoms:
        if (geom.contype | geom.conaffinity) & _MOVER_BIT:
            geom.conaffinity |= _STILL_BIT
    for body in neighbors:
        for geom in body.geoms:
            geom.contype |= _STILL_BIT
    table.contype, table.conaffinity = _STILL_BIT, 0


class Sleep:
    """Puts neighbors of the target to sleep, and wakes what something comes near to."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, bodies: Int[np.ndarray, "k"]) -> None:
        self._model, self._data = model, data
        self._target, self._neighbors = int(bodies[0]), bodies[1:]
        self._of_geoms = _copies(
            model.geom_contype, model.geom_conaffinity, model.geom_margin, model.geom_gap
        )
        self._of_bodies = _copies(model.body_margin, model.body_gravcomp)
        self._asleep = np.zeros(model.nbody, dtype=bool)

    @contextmanager
    def all(self) -> Iterator[None]:
        """Put all neighbors to sleep; whoever still sleeps at the end wakes."""
        model, sleeping = self._model, np.isin(self._model.geom_bodyid, self._neighbors)
        model.geom_contype[sleeping], model.geom_conaffinity[sleeping] = _STILL_BIT, 0
        model.geom_margin[sleeping] = model.geom_gap[sleeping] = _WAKE_M
        model.body_margin[self._neighbors] = _WAKE_M
        model.body_gravcomp[self._neighbors] = 1.0  # nothing carries it
        self._asleep[self._neighbors] = True
        try:
            yield
        finally:
            self._wake(self._neighbors)

    def update(self) -> None:
        """Wake the neighbors that something is near to."""
        if not self._asleep.any():
            return
        near = self._model.geom_bodyid[self._data.contact.geom]
        if np.linalg.norm(self._target_velocity) > _FAST_M_S:
            near = self._neighbors
        found = near[self._asleep[near]]
        if found.size:
            self._wake(np.unique(found))

    @property
    def _target_velocity(self) -> Float[np.ndarray, "3"]:
        start = self._model.body_dofadr[self._target]
        return self._data.qvel[start : start + 3]

    def _wake(self, bodies: Int[np.ndarray, "m"]) -> None:
        geoms = np.isin(self._model.geom_bodyid, bodies)
        for rows, arrays in ((geoms, self._of_geoms), (bodies, self._of_bodies)):
            for array, values in arrays:
                array[rows] = values[rows]
        self._asleep[bodies] = False


def _copies(*arrays: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    return tuple((array, array.copy()) for array in arrays)
