"""Which kind of file is this? It is looked at, whatever it is called."""

import json
from pathlib import Path

from sceneleapultra.evaluation.folders import RESULTS
from sceneleapultra.evaluation.viewer.prediction import PredictionCatalog
from sceneleapultra.evaluation.viewer.results import ResultsCatalog
from sceneleapultra.evaluation.viewer.store import StoreCatalog
from sceneleapultra.evaluation.viewer.subject import Catalog
from sceneleapultra.utils.core.files import describe_file
from sceneleapultra.utils.core.npz import read_npz

_GRASPS = "grasps.npz"
_SHIPPED = "leap_table"
_EXPECTED = (
    "Expected a data set (.h5, its manifest, a pattern), results.json or the folder of a test, or grasps.npz of a "
    "prediction."
)


def open_catalog(
    path: str, *, store: str | None, hand: str | None, checkpoint: str | None, protocol: str | None
) -> Catalog:
    """Open what is to be looked at.

    Args:
        path: a data set, results of a test, or a prediction: a file, or the folder of one.
        store: the data set of results; None for the one they name.
        hand: None for the one that the file names.
        checkpoint: of the model that samples; None for that of the test, or a shipped one.
        protocol: by which grasps of a data set are tried again; None for its own.

    Raises:
        FileNotFoundError: nothing there, or the data set of results is not.
        ValueError: it is nothing that can be looked at.
    """
    file = Path(path)
    if file.is_dir():
        found = next((file / name for name in (RESULTS, _GRASPS) if (file / name).is_file()), None)
        if found is None:
            raise ValueError(f"{path} is a folder without {RESULTS} or {_GRASPS}. {_EXPECTED}")
        file = found
    if file.suffix == ".html":  # a report, or the page of a prediction: what it was drawn from lies beside it
        return open_catalog(
            str(file.parent), store=store, hand=hand, checkpoint=checkpoint, protocol=protocol
        )
    if file.suffix == ".npz" and file.is_file():
        if "hand_pose" in read_npz(file):
            return PredictionCatalog(file, hand, checkpoint or _SHIPPED)
        file = file.parent / RESULTS
        if not file.is_file():
            raise ValueError(f"{path} is no prediction, and there is no {RESULTS} beside it. {_EXPECTED}")
    if file.name == RESULTS or (file.suffix == ".json" and _is_results(file)):
        if protocol is not None:
            raise ValueError(f"--protocol: {file} names the protocol it was measured by. Leave it out.")
        return ResultsCatalog(file.parent, store, hand, checkpoint)
    if file.is_file() and file.suffix not in (".json", ".h5"):
        raise ValueError(f"{path} is {describe_file(file)}. {_EXPECTED}")
    return StoreCatalog(path, hand, checkpoint or _SHIPPED, protocol)


def _is_results(file: Path) -> bool:
    """Tell results from the manifest of a data set; what is broken is a matter of who reads it."""
    try:
        return "methods" in json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False
