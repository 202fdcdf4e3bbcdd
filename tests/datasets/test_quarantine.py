"""Is an item that cannot be right named, counted and left out, and does the run stop at too many?"""

import json
from pathlib import Path

import numpy as np
import pytest

from factories.data_module import module
from factories.records import leap
from factories.stores import edited
from sceneleapultra.datasets import GraspStore
from sceneleapultra.datasets.items.quarantine import BadItem, Quarantine


def damaged(path: Path, scene: int = 2) -> Path:
    """Make the grasps of a scene's first object no numbers: two items, one for each view."""
    rows = GraspStore(path, leap())._grasp_rows(scene, 0)
    with edited(path) as file:
        file["grasps/hand_pose"][rows, 1] = np.nan
    return path


def of_ten(path: Path, max_fraction: float) -> Quarantine:
    """Return the quarantine of ten items, to which all that are listed belong."""
    return Quarantine(path, num_items=10, max_fraction=max_fraction, holds=lambda _: True)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_the_first_bad_item_stops_the_run(store_path: Path, workers: int) -> None:
    data = module(damaged(store_path), workers=workers)
    with pytest.raises(ValueError) as caught:
        list(data.train_dataloader())
    sentence = str(caught.value)
    assert (
        " of 24 items are bad, more than data.loading.max_bad_fraction=0 allows. The last: item " in sentence
    )
    assert "(scene 2, view " in sentence and "object 'train-2-0')" in sentence and str(store_path) in sentence
    assert "Grasps hold values that are not finite numbers." in sentence
    assert "or raise data.loading.max_bad_fraction to leave them out." in sentence


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_items_are_left_out_and_listed(store_path: Path, workers: int) -> None:
    data = module(damaged(store_path), workers=workers, max_bad_fraction=0.1)
    served = [batch for _ in range(2) for batch in data.train_dataloader()]
    index = [i for batch in served for i in batch.item_index]
    assert sum(batch.size for batch in served) == len(index) == 2 * 22
    assert all("train-2-0" not in batch.object_name for batch in served)
    assert all(batch.hand_pose.isfinite().all() for batch in served)
    listed = [json.loads(line) for line in Path(data.loading.quarantine).read_text().splitlines()]
    assert len(listed) == 2, "each once, over two passes"
    assert {(bad["scene"], bad["target"], bad["object_name"]) for bad in listed} == {(2, 0, "train-2-0")}
    assert {bad["view"] for bad in listed} == {4, 5} and not {bad["index"] for bad in listed} & set(index)


def test_what_a_stopped_run_listed_still_counts(tmp_path: Path) -> None:
    bad = [BadItem(i, i, 0, i, "cup", "s.h5", "Torn.") for i in range(3)]
    of_ten(tmp_path / "q.jsonl", 0.2).add(bad[:2])
    again = of_ten(tmp_path / "q.jsonl", 0.2)
    again.add(bad[:1])
    assert len(again) == 2
    with pytest.raises(
        ValueError, match=r"3 of 10 items are bad, more than data\.loading\.max_bad_fraction=0\.2 allows"
    ):
        again.add(bad[2:])
    assert len((tmp_path / "q.jsonl").read_text().splitlines()) == 3


def test_what_is_listed_of_others_does_not_count(store_path: Path, tmp_path: Path) -> None:
    """The list is of a whole run: of its training and its validation, and of several hands' stores."""
    data = module(damaged(store_path), max_bad_fraction=0.1)
    list(data.train_dataloader())
    assert len(data.train_dataloader().quarantine) == 2
    assert len(data.val_dataloader().quarantine) == 0
    listed = Path(data.loading.quarantine)
    listed.write_text(listed.read_text().replace(str(store_path), str(tmp_path / "of_another_hand.h5")))
    assert len(data.train_dataloader().quarantine) == 0


def test_half_a_line_that_a_kill_left_is_dropped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bad = [BadItem(i, i, 0, i, "cup", "s.h5", "Torn.") for i in range(3)]
    path = tmp_path / "q.jsonl"
    of_ten(path, 0.5).add(bad)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    again = of_ten(path, 0.5)
    assert len(again) == 2 and "q.jsonl ends in half a line" in caplog.text
    again.add(bad)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("line", [b'{"index": 1}', b"[]", b"\xff\xfe", b"not json"])
def test_a_line_that_no_kill_leaves_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "q.jsonl"
    path.write_bytes(line + b"\n")
    with pytest.raises(
        ValueError, match=r"q\.jsonl: line 1 is no entry of a list of bad items .* remove the file"
    ):
        of_ten(path, 0.5)


def test_a_batch_of_bad_items_alone_is_no_batch(store_path: Path) -> None:
    data = module(damaged(store_path), max_bad_fraction=0.5, batch_size=1)
    with pytest.raises(ValueError, match=r"All 1 items of a batch are bad; see .*quarantine\.jsonl"):
        list(data.train_dataloader())


def test_fractions_are_of_the_whole(tmp_path: Path) -> None:
    """One of ten is allowed by 0.1, two are not; none by 0."""
    bad = [BadItem(i, i, 0, i, "cup", "s.h5", "Torn.") for i in range(2)]
    some = of_ten(tmp_path / "a.jsonl", 0.1)
    some.add(bad[:1])
    with pytest.raises(ValueError, match="2 of 10"):
        some.add(bad[1:])
    with pytest.raises(ValueError, match="1 of 10"):
        of_ten(tmp_path / "b.jsonl", 0.0).add(bad[:1])
