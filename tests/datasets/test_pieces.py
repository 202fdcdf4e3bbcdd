"""Do shards that many programs make become the store of one program, and is it said what is missing or does not fit?"""

import shutil
from pathlib import Path

import pytest

from factories.records import SPLITS, leap, scene_record, writer
from factories.stores import edited
from sceneleapultra.datasets import GraspStore
from sceneleapultra.datasets.store.merging import merge
from sceneleapultra.datasets.store.pieces import (
    Share,
    as_ranges,
    from_ranges,
    gaps,
    not_begun,
    pieces_of,
)
from sceneleapultra.datasets.store.shard import Shard
from sceneleapultra.scripts.store import status


def write_share(whole: Path, number: int, of: int, stop_after: int = 99, **changes: object) -> Path:
    share = Share(number, of)
    w = writer(share.path(whole), **changes)
    scenes = share.scenes(len(SPLITS))
    w.check_scenes(scenes)
    for index in scenes[:stop_after]:
        w.write(scene_record(index, SPLITS[index]))
    return w.finish() if stop_after >= len(scenes) else w.path


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    return [write_share(tmp_path / "all.h5", number, 5) for number in range(5)]


def merged(path: Path, shards: list[Path]) -> GraspStore:
    return GraspStore(merge(path, [Shard(shard) for shard in shards], leap(), lambda _: None))


def test_every_scene_is_in_one_share() -> None:
    for count, of in ((12, 5), (7, 7), (100, 3), (1, 1)):
        assert [i for number in range(of) for i in Share(number, of).scenes(count)] == list(range(count))


@pytest.mark.parametrize("count", ["two", 1.5, None, True, 0, -3])
def test_scenes_are_a_whole_number(count: object) -> None:
    with pytest.raises(ValueError, match=rf"scenes={count}: expected a whole number of at least 1"):
        Share(0, 1).scenes(count)


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_merged_shards_are_the_store_of_one_program(
    shards: list[Path], tmp_path: Path, finished_store: Path, order: slice
) -> None:
    store = merged(tmp_path / "merged.h5", shards[order])
    assert store.content_hash == GraspStore(finished_store).content_hash
    store.verify()


def test_a_merge_that_was_cut_off_continues(
    shards: list[Path], tmp_path: Path, finished_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, path = [Shard(shard) for shard in shards], tmp_path / "merged.h5"

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge(path, opened, leap(), stop)
    (piece,) = (piece for piece in pieces_of(path) if not piece.complete)
    assert piece.done == {0} and piece.wanted == set(range(12))
    assert merged(path, shards).content_hash == GraspStore(finished_store).content_hash


def test_a_shard_of_another_run_is_named(shards: list[Path], tmp_path: Path) -> None:
    other = write_share(tmp_path / "other.h5", 4, 5, generator={"scenes": 13}, seed=1)
    with pytest.raises(
        ValueError, match=r"other-00004-of-00005\.h5 is a shard of another run .*seed: 1, there 0"
    ):
        merged(tmp_path / "merged.h5", [*shards[:4], other])


def test_a_scene_that_two_shards_hold_is_named(shards: list[Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy.h5"
    shutil.copy(shards[1], copy)
    with pytest.raises(ValueError, match=r"copy\.h5 holds scene 2, as .*all-00001-of-00005\.h5 does"):
        merged(tmp_path / "merged.h5", [*shards, copy])


def test_a_shard_that_is_not_what_was_written_is_refused(shards: list[Path], tmp_path: Path) -> None:
    with edited(shards[3]) as file:
        file["grasps/hand_pose"][0, 0] += 1.0
    with pytest.raises(ValueError, match=r"all-00003-of-00005\.h5: content hash \w+ differs"):
        merged(tmp_path / "merged.h5", shards)
    assert not (tmp_path / "merged.h5").exists()


def test_what_is_missing_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = tmp_path / "all.h5"
    for number in (0, 1):
        write_share(whole, number, 5)
    write_share(whole, 3, 5, stop_after=1)
    pieces = pieces_of(whole)
    assert not_begun(pieces) == ["2/5", "4/5"]
    assert gaps(pieces, None) == {4, 5, 6, 8} and gaps(pieces, 12) == {4, 5, 6, 8, 9, 10, 11}
    assert status(whole, scenes=12) == 1
    said = capsys.readouterr().out
    assert "all.h5: 2 of 3 files are finished" in said
    assert "all-00003-of-00005.h5: 1 of 2 scenes" in said
    assert "not begun: shard=2/5, 4/5" in said
    assert "missing scenes: 4-6, 8-11" in said
    with pytest.raises(FileNotFoundError, match="neither a store nor a part"):
        status(tmp_path / "al.h5")


def test_a_complete_data_set_has_status_0(shards: list[Path], tmp_path: Path) -> None:
    assert status(tmp_path / "all.h5", scenes=12) == 0
    assert status(tmp_path / "all.h5", scenes=13) == 1


def test_numbers_are_written_as_ranges() -> None:
    for numbers, text in (((), ""), ((3,), "3"), ((0, 1, 2, 5, 7, 8), "0-2, 5, 7-8")):
        assert as_ranges(numbers) == text
        assert tuple(from_ranges(text)) == numbers


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("3", "shard=3: expected <number>/<how many>, for example 3/16"),
        ("5/5", "shard=5/5: expected the number of a shard, 0 to 4"),
        ("0/0", "shard=0/0: expected the number"),
    ],
)
def test_a_shard_that_is_none_is_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Share.parse(text)
    with pytest.raises(ValueError, match="12 scenes cannot fill 13 shards"):
        Share(0, 13).scenes(12)
