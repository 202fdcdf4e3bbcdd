"""Do rules choose what their formulas say, by hand, and never what has a label?"""

import numpy as np
import pytest

from sceneleapultra.evaluation.acquisition import ACQUISITIONS, PoolState

RNG = np.random.default_rng


def state(probability, labeled=(), embedding=None) -> PoolState:
    p = np.atleast_2d(np.array(probability, dtype=float))
    n = p.shape[1]
    x = np.zeros((n, 1)) if embedding is None else np.array(embedding, dtype=float)
    return PoolState(p, x, np.isin(np.arange(n), labeled))


@pytest.mark.parametrize("rule", sorted(ACQUISITIONS))
def test_no_rule_chooses_a_label_or_a_row_twice(rule: str) -> None:
    rng = RNG(0)
    pool = state(rng.uniform(size=(3, 30)), labeled=range(0, 30, 3), embedding=rng.normal(size=(30, 4)))
    chosen = ACQUISITIONS[rule](pool, 12, RNG(1))
    assert len(set(chosen.tolist())) == 12 and not (chosen % 3 == 0).any()
    assert len(ACQUISITIONS[rule](pool, 99, RNG(1))) == 20, "all that is left"


def test_entropy_takes_the_most_even_and_disagreement_the_most_disputed() -> None:
    # The mean of row 0 is even because its members differ, that of row 1 because each is unsure; row 2 is sure.
    pool = state([[0.99, 0.5, 0.02], [0.01, 0.5, 0.03]])
    assert set(ACQUISITIONS["entropy"](pool, 2, RNG(0)).tolist()) == {0, 1}
    assert ACQUISITIONS["disagreement"](pool, 1, RNG(0)).tolist() == [0]
    # H(0.5) - (H(0.99) + H(0.01)) / 2 = 0.693 - 0.056; that of row 1 is 0, of row 2: H(0.025) - ... = 0.0007
    assert ACQUISITIONS["disagreement"](pool, 3, RNG(0)).tolist() == [0, 2, 1]
    assert ACQUISITIONS["entropy"](state([[0.9, 0.4, 0.2]], labeled=[1]), 2, RNG(0)).tolist() == [2, 0]


def test_core_set_covers_the_line_from_its_labels() -> None:
    """Labels at 0; on a line the furthest point is 10, then the middle 5."""
    pool = state(np.zeros((1, 11)), labeled=[0], embedding=np.arange(11)[:, None])
    assert ACQUISITIONS["core_set"](pool, 2, RNG(0)).tolist() == [10, 5]
    assert (
        ACQUISITIONS["random"](pool, 2, RNG(0)).tolist() != ACQUISITIONS["random"](pool, 2, RNG(1)).tolist()
    )
