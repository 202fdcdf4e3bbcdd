"""Do the hands take turns, and does a run that stops go on with the hand and the batch that come next?"""

import shutil
from itertools import islice
from pathlib import Path

import pytest

from factories.data_module import module
from factories.stores import edited
from sceneleapultra.datasets import HandsDataModule
from sceneleapultra.datasets.several_hands import InTurn
from sceneleapultra.datasets.store.by_hand import of_one_hand
from sceneleapultra.hands import load_hand


@pytest.fixture
def stores(finished_store: Path, tmp_path: Path) -> list[Path]:
    """A store of right hands, and the same as if of left ones."""
    left = tmp_path / "left.h5"
    shutil.copy(finished_store, left)
    with edited(left) as file:
        file.attrs["hand_name"] = "leap_left"
        file.attrs["hand_hash"] = load_hand("leap_left").table_hash
    return [finished_store, left]


def hands(stores: list[Path], **settings) -> HandsDataModule:
    data = module(stores[0], kind=HandsDataModule, **settings)
    data.path = [str(path) for path in stores]
    return data


def test_batches_are_of_one_hand_after_the_other(stores: list[Path]) -> None:
    data = hands(stores)
    data.setup("fit")
    loader = data.train_dataloader()
    batches = list(loader)
    assert len(batches) == len(loader) == 12
    names = [batch.hand for batch in batches]
    assert names == [("leap_right",) * 4, ("leap_left",) * 4] * 6
    for name in ("leap_right", "leap_left"):
        own = [batch.item_index for batch in batches if batch.hand[0] == name]
        assert len({item for index in own for item in index}) == 24  # each item once
    validated = [batch.hand[0] for batch in data.val_dataloader()]
    assert validated == ["leap_right"] * 2 + ["leap_left"] * 2
    assert {batch.hand[0] for batch in data.first_batches(20)} == {"leap_right", "leap_left"}


@pytest.mark.parametrize("done", [1, 5, 12, 13])
def test_a_stopped_run_goes_on_with_the_next_hand(stores: list[Path], done: int) -> None:
    data = hands(stores)
    data.setup("fit")
    progress = 0
    loader = InTurn(data.of_hand, lambda own, taken: own.training_loader(taken), lambda: progress)

    def seen(count: int) -> list[tuple[str, tuple[int, ...]]]:
        nonlocal progress
        found: list[tuple[str, tuple[int, ...]]] = []
        while len(found) < count:
            for batch in islice(loader, count - len(found)):
                found.append((batch.hand[0], batch.item_index))
                progress += 1
        return found

    whole = seen(16)
    progress = done
    assert seen(16 - done) == whole[done:]


def test_a_model_of_a_hand_without_a_store(stores: list[Path]) -> None:
    data = hands([stores[1]])
    with pytest.raises(
        ValueError, match=r"expected a store of the model's hand=leap_right among .*leap_left"
    ):
        data.setup("fit")


def test_the_hand_of_several_stores_is_the_models_own_or_the_only_one(stores: list[Path]) -> None:
    right, left = (str(path) for path in stores)
    assert of_one_hand([right, left], "leap_left") == ("leap_left", [left])
    assert of_one_hand(left, "leap_right") == ("leap_left", [left])
    with pytest.raises(ValueError, match=r"found those of leap_right, leap_left\. Name those of one hand"):
        of_one_hand([right, left], "allegro_like")
