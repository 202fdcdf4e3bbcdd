"""The terminal: log lines, cards, commands, messages of errors."""

import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from sceneleapultra.utils.core.mistakes import MENDABLE, answer
from sceneleapultra.utils.core.signals import check_consequence
from sceneleapultra.utils.core.typed import as_typed

console = Console(markup=False)  # paths and overrides may hold brackets


def is_first_process() -> bool:
    """Tell whether this is the first process of a launch, by the environment that its launcher sets."""
    return all(os.environ.get(key, "0") == "0" for key in ("RANK", "SLURM_PROCID", "LOCAL_RANK"))


def setup_logging(run_dir: Path | None = None) -> None:
    """Send log lines of the first process to the terminal, and to ``run.log`` of the run folder."""
    level = logging.INFO if is_first_process() else logging.ERROR
    handlers: list[logging.Handler] = [TerminalHandler()]
    if run_dir is not None and is_first_process():
        run_dir.mkdir(parents=True, exist_ok=True)
        file = logging.FileHandler(run_dir / "run.log")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        handlers.append(file)
    logging.basicConfig(level=level, format="%(message)s", handlers=handlers, force=True)
    logging.captureWarnings(True)


def quiet_lightning() -> None:
    """Silence Lightning's advertisements and its notices about choices of this project; call after importing it."""
    for package in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(package).setLevel(logging.WARNING)
        logging.getLogger(f"{package}.utilities.rank_zero").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*LeafSpec.*is deprecated.*",
        "Checkpoint directory .* exists and is not empty.*",  # it is the run that is continued
        ".*your dataloader is not resumable.*",  # the sampler starts at the right batch by itself
        ".*smaller than the logging interval.*",
        "The `srun` command is available.*",  # a machine of a cluster may train by itself; launcher=slurm submits
    ):
        warnings.filterwarnings("ignore", message=message)


class ProgressBars(Progress):
    """Progress bars, redrawn when one advances: a thread that redraws them would be running when workers are forked."""

    def __init__(self, *, transient: bool = False) -> None:
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=console,
            auto_refresh=False,
            transient=transient,
            disable=transient and not console.is_terminal,  # a file would keep an empty line of it
        )

    def start_bar(self, what: str, total: int | None, completed: int = 0) -> Callable[..., None]:
        """Add a bar; return a function that advances it by a number, with a new total or a note."""
        task = self.add_task(what, total=total, completed=completed, note="")

        def advance(done: int = 1, **changes: Any) -> None:
            # A bar that jumps to ``completed`` does not advance as well.
            self.update(task, advance=None if "completed" in changes else done, refresh=True, **changes)

        return advance


def say(text: str, style: str = "") -> None:
    """Print text whole, whatever the width of the terminal: a path or a command that was folded cannot be copied."""
    console.print(as_typed(text), style=style, soft_wrap=True, highlight=False)


def print_script(text: str) -> None:
    """Print a script as it is written to a file."""
    console.print(text.rstrip("\n"), soft_wrap=True, highlight=False)


def card(title: str, rows: Mapping[str, Any], commands: Mapping[str, str] | None = None) -> None:
    """Print a title, a line for each row, and each command on a line of its own; from the first process only.

    Args:
        title: what the rows describe.
        rows: names and values.
        commands: what each is for, and the command.
    """
    if not is_first_process():
        return
    say(title, "italic")
    width = max(map(len, rows), default=0)
    for key, value in rows.items():
        console.print(
            Text.assemble((f" {key:<{width}}", "bold"), f"  {as_typed(str(value))}"),
            soft_wrap=True,
            highlight=False,
        )
    for purpose, command in (commands or {}).items():
        say(f" {purpose}:", "bold")
        say(f"  {command}")


def shown(path: Path | str) -> str:
    """Return a path as it is typed where the program runs: relative to that folder if it lies below it."""
    path = Path(path)
    return str(
        path.relative_to(Path.cwd()) if path.is_absolute() and path.is_relative_to(Path.cwd()) else path
    )


class TerminalHandler(logging.Handler):
    """Prints log records whole, with their level in front."""

    _styles: ClassVar[Mapping[str, str]] = {"WARNING": "yellow", "ERROR": "bold red", "CRITICAL": "bold red"}

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        level, style = record.levelname, self._styles.get(record.levelname, "")
        console.print(
            Text.assemble((f"{level:<8}", style), f" {as_typed(self.format(record))}"),
            soft_wrap=True,
            highlight=False,
        )


@contextlib.contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Answer what a user can mend by one sentence and exit status 1, without a trace; HYDRA_FULL_ERROR=1 shows it."""
    try:
        yield
    except MENDABLE as error:
        check_consequence(error)
        sentence = answer(error)
        if sentence is None or os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        print_error(sentence)
        raise SystemExit(1) from error


def print_error(message: str) -> None:
    """Print a message in red on the error stream, brackets as they are.

    A file's name or text in it gives the terminal no commands: what cannot be printed is spelled out.
    """
    shown = "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in as_typed(message)
    )
    Console(stderr=True, soft_wrap=True).print(shown, style="bold red", markup=False, highlight=False)
