"""Cards, commands and messages print their text as it is, whatever the width of the terminal."""

import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from torch.utils.data import DataLoader, Dataset

from sceneleapultra.utils.core import console, mistakes

LONG = "runs/a_rather_long_name_of_an_experiment/2026-11-28_22-45-09/checkpoints/best.ckpt"


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """Make the terminal 40 columns wide; return what reads the text that was printed."""
    monkeypatch.setattr(console, "console", Console(markup=False, width=40))
    return lambda: capsys.readouterr().out


def test_a_card_prints_its_rows_and_commands_whole(narrow: Callable[[], str]) -> None:
    command = f"python test_lightning.py checkpoint={LONG} 'plugins=[mine]'"
    console.card("run", {"overrides": f"data.store=[{LONG}] x=[1,2]", "n": 3}, {"next": command})
    assert narrow().splitlines() == [
        "run",
        f" overrides  data.store=[{LONG}] x=[1,2]",
        " n          3",
        " next:",
        f"  {command}",
    ]


def test_a_log_line_is_whole(narrow: Callable[[], str]) -> None:
    console.TerminalHandler().emit(logging.makeLogRecord({"levelname": "INFO", "msg": f"written to {LONG}"}))
    assert narrow() == f"INFO     written to {LONG}\n"


def test_an_error_is_whole(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    console.print_error(f"No checkpoint at {LONG}. Train one.")
    assert capsys.readouterr().err == f"No checkpoint at {LONG}. Train one.\n"


def test_a_path_is_shown_from_where_the_program_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert console.shown(tmp_path / "runs/x") == console.shown("runs/x") == "runs/x"
    assert console.shown(tmp_path.parent / "y") == str(tmp_path.parent / "y")


class Broken(Dataset[int]):
    """One item, which cannot be read."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        raise self.error


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("Item 0 is no item.\nLook at it: or not."), "Item 0 is no item.\nLook at it: or not.\n"),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "Too many open files: a process may open "),
    ],
)
def test_a_message_from_a_loading_process_comes_without_its_stack_trace(
    workers: int, error: Exception, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop, console.exit_on_user_error():
        list(DataLoader(Broken(error), num_workers=workers))
    assert stop.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith(sentence) and "Traceback" not in said


def of_the_system(number: int, *names: object) -> OSError:
    return OSError(number, os.strerror(number), *names)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (of_the_system(errno.ENOENT, "/proc/x"), "/proc/x: there is no such file or folder."),
        (
            of_the_system(errno.ENOTDIR, "a/b"),
            "a/b: a part of this path is a file where a folder is needed. Choose another path.",
        ),
        (
            of_the_system(errno.EACCES, "/etc/x"),
            "/etc/x: this user may not read or write it. Change its permissions, or choose another path.",
        ),
        (
            of_the_system(errno.EROFS, "/run/x"),
            "/run/x: it lies on a file system that is mounted read-only. Choose another path.",
        ),
        (of_the_system(errno.EIO, "a", None, "b"), "a -> b: input/output error."),
        (FileNotFoundError("There is no such thing. Make one."), "There is no such thing. Make one."),
        (
            of_the_system(errno.ENOSPC),
            "No space is left on a disk that is written to. Make room, and repeat the same command.",
        ),
        (MemoryError(), "Not enough memory. Ask for less at a time, or take a larger machine."),
        (
            RuntimeError("The server socket has failed to bind: EADDRINUSE"),
            "The port by which the processes meet is in use: another training runs here. Pass another to torchrun "
            "(--master-port), or set MASTER_PORT.",
        ),
    ],
)
def test_what_a_user_can_mend_is_answered(error: Exception, sentence: str) -> None:
    assert mistakes.answer(error) == sentence


def test_a_full_disk_is_named_by_its_file(tmp_path: Path) -> None:
    said = mistakes.answer(of_the_system(errno.ENOSPC, str(tmp_path / "new" / "last.ckpt")))
    assert said is not None and said.startswith(f"{tmp_path}/new/last.ckpt: no space is left on its disk (")


@pytest.mark.parametrize(
    "words",
    [
        "unable to allocate shared memory(shm) for file </torch_12_3>: No space left on device (28)",
        "DataLoader worker (pid 12) is killed by signal: Bus error. It is possible that dataloader's workers are out "
        "of shared memory. Please try to raise your shared memory limit.",
    ],
)
def test_a_small_shared_memory_is_named_with_the_way_out(words: str) -> None:
    said = mistakes.answer(RuntimeError(words))
    assert said is not None and said.startswith("The loading processes hand over batches through /dev/shm")
    assert said.endswith("or pass data.loading.workers=0.")


@pytest.mark.parametrize("defect", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), KeyError("x")])
def test_a_defect_keeps_its_trace(defect: Exception) -> None:
    assert mistakes.answer(defect) is None
    with pytest.raises(type(defect)), console.exit_on_user_error():
        raise defect


def test_a_name_in_a_message_commands_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_error("No file at \x1b]0;title\x07\x1b[2J\udcff[x]/ü…\nCopy it.")
    assert capsys.readouterr().err == "No file at \\x1b]0;title\\x07\\x1b[2J\\udcff[x]/ü…\nCopy it.\n"
