"""What a person at the terminal sees: log lines, the opening and closing card of a run, errors as sentences."""

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from sceneleapultra.utils.core.config import CONFIG_DIR, all_keys, nearest_key
from sceneleapultra.utils.core.renamed import new_name

console = Console(markup=False)  # a path or an override in brackets is no markup


def is_first_process() -> bool:
    """Tell whether this process speaks for all, by what its launcher says."""
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
    """Silence Lightning's advertisements, and notices about what this project chose; call after importing it."""
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
def sentences() -> Iterator[None]:
    """Answer wrong input by its sentence and exit status 1, without a stack trace; HYDRA_FULL_ERROR=1 shows it."""
    try:
        yield
    except (ValueError, FileNotFoundError, FileExistsError) as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        Console(stderr=True, soft_wrap=True).print(
            str(error), style="bold red", markup=False, highlight=False
        )
        raise SystemExit(1) from error


def run_app(main: Callable[[], Any], config_name: str) -> None:
    """Run a Hydra entry point; a misspelt override is answered with the key it most likely meant."""
    try:
        main()
    except SystemExit as stop:
        if stop.code == 1:
            for hint in override_hints(sys.argv[1:], config_name):
                sys.stderr.write(hint + "\n")
        raise


def override_hints(arguments: list[str], config_name: str) -> list[str]:
    """Say for every ``key=value`` whose key the configuration does not have which key is nearest."""
    words = [word for word in arguments if "=" in word and not word.startswith(("-", "+", "~", "hydra"))]
    try:
        overrides = OverridesParser.create().parse_overrides(words)
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            groups = [str(o.input_line) for o in overrides if (CONFIG_DIR / o.key_or_group).is_dir()]
            known = all_keys(compose(config_name, overrides=groups))
    except (HydraException, ValueError):  # Hydra's parser raises plain ValueErrors too
        return []
    wrong = [o.key_or_group for o in overrides if o.key_or_group not in known]
    wrong = [key for key in wrong if not (CONFIG_DIR / key).is_dir()]
    return [hint for key in wrong if (hint := _hint(key, known))]


def _hint(key: str, known: list[str]) -> str | None:
    if (new := new_name(key)) is not None:
        return f"{key} is called {new} since 0.2."
    guess = nearest_key(key, known)
    return None if guess is None else f"Unknown key '{key}'. Did you mean '{guess}'?"
