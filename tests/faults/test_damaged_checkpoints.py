"""Damaged checkpoints: every flipped bit and every cut is noticed or harmless, and no kill leaves half a file."""

import multiprocessing
import os
import random
import signal
import tempfile
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from factories.shipped import LEAP_TABLE_CPU
from sceneleapultra.models.checkpoints.load import read_checkpoint
from sceneleapultra.models.checkpoints.weights import load_encoder
from sceneleapultra.utils.core.torch_files import read_torch, write_torch
from sceneleapultra.utils.training.run_folder import last_checkpoint, previous, step_of

pytestmark = pytest.mark.faults

SHIPPED = LEAP_TABLE_CPU  # written before anything looked at the sums in it
READERS = {
    "model": read_checkpoint,
    "encoder": lambda path: load_encoder(torch.nn.Linear(1, 1), path),
    "step": step_of,
    "anything": read_torch,
}


def equal(a: object, b: object) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and a == b


def test_a_hundred_flipped_bits(tmp_path: Path) -> None:
    whole, content = SHIPPED.read_bytes(), read_torch(SHIPPED)
    path, choose = tmp_path / "model.ckpt", random.Random(1)
    noticed = harmless = 0
    for _ in range(100):
        bit = choose.randrange(len(whole) * 8)
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            assert equal(read_torch(path), content), f"bit {bit} passed and changed what is read"
            harmless += 1
        except ValueError as error:
            assert str(error).startswith(f"{path} cannot be read")
            noticed += 1
    assert noticed + harmless == 100
    assert noticed > 90


@pytest.mark.parametrize("reader", READERS)
def test_fifty_cuts(tmp_path: Path, reader: str) -> None:
    whole = SHIPPED.read_bytes()
    path, choose = tmp_path / "model.ckpt", random.Random(2)
    for length in [0, 1, 22, len(whole) - 1, *(choose.randrange(len(whole)) for _ in range(46))]:
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"model\.ckpt cannot be read: expected a file of PyTorch"):
            READERS[reader](path)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n",
            "a git-lfs pointer of 63 bytes",
        ),
        (b"# A page about something else\n" * 20, "a text of 600 bytes"),
        (bytes(range(256)) * 20, "a file of no known kind of 5,120 bytes"),
    ],
)
def test_what_is_no_checkpoint_is_said(tmp_path: Path, reader: str, content: bytes, words: str) -> None:
    path = tmp_path / "model.ckpt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        READERS[reader](path)
    assert str(path) in str(caught.value)


def write_for_ever(path: Path) -> None:
    values = torch.arange(200_000.0)
    for step in range(10**9):
        write_torch(path, {"global_step": step, "values": values + step}, keep=previous(path))


def test_no_kill_leaves_half_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the folder for temporary files on another file system, where Lightning's own writer tore them."""
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no other file system here")
    temporary = Path(tempfile.mkdtemp(dir=elsewhere))
    monkeypatch.setenv("TMPDIR", str(temporary))
    path, choose = tmp_path / "checkpoints/last.ckpt", random.Random(3)
    reached = -1
    for _ in range(20):
        writer = multiprocessing.get_context("fork").Process(target=write_for_ever, args=(path,))
        writer.start()
        while not path.is_file():
            time.sleep(0.001)
        time.sleep(choose.uniform(0.0, 0.2))
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        assert last_checkpoint(tmp_path) == path
        for found in (path, previous(path)):
            if found.is_file():
                content = read_torch(found)
                assert torch.equal(content["values"], torch.arange(200_000.0) + content["global_step"])
                reached = max(reached, content["global_step"])
    assert reached > 0
    assert not list(temporary.iterdir())
    temporary.rmdir()
