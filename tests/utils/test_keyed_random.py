"""Do keyed draws look random, and depend on their key and stream alone?"""

import numpy as np
import torch
from scipy import stats

from sceneleapultra.utils.core.keyed_random import KeyedRandom, draw_keys, stream_key

KEYS = draw_keys(0, torch.zeros(64, dtype=torch.long), torch.arange(64))


def test_hashes_are_splitmix64() -> None:
    """The generator's published first outputs for seed 1234567 (Vigna's reference implementation)."""
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    bits = KeyedRandom(torch.tensor([1234567]))._bits(4)[0]
    assert bits.numpy().view(np.uint64).tolist() == expected


def test_numbers_are_uniform_and_normal() -> None:
    random = KeyedRandom(KEYS)
    assert stats.kstest(random.uniform(500).flatten(), "uniform").pvalue > 0.01
    assert stats.kstest(random.normal(501).flatten(), "norm").pvalue > 0.01
    assert random.normal(3, 5).shape == (64, 3, 5) and random.uniform().shape == (64,)
    between = random.between(-2.0, 3.0, 1000)
    assert -2.0 <= between.min() < -1.99 and 2.99 < between.max() < 3.0


def test_neighboring_keys_streams_and_places_are_unrelated() -> None:
    random = KeyedRandom(KEYS)
    other = random.stream("other").uniform(500)
    rows = torch.cat((random.uniform(500), other, KeyedRandom(KEYS + 1).uniform(500)))
    correlation = torch.corrcoef(rows) - torch.eye(len(rows))
    assert correlation.abs().max() < 0.27  # 500 pairs: deviation 0.045; six of them among 18000
    lagged = np.corrcoef(random.uniform(500)[:, :-1].flatten(), random.uniform(500)[:, 1:].flatten())[0, 1]
    assert abs(lagged) < 0.025  # 32000 pairs: deviation 0.0056


def test_a_stream_has_the_same_key_without_a_tensor() -> None:
    for name in ("anchors", "normal 1"):
        assert [stream_key(key, name) for key in KEYS.tolist()] == KeyedRandom(KEYS).stream(name).key.tolist()


def test_an_item_draws_the_same_in_any_batch() -> None:
    whole = KeyedRandom(KEYS).stream("a").normal(7)
    assert torch.equal(KeyedRandom(KEYS[5:6]).stream("a").normal(7)[0], whole[5])


def test_keys_differ_by_seed_pass_and_item() -> None:
    item = torch.arange(50).repeat(20)
    epoch = torch.arange(20).repeat_interleave(50)
    keys = torch.cat([draw_keys(seed, epoch, item) for seed in (0, 1, 2)])
    assert len(keys.unique()) == 3000
