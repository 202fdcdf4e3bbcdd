"""Are the random numbers of the engine without torch those of the one with it?"""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from sceneleapultra.models.sampling import SampleRandom as Reference
from sceneleapultra.serving.runtime.keyed import SampleRandom


@pytest.mark.parametrize("seed", [0, 1, 7, 2**31, 2**62 + 5])
def test_every_stream_is_the_same(seed: int) -> None:
    one, two = SampleRandom(seed), Reference([seed], torch.device("cpu"))
    assert_allclose(one.gumbel(33, 80), two.gumbel(33, 80)[0].numpy(), rtol=1e-6, atol=1e-6)
    for shape in ((5, 7), (1, 1), (64, 41)):  # every call other numbers, odd counts among them
        assert_allclose(one.normal(*shape), two(torch.empty(1, *shape))[0].numpy(), atol=2e-6)


def test_gumbel_numbers_do_not_depend_on_what_was_drawn_before() -> None:
    one, two = SampleRandom(3), SampleRandom(3)
    one.normal(4)
    assert np.array_equal(one.gumbel(2, 3), two.gumbel(2, 3))
    assert not np.array_equal(one.normal(4), two.normal(4))
