"""How a foreign data set is converted at its first use: once, whoever asks first; the others wait."""

import json
import logging
from pathlib import Path

from sceneleapultra.datasets.foreign.readers.convert import Conversion, Report, claim_of
from sceneleapultra.datasets.foreign.readers.source import Source
from sceneleapultra.datasets.store.layout import read_source
from sceneleapultra.datasets.store.store import GraspStore
from sceneleapultra.utils.core.compare import differences
from sceneleapultra.utils.core.locks import owned_lock

_LOG = logging.getLogger(__name__)


def convert_once(root: str | Path, store: Path, conversion: Conversion) -> None:
    """Make the store, unless it is there; processes that ask at once wait for the first.

    Raises:
        FileNotFoundError: the source or a file of it is missing.
        ValueError: the source cannot be converted, or the store holds something else, was made with other settings, or
            of files that have changed since.
    """
    if store.is_file():
        _check(Path(root), store, conversion)
        return
    store.parent.mkdir(parents=True, exist_ok=True)
    doing = f"converting {root} to {store}"
    with owned_lock(store.with_name(f"{store.name}.lock"), doing=doing, wait=True):
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
        if summary.grasps.moved:
            _LOG.warning(
                "%d grasps were left out because their wrist moves between pre-grasp, grasp and squeeze (see "
                "conversion.grasps.max_wrist_motion_m).",
                summary.grasps.moved,
            )


def _check(root: Path, store: Path, conversion: Conversion) -> None:
    attributes = GraspStore(store).attributes
    if attributes["protocol"] != claim_of(conversion.reader.name):
        raise ValueError(
            f"data.store: {store} holds '{attributes['protocol']}', no conversion of {conversion.reader.name} data. "
            "Leave data.store to data=<format>, or name a file that is not there yet."
        )
    way_out = (
        f"Remove {store} to convert again, name another data.store, or use it as it is: data=default "
        f"data.store={store}"
    )
    made = json.loads(attributes["generator"])["conversion"]
    if "studio" in made:  # as 0.1 called it
        made["renderer"] = made.pop("studio")
    if other := differences(made, json.loads(json.dumps(conversion.settings()))):
        raise ValueError(
            f"data.conversion: {store} was made with other settings ({'; '.join(other)}). {way_out}"
        )
    text = read_source(store)
    if text is None:
        raise ValueError(
            f"data.store: {store} does not say of which files it was made, so nobody knows whether they are still the "
            f"same. {way_out}"
        )
    if changes := Source.from_json(text).changes(Source.scan(root, conversion.reader.places(root))):
        raise ValueError(f"data.root: {root} changed since {store} was made of it: {changes}. {way_out}")
