"""Does the memory of what was read stay within its budget, and answer as the file would?"""

import pickle

import numpy as np

from factories.records import scene_record
from sceneleapultra.datasets.items.cache import ByteCache, num_bytes


def test_least_recently_used_goes_first():
    loads: list[int] = []

    def get(cache: ByteCache, key: int) -> np.ndarray:
        def load() -> np.ndarray:
            loads.append(key)
            return np.full(100, key, np.uint8)

        return cache.get(key, load)

    cache = ByteCache(250)
    for key in (0, 1, 0, 2, 0, 1):
        assert (get(cache, key) == key).all()
    # 2 pushes 1 out, as 0 was used since; 1 then pushes 2 out.
    assert loads == [0, 1, 2, 1]
    assert cache.used_bytes == 200
    assert len(get(cache, 0)) == 100 and loads == [0, 1, 2, 1]


def test_what_is_larger_than_the_budget_is_not_kept():
    cache = ByteCache(50)
    assert len(cache.get("a", lambda: np.zeros(100, np.uint8))) == 100
    assert cache.used_bytes == 0


def test_errors_are_not_kept():
    cache = ByteCache(50)
    for _ in range(2):
        try:
            cache.get("a", lambda: 1 // 0)
        except ZeroDivisionError:
            continue
        raise AssertionError
    assert cache.get("a", lambda: 7) == 7


def test_records_are_measured_by_their_arrays():
    """550 points of 3 float32, 3 bytes of color and one of instance; 16 and 9 float64 of the camera."""
    assert num_bytes(scene_record(0).views[0]) == 550 * (12 + 3 + 1) + 8 * (16 + 9)


def test_another_process_starts_empty():
    cache = ByteCache(1000)
    cache.get("a", lambda: np.zeros(100))
    copied = pickle.loads(pickle.dumps(cache))
    assert copied.used_bytes == 0 and copied.max_bytes == 1000
    assert copied.get("a", lambda: 3) == 3
