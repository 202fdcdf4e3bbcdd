"""How the joints of a closed loop (a linkage) follow the one joint that moves it: solved once, kept as a spline.

A joint of a loop that nothing drives is where springs leave it, among all places in which the loop is closed and the
joint's own limits hold.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.interpolate import CubicSpline
from scipy.optimize import least_squares
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sceneleapultra.hands.couplings import Couplings
from sceneleapultra.hands.description import Coupling
from sceneleapultra.hands.importers.xml_values import listed

_KNOTS = 129
_OPEN_M = 1e-6  # how far a closed loop may gape
_SPRING = 1e-4  # what one sqrt(N m / rad) of a spring weighs against one metre of a gap
_TIGHT = {"xtol": 1e-13, "ftol": 1e-15, "gtol": 1e-15}


def follow_loops(
    model: Any, couplings: Mapping[str, Coupling], passive: Bool[np.ndarray, "n"], path: Path
) -> dict[str, Coupling]:
    """Return how the joints that nothing drives follow in the loops of a model.

    Args:
        model: compiled, with hinges and slides alone.
        couplings: of the joints that are known to follow.
        passive: which joints nothing drives.
        path: the model's file, for messages.

    Raises:
        ValueError: a loop that several joints move, or that cannot be closed; its joints are named.
    """
    gaps = _Gaps(model, couplings)
    found: dict[str, Coupling] = {}
    for members in gaps.loops():
        names = [gaps.names[k] for k in members]
        moved = np.array([k for k in members if passive[model.joint(gaps.names[k]).id]])
        leaders = [int(k) for k in members if k not in moved]
        if len(leaders) > 1 or not len(moved):
            raise ValueError(
                f"{path}: the loop of {listed(names)} is moved by {len(leaders)} joints; supported are loops that one "
                "joint moves and the others follow. Take the actuators of the others away, or open the loop."
            )
        found |= _follow(gaps, moved, leaders, path)
    return found


def _follow(
    gaps: "_Gaps", moved: Int[np.ndarray, "p"], leaders: list[int], path: Path
) -> dict[str, Coupling]:
    """Solve for the joints of one loop along the range of its leader."""
    names = [gaps.names[k] for k in moved]
    free = np.clip(gaps.start, *gaps.limits.T)
    leader = leaders[0] if leaders else None
    low, high = (0.0, 0.0) if leader is None else np.clip(gaps.limits[leader], -np.pi, np.pi).tolist()
    knots = np.linspace(low, high, 1 if leader is None else _KNOTS)
    first = 0 if leader is None else int(np.abs(knots - free[leader]).argmin())
    solved: dict[int, Float[np.ndarray, "p"]] = {}
    for way in (range(first, len(knots)), range(first - 1, -1, -1)):
        at = free.copy()
        if first in solved:
            at[moved] = solved[first]
        for k in way:
            if leader is not None:
                at[leader] = knots[k]
            at, gap = gaps.close(at, moved)
            if gap > _OPEN_M:
                break
            solved[k] = at[moved].copy()
    if first not in solved:
        raise ValueError(
            f"{path}: the loop of {listed(names)} cannot be closed where the hand begins (it gapes by "
            f"{1e3 * gaps.close(free, moved)[1]:.2g} mm). Correct its anchors, or the ranges of its joints."
        )
    if leader is not None and len(solved) < 4:
        raise ValueError(
            f"{path}: the loop of {listed(names)} closes where '{gaps.names[leader]}' is {knots[first]:.3g}, and not "
            f"on its way from {low:.3g} to {high:.3g}: the ranges of the others leave it no room. Correct them."
        )
    if leader is None:
        return {
            name: Coupling(None, (0.0,), ((float(x),),)) for name, x in zip(names, solved[0], strict=True)
        }
    reached = sorted(solved)
    spline = CubicSpline(knots[reached], np.array([solved[k] for k in reached]))
    # The last knot carries on in a line: a leader hardly moves beyond it.
    ends = np.stack((spline(knots[reached[-1]]), spline(knots[reached[-1]], 1)))
    found = {}
    for p, name in enumerate(names):
        rows = [tuple(float(c) for c in row[::-1]) for row in spline.c[:, :, p].T]
        rows.append(tuple(float(c) for c in ends[:, p]))
        found[name] = Coupling(gaps.names[leader], tuple(float(x) for x in knots[reached]), tuple(rows))
    return found


class _Gaps:
    """How far the loops of a model gape, given the joints that do not follow by a known coupling."""

    def __init__(self, model: Any, couplings: Mapping[str, Coupling]) -> None:
        self.model = copy.copy(model)
        self.model.opt.jacobian = mujoco.mjtJacobian.mjJAC_DENSE
        self.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT | mujoco.mjtDisableBit.mjDSBL_LIMIT
        self.data = mujoco.MjData(self.model)
        every = [model.joint(k).name for k in range(model.njnt)]
        self.names = [name for name in every if name not in couplings]
        self._couplings = Couplings(self.names, couplings, torch.float64)
        self._all = np.array([every.index(name) for name in self._couplings.names])
        free = self._all[: len(self.names)]
        self.start = model.qpos0[model.jnt_qposadr[free]]
        limited = model.jnt_limited[free].astype(bool)[:, None]
        self.limits = np.where(limited, model.jnt_range[free], (-np.inf, np.inf))
        self._stiffness = np.sqrt(model.jnt_stiffness[free])
        self._spring = model.qpos_spring[model.jnt_qposadr[free]]

    def loops(self) -> list[Int[np.ndarray, "m"]]:
        """Return the joints of each loop: those that have a gap in common."""
        rng = np.random.default_rng(0)
        finite = np.nan_to_num(self.limits, posinf=1.0, neginf=-1.0)
        _, J = self._measure(rng.uniform(*finite.T))
        row, column = np.nonzero(np.abs(J) > 1e-9)
        n = len(self.names)
        links = coo_array((np.ones(len(row)), (row + n, column)), shape=(n + len(J),) * 2)
        _, label = connected_components(links, directed=False)
        touched = set(label[n + row].tolist())
        return [np.flatnonzero(label[:n] == one) for one in sorted(touched)]

    def close(
        self, free: Float[np.ndarray, "f"], moved: Int[np.ndarray, "p"]
    ) -> tuple[Float[np.ndarray, "f"], float]:
        """Move some joints until the loop is closed, where springs want them; return all and the gap that is left."""
        low, high = self.limits[moved].T
        at = free.copy()
        for spring in (_SPRING, 0.0):
            weight = spring * self._stiffness[moved]

            def residual(x: Float[np.ndarray, "p"], weight: Any = weight) -> Any:
                at[moved] = x
                return np.concatenate((self._measure(at)[0], weight * (x - self._spring[moved])))

            def jacobian(x: Float[np.ndarray, "p"], weight: Any = weight) -> Any:
                at[moved] = x
                return np.concatenate((self._measure(at)[1][:, moved], np.diag(weight)))

            inside = np.clip(at[moved], low, high)
            at[moved] = least_squares(residual, inside, jacobian, bounds=(low, high), **_TIGHT).x
        return at, float(np.abs(self._measure(at)[0]).max(initial=0.0))

    def _measure(
        self, free: Float[np.ndarray, "f"]
    ) -> tuple[Float[np.ndarray, "r"], Float[np.ndarray, "r f"]]:
        model, data = self.model, self.data
        q = torch.as_tensor(free)
        data.qpos[model.jnt_qposadr[self._all]] = self._couplings(q).numpy()
        mujoco.mj_fwdPosition(model, data)
        rows = data.efc_type == mujoco.mjtConstraint.mjCNSTR_EQUALITY
        J = data.efc_J.reshape(-1, model.nv)[rows][:, model.jnt_dofadr[self._all]]
        source, slopes = self._couplings.source.numpy(), self._couplings.slopes(q).numpy()
        of_free = np.zeros((len(J), len(free)))
        np.add.at(of_free.T, source, (J * slopes).T)
        return data.efc_pos[rows].copy(), of_free
