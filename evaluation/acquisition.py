"""Which grasps of a pool are worth a simulation: rules that choose what is labeled next.

Entropy: the ensemble's mean is least sure (Settles 2009, "Active Learning Literature Survey", sec. 3.1). Disagreement:
its members differ, the mutual information of label and member (Houlsby et al. 2011, BALD; Beluch et al. 2018 for
ensembles). Core-set: far from everything labeled, greedy k-center (Sener & Savarese 2018).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Float, Int

_TINY = 1e-9


@dataclass(frozen=True)
class PoolState:
    """What is known of the grasps of a pool when the next ones are chosen."""

    probability: Float[
        np.ndarray, "m n"
    ]  # of success, by each member of an ensemble; no member before the first round
    embedding: Float[np.ndarray, "n d"]  # near for grasps that are alike
    labeled: Bool[np.ndarray, "n"]

    @property
    def unlabeled(self) -> Int[np.ndarray, "_"]:
        """Rows that may be chosen."""
        return np.flatnonzero(~self.labeled)


Acquisition = Callable[[PoolState, int, np.random.Generator], Int[np.ndarray, "c"]]


def choose_random(state: PoolState, count: int, rng: np.random.Generator) -> Int[np.ndarray, "c"]:
    """Return rows drawn alike."""
    return rng.permutation(state.unlabeled)[:count]


def choose_entropy(state: PoolState, count: int, rng: np.random.Generator) -> Int[np.ndarray, "c"]:
    """Return the rows whose mean probability is nearest to even."""
    return _highest(_entropy(state.probability.mean(0)), state, count)


def choose_disagreement(state: PoolState, count: int, rng: np.random.Generator) -> Int[np.ndarray, "c"]:
    """Return the rows with the largest entropy of the mean less mean entropy."""
    p = state.probability
    return _highest(_entropy(p.mean(0)) - _entropy(p).mean(0), state, count)


def choose_core_set(state: PoolState, count: int, rng: np.random.Generator) -> Int[np.ndarray, "c"]:
    """Return, one after the other, the row that is furthest from all labeled and chosen ones."""
    rows, x = state.unlabeled, state.embedding
    chosen: list[int] = []
    apart = np.full(len(rows), np.inf)
    for center in x[state.labeled]:
        apart = np.minimum(apart, np.linalg.norm(x[rows] - center, axis=1))
    for _ in range(min(count, len(rows))):
        furthest = int(apart.argmax())
        chosen.append(int(rows[furthest]))
        apart = np.minimum(apart, np.linalg.norm(x[rows] - x[rows[furthest]], axis=1))
        apart[furthest] = -np.inf
    return np.array(chosen, dtype=int)


def _highest(value: Float[np.ndarray, "n"], state: PoolState, count: int) -> Int[np.ndarray, "c"]:
    rows = state.unlabeled
    return rows[np.argsort(-value[rows], kind="stable")[:count]]


def _entropy(p: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Return the entropy of an event of a probability (nats)."""
    p = p.clip(_TINY, 1.0 - _TINY)
    return -p * np.log(p) - (1.0 - p) * np.log1p(-p)


SCORED = ("entropy", "disagreement")  # those that read probabilities
ACQUISITIONS: Mapping[str, Acquisition] = MappingProxyType(
    {
        "random": choose_random,
        "entropy": choose_entropy,
        "disagreement": choose_disagreement,
        "core_set": choose_core_set,
    }
)
