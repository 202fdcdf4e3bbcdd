"""A file is there completely or not at all, says what it is when it cannot be read, and damage never passes."""

import os
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from factories.disks import files_of_at_most
from sceneleapultra.utils.core.files import (
    describe_file,
    read_json_object,
    write_atomically,
    write_json,
    write_text,
)
from sceneleapultra.utils.core.torch_files import read_torch, write_torch
from sceneleapultra.utils.training.checkpoints import CheckpointFiles
from sceneleapultra.utils.training.run_folder import last_checkpoint, resumed_step

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9518281\n"
CONTENT = {"state_dict": {"a": torch.arange(700.0), "b": torch.arange(5)}, "settings": ["x", 1, 2.5, None]}


def equal(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(equal(a[key], b[key]) for key in a)
    return type(a) is type(b) and a == b


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})

    def half(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, half)
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
    assert read_json_object(path, "") == {"a": 1}


@pytest.mark.parametrize("links", [True, False])
def test_the_one_before_is_kept_without_a_copy(
    tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")  # what file systems without hard links say

    if not links:
        monkeypatch.setattr(os, "link", no_link)
    path, kept = tmp_path / "last.txt", tmp_path / "last-1.txt"
    for text in ("one", "two", "three"):
        before = path.stat().st_ino if path.exists() else None
        write_atomically(path, lambda p, text=text: p.write_text(text), keep=kept)
        assert before is None or kept.stat().st_ino == before
    assert (path.read_text(), kept.read_text()) == ("three", "two")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last-1.txt", "last.txt"]


def test_a_kept_one_that_is_the_same_file_already_does_no_harm(tmp_path: Path) -> None:
    path, kept = tmp_path / "last.txt", tmp_path / "last-1.txt"
    path.write_text("one")
    os.link(path, kept)  # as a kill between the two names leaves it
    write_atomically(path, lambda p: p.write_text("two"), keep=kept)
    assert (path.read_text(), kept.read_text()) == ("two", "one")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last-1.txt", "last.txt"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (LFS.encode(), "a git-lfs pointer of 72 bytes, not the file itself: fetch it with git lfs pull"),
        (b"# Title\n" * 9, "a text of 72 bytes"),
        (b"<!DOCTYPE html><html>", "a page of HTML of 21 bytes"),
        (b'<?xml version="1.0"?><COLLADA>', "a file of XML of 30 bytes"),
        (b"\x89HDF\r\n\x1a\n" + bytes(8), "an HDF5 file of 16 bytes"),
        (bytes(5000), "5,000 bytes that begin with zeros"),
        (bytes(range(256)), "a file of no known kind of 256 bytes"),
    ],
)
def test_files_are_described(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "x.ckpt"
    path.write_bytes(content)
    assert describe_file(path) == words
    with pytest.raises(ValueError, match="cannot be read: expected a file of PyTorch") as caught:
        read_torch(path)
    assert words in str(caught.value)


def test_no_flipped_bit_and_no_cut_of_a_torch_file_passes(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    write_torch(path, CONTENT)
    whole = path.read_bytes()
    assert equal(read_torch(path), CONTENT)
    directory = whole.rfind(b"PK\x01\x02", 0, whole.find(b"PK\x01\x02") + 1) * 8
    choose = random.Random(0)
    # Half of them in the archive's directory, where two readers may disagree about what a bit means.
    flips = [choose.randrange(len(whole) * 8) for _ in range(150)]
    flips += [choose.randrange(directory, len(whole) * 8) for _ in range(150)]
    noticed = 0
    for bit in flips:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            assert equal(read_torch(path), CONTENT), f"bit {bit} passed and changed the content"
        except ValueError as error:
            assert str(path) in str(error)
            noticed += 1
    assert noticed > 150
    for length in [0, 1, 30, *(choose.randrange(len(whole)) for _ in range(50)), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"x\.ckpt cannot be read"):
            read_torch(path)


def test_a_record_that_pytorch_would_take_for_a_folder_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    write_torch(path, CONTENT)
    whole = bytearray(path.read_bytes())
    entry = whole.find(b"archive/data/0", whole.find(b"PK\x01\x02")) - 46
    assert whole[entry : entry + 4] == b"PK\x01\x02"
    whole[entry + 38] ^= 0x10  # external attributes: PyTorch then hands out memory nobody wrote
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="is marked as a folder"):
        read_torch(path)


def test_a_damaged_json_is_named_with_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    for content, words in (
        ('{"a": 1', "is no JSON .*it is a text of 7 bytes. Make it again"),
        ("", "it is empty"),
        ("[]", r"expected a JSON object, got list\. Make it again"),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=words) as caught:
            read_json_object(path, "Make it again.")
        assert str(path) in str(caught.value)


def test_a_resume_reads_the_sums_once_and_notices_what_changes_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    class Counted(zipfile.ZipFile):
        def __init__(self, path: Path) -> None:
            opened.append(path)
            super().__init__(path)

    path = tmp_path / "checkpoints" / "last.ckpt"
    write_torch(path, {**CONTENT, "global_step": 7})
    os.utime(path, (1, 1))
    monkeypatch.setattr(zipfile, "ZipFile", Counted)

    def resume() -> object:
        found = last_checkpoint(tmp_path)
        assert found is not None and resumed_step(found, 10) == 7
        return CheckpointFiles().load_checkpoint(found)["state_dict"]

    assert equal(resume(), CONTENT["state_dict"])
    assert opened == [path]
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    os.utime(path, (1, 1))  # of the same size and date
    with pytest.raises(ValueError, match=r"last\.ckpt cannot be read: it is damaged"):
        resume()


WRITERS = {
    "checkpoint": lambda path, size: write_torch(path, {"state_dict": {"a": torch.arange(size)}}),
    "results": lambda path, size: write_json(path, list(range(size))),
    "page": lambda path, size: write_text(path, "x" * 8 * size),
    "grasps": lambda path, size: write_atomically(path, lambda part: np.savez(part, a=np.arange(size))),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_what_the_kernel_refuses_leaves_the_file_before(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("x.npz" if kind == "grasps" else "x.ckpt")
    WRITERS[kind](path, 10)
    before = path.read_bytes()
    with (
        files_of_at_most(100_000),
        pytest.raises(OSError, match=f"{path} could not be written .*as it was. Make room"),
    ):
        WRITERS[kind](path, 100_000)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    WRITERS[kind](path, 100_000)
    assert path.stat().st_size > 100_000
