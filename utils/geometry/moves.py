"""Moves that begin and end at rest."""

from typing import TypeVar

import numpy as np

Share = TypeVar("Share", float, np.ndarray)


def smooth(share: Share) -> Share:
    """Return how far a move is after a share of its time, 0 to 1: the cubic without speed at its start and end."""
    return share * share * (3.0 - 2.0 * share)
