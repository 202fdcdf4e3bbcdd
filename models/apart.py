"""A few grasps out of many: the best, and others that are good and different."""

import numpy as np
from jaxtyping import Float, Int


def best_and_apart(
    score: Float[np.ndarray, "g"],
    position: Float[np.ndarray, "g 3"],
    quat: Float[np.ndarray, "g 4"],
    number: int,
    *,
    apart_m: float,
    apart_rad: float,
) -> Int[np.ndarray, "k"]:
    """Return rows of grasps, best first: each the best of those that differ from all before it.

    A difference is ``sqrt(d^2 / apart_m^2 + angle^2 / apart_rad^2)`` of the hand's bases; 1 is enough. Where too few
    differ so much, half of it is, and so on.

    Args:
        score: higher is better.
        position: of the hand's base (m).
        quat: how it is turned, unit quaternions.
        number: how many.
        apart_m: a way that is different enough.
        apart_rad: a turn that is.

    Raises:
        ValueError: fewer grasps than asked for.
    """
    if not 1 <= number <= len(score):
        raise ValueError(f"Expected to choose 1 to {len(score)} of {len(score)} grasps, not {number}.")
    order = np.argsort(-score, kind="stable")
    nearest, chosen = np.full(len(score), np.inf), np.zeros(len(score), dtype=bool)
    least = 1.0
    while chosen.sum() < number:
        free = [i for i in order if not chosen[i] and nearest[i] >= least]
        if not free:
            least = least / 2.0 if least > 1e-3 else 0.0
            continue
        chosen[free[0]] = True
        way = np.linalg.norm(position - position[free[0]], axis=1) / apart_m
        turn = 2.0 * np.arccos(np.abs(quat @ quat[free[0]]).clip(0.0, 1.0)) / apart_rad
        nearest = np.minimum(nearest, np.hypot(way, turn))
    return order[chosen[order]]
