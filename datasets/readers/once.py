"""How a foreign data set is converted at its first use: once, whoever asks first; the others wait."""

import fcntl
import logging
from pathlib import Path

from datasets.readers.convert import Conversion, Report, claim_of
from datasets.store import GraspStore

_LOG = logging.getLogger(__name__)


def convert_once(root: str | Path, store: Path, conversion: Conversion) -> None:
    """Make the store, unless it is there; processes that ask at once wait for the first.

    A conversion that is there is taken as it is: remove it to have it made anew.

    Raises:
        FileNotFoundError: the source or a file of it is missing.
        ValueError: the source cannot be converted, or the store holds something else.
    """
    if store.is_file():
        found = str(GraspStore(store).attributes["protocol"])
        if found != claim_of(conversion.reader.name):
            raise ValueError(
                f"data.store: {store} holds '{found}', no conversion of {conversion.reader.name} data. Leave "
                "data.store to data=<format>, or name a file that is not there yet."
            )
        return
    store.parent.mkdir(parents=True, exist_ok=True)
    with store.with_name(f"{store.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if store.is_file():
            return
        _LOG.info("Converting %s (%s) to %s, once.", root, conversion.reader.name, store)
        done = 0

        def progress(report: Report, total: int) -> None:
            nonlocal done
            done += 1
            if done % max(1, total // 10) == 0:
                _LOG.info("%d of %d scenes read", done, total)

        summary = conversion(root, store, progress)
        left_out = len(summary.reports) - len(summary.counted("written"))
        _LOG.info("Converted %d scenes, %d left out.", len(summary.reports), left_out)
