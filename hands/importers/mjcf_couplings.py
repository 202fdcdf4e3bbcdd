"""Which joints of an MJCF follow others: tied by an equality, closed to a loop, or driven by nothing at all.

Axes: n joints of the model, in its order.
"""

import logging
from itertools import pairwise
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from jaxtyping import Bool, Float
from numpy.polynomial import Polynomial
from numpy.polynomial.polynomial import polyval

from sceneleapultra.hands.description import Coupling
from sceneleapultra.hands.importers.loops import follow_loops
from sceneleapultra.hands.importers.mjcf_servos import moments
from sceneleapultra.hands.importers.xml_values import listed

_LOG = logging.getLogger(__name__)
_LOOP_TYPES = (mujoco.mjtEq.mjEQ_CONNECT, mujoco.mjtEq.mjEQ_WELD, mujoco.mjtEq.mjEQ_TENDON)


def read_couplings(model: Any, path: Path) -> dict[str, Coupling]:
    """Return what each joint does that is no number of a pose.

    Args:
        model: compiled, with hinges and slides alone; without actuators every joint is taken to be driven.
        path: its file, for messages.

    Raises:
        ValueError: joints that are tied to several others at once, or in a ring, or by a loop that cannot be followed.
    """
    driven = np.asarray((moments(model) > 0).any(0)) if model.nu else np.ones(model.nv, dtype=bool)
    couplings = _ties(model, driven, path)
    followers = np.array([_name(model, k) in couplings for k in range(model.njnt)])
    loops = [i for i in range(model.neq) if model.eq_active0[i] and model.eq_type[i] in _LOOP_TYPES]
    if loops:
        couplings |= follow_loops(model, couplings, ~(driven | followers), path)
    idle = [
        k
        for k in range(model.njnt)
        if not driven[k] and not followers[k] and _name(model, k) not in couplings
    ]
    for k in idle:
        couplings[_name(model, k)] = Coupling(None, (0.0,), ((_rest(model, k),),))
    if idle:
        _LOG.warning(
            "%s: %s: no actuator and no coupling, taken to stay at rest",
            path,
            listed([_name(model, k) for k in idle]),
        )
    return {
        _name(model, k): couplings[_name(model, k)] for k in range(model.njnt) if _name(model, k) in couplings
    }


def _ties(model: Any, driven: Bool[np.ndarray, "n"], path: Path) -> dict[str, Coupling]:
    """Return the followers that an equality of two joints names, each by the joint at the end of its chain."""
    ties: dict[int, tuple[int | None, Polynomial]] = {}
    for i in range(model.neq):
        if not model.eq_active0[i] or model.eq_type[i] != mujoco.mjtEq.mjEQ_JOINT:
            continue
        first, second = int(model.eq_obj1id[i]), int(model.eq_obj2id[i])
        # q1 - ref1 = polynomial of q2 - ref2
        polynomial = Polynomial(model.eq_data[i, :5]).trim()
        ref = _ref(model, first)
        if second < 0:
            ties[first] = (None, Polynomial([polynomial.coef[0] + ref]))
            continue
        if driven[first] and not driven[second] and len(polynomial.coef) == 2:
            first, second = second, first
            constant, slope = (float(c) for c in polynomial.coef)
            polynomial, ref = Polynomial([-constant / slope, 1 / slope]), _ref(model, first)
        if first in ties:
            raise ValueError(
                f"{path}: joint '{_name(model, first)}' is tied to '{_name(model, second)}' and to another joint too. "
                "Tie each joint once."
            )
        ties[first] = (second, polynomial(Polynomial([-_ref(model, second), 1.0])) + ref)
    couplings = {}
    for first, (leader, polynomial) in ties.items():
        visited = [first]
        while leader in ties:
            if leader in visited:
                raise ValueError(
                    f"{path}: {listed([_name(model, k) for k in visited])} follow each other in a ring. Leave one free."
                )
            visited.append(leader)
            leader, above = ties[leader]
            polynomial = polynomial(above)
        couplings[_name(model, first)] = _coupling(model, leader, polynomial)
    return couplings


def _coupling(model: Any, leader: int | None, polynomial: Polynomial) -> Coupling:
    name = None if leader is None else _name(model, leader)
    return Coupling(name, (0.0,), (tuple(float(c) for c in polynomial.trim().coef),))


def narrowed(model: Any, couplings: dict[str, Coupling], path: Path) -> dict[str, tuple[float, float]]:
    """Return the limits of joints that are narrower than their own, since followers reach theirs first.

    Raises:
        ValueError: a joint is left no room.
    """
    limits: dict[str, tuple[float, float]] = {}
    for follower, coupling in couplings.items():
        k = model.joint(follower).id
        if coupling.leader is None:
            continue
        leader = model.joint(coupling.leader).id
        own = model.jnt_range[leader] if model.jnt_limited[leader] else (-np.pi, np.pi)
        low, high = limits.get(coupling.leader, (float(own[0]), float(own[1])))
        if len(coupling.knots) > 1:  # a loop was followed as far as it can be closed
            ends = (coupling.knots[0], coupling.knots[-1])
        elif model.jnt_limited[k]:
            start = float(np.clip(_ref(model, leader), low, high))
            ends = _room(Polynomial(coupling.coefficients[0]), model.jnt_range[k], (low, high), start)
        else:
            continue
        tolerance = 1e-9 + 1e-3 * (high - low)  # limits as they are rounded in files
        low = ends[0] if ends[0] > low + tolerance else low
        high = ends[1] if ends[1] < high - tolerance else high
        if not low < high:
            raise ValueError(
                f"{path}: joint '{follower}' follows '{coupling.leader}', and their limits leave no room for both. "
                f"Correct the range of '{follower}'."
            )
        limits[coupling.leader] = (low, high)
    return limits


def _room(
    polynomial: Polynomial,
    allowed: Float[np.ndarray, "2"],
    limits: tuple[float, float],
    start: float,
) -> tuple[float, float]:
    """Return between which positions a leader may move, near where it starts, with its follower within its limits."""
    complex_roots = np.concatenate([(polynomial - float(end)).roots() for end in allowed])
    roots = np.real(complex_roots[np.abs(np.imag(complex_roots)) < 1e-9]).tolist()
    edges = sorted({*limits, *(root for root in roots if limits[0] < root < limits[1])})
    rooms: list[tuple[float, float]] = []
    for low, high in pairwise(edges):
        if allowed[0] <= float(polyval((low + high) / 2, polynomial.coef)) <= allowed[1]:
            joined = rooms.pop()[0] if rooms and rooms[-1][1] == low else low
            rooms.append((joined, high))
    return min(rooms, key=lambda room: max(room[0] - start, start - room[1]), default=(start, start))


def _name(model: Any, k: int) -> str:
    return str(model.joint(k).name)


def _ref(model: Any, k: int) -> float:
    return float(model.qpos0[model.jnt_qposadr[k]])


def _rest(model: Any, k: int) -> float:
    adr = model.jnt_qposadr[k]
    rest = float(model.qpos_spring[adr] if model.jnt_stiffness[k] > 0 else model.qpos0[adr])
    return float(np.clip(rest, *model.jnt_range[k])) if model.jnt_limited[k] else rest
