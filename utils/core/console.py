"""The terminal: log lines, cards, messages of errors, hints about misspelt and renamed overrides."""

import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from sceneleapultra.utils.core.config import CONFIG_DIR, all_keys, nearest_key
from sceneleapultra.utils.core.renamed import SINCE, new_name

console = Console(markup=False)  # paths and overrides may hold brackets


def is_first_process() -> bool:
    """Tell whether this is the first process of a launch, by the environment that its launcher sets."""
    return all(os.environ.get(key, "0") == "0" for key in ("RANK", "SLURM_PROCID", "LOCAL_RANK"))


def setup_logging(run_dir: Path | None = None) -> None:
    """Send log lines of the first process to the terminal, and to ``run.log`` of the run folder."""
    level = logging.INFO if is_first_process() else logging.ERROR
    handlers: list[logging.Handler] = [
        RichHandler(console=console, show_path=False, show_time=False, markup=False)
    ]
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
        )

    def start_bar(self, what: str, total: int | None, completed: int = 0) -> Callable[..., None]:
        """Add a bar; return a function that advances it by a number, with a new total or a note."""
        task = self.add_task(what, total=total, completed=completed, note="")

        def advance(done: int = 1, **changes: Any) -> None:
            # A bar that jumps to ``completed`` does not advance as well.
            self.update(task, advance=None if "completed" in changes else done, refresh=True, **changes)

        return advance


def card(title: str, rows: dict[str, Any]) -> None:
    """Print a table of two columns from the first process."""
    if not is_first_process():
        return
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 1))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key, value in rows.items():
        table.add_row(key, str(value))
    console.print(table)


@contextlib.contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Print the message of a wrong input and exit with status 1, without a stack trace; HYDRA_FULL_ERROR=1 shows it."""
    try:
        yield
    except (ValueError, FileNotFoundError, FileExistsError) as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        print_error(user_message(error))
        raise SystemExit(1) from error


def user_message(error: BaseException) -> str:
    """Return the message of an error; one from a data loader's process without the stack trace put around it."""
    text = str(error)
    if not text.startswith("Caught "):
        return text
    return text.rpartition(f"\n{type(error).__name__}: ")[2].strip()


def print_error(message: str) -> None:
    """Print a message in red on the error stream, brackets as they are."""
    Console(stderr=True, soft_wrap=True).print(message, style="bold red", markup=False, highlight=False)


def override_hints(argv: list[str], config_name: str) -> list[str]:
    """Return a sentence for every ``key=value`` whose key the configuration lacks: its new name or the nearest key."""
    words = [word for word in argv if "=" in word and not word.startswith(("-", "+", "~", "hydra"))]
    try:
        overrides = OverridesParser.create().parse_overrides(words)
    except (HydraException, ValueError):  # Hydra's parser raises plain ValueErrors too
        return []
    groups = [str(o.input_line) for o in overrides if (CONFIG_DIR / o.key_or_group).is_dir()]
    try:
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            known = all_keys(compose(config_name, overrides=groups))
    except (HydraException, ValueError):
        known = []
    wrong = [o.key_or_group for o in overrides if o.key_or_group not in known]
    return [hint for key in wrong if (hint := _hint(key, known))]


def _hint(key: str, known: list[str]) -> str | None:
    if (new := new_name(key)) is not None:
        return f"{key} is called {new} since {SINCE}."
    guess = None if (CONFIG_DIR / key).is_dir() else nearest_key(key, known)
    return None if guess is None else f"Unknown key '{key}'. Did you mean '{guess}'?"
