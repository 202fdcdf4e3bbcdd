"""Are loading processes chosen by cores and measurement, and wrong numbers answered?"""

import logging
from pathlib import Path
from typing import Any

import pytest

from factories.data_module import module
from sceneleapultra.datasets.items.loading import Loading, choose_loading, workers_needed


def chosen(store: Path, **changes: Any) -> Loading:
    data = module(store)
    settings = {"workers": "auto", "prefetch": "auto", "local_processes": 1}
    batches = [[(0, 4 * k + i) for i in range(4)] for k in range(3)]
    return choose_loading(data.dataset("train", augment=True), batches, **{**settings, **changes})


@pytest.mark.parametrize(
    ("batch_s", "most", "expected"),
    [(0.002, 8, 1), (0.01, 8, 1), (0.035, 8, 4), (0.5, 8, 8), (0.002, 0, 0), (0.035, 2, 2)],
)
def test_a_batch_is_ready_every_ten_milliseconds(batch_s: float, most: int, expected: int) -> None:
    assert workers_needed(batch_s, most) == expected


def test_what_is_asked_for_is_done(finished_store: Path) -> None:
    assert chosen(finished_store, workers=3, prefetch=5) == Loading(3, 5)
    assert chosen(finished_store, workers=0) == Loading(0, None)
    assert chosen(finished_store, workers=0, prefetch=5) == Loading(0, None)


def test_auto_measures_and_says_what_it_chose(
    finished_store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sceneleapultra.utils.core.resources.usable_cpus", lambda: 4)
    with caplog.at_level(logging.INFO):
        loading = chosen(finished_store)
    assert 1 <= loading.workers <= 3 and 2 <= (loading.prefetch or 0) <= 8
    assert "of at most 3 loading processes (a batch takes" in caplog.text


def test_one_core_loads_in_the_training_process(
    finished_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sceneleapultra.utils.core.resources.usable_cpus", lambda: 1)
    assert chosen(finished_store) == Loading(0, None)


@pytest.mark.untyped
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"prefetch": 0}, r"data\.loading\.prefetch must be 'auto' or a number from 1, got 0\."),
        ({"prefetch": "many"}, r"data\.loading\.prefetch must be 'auto' or a number from 1, got 'many'\."),
        ({"workers": -1}, r"data\.loading\.workers must be 'auto' or a number from 0, got -1\."),
    ],
)
def test_wrong_numbers_are_answered(finished_store: Path, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        chosen(finished_store, **changes)
