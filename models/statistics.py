"""Where the statistics by which a model normalizes poses come from: one file, measured by whoever needs it first."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sceneleapultra.utils.core.locks import owned_lock
from sceneleapultra.utils.training.pose_statistics import (
    Statistics,
    digest,
    read_statistics,
    write_statistics,
)


def statistics_file(data: Any, describes: Mapping[str, Any], path: str | None) -> Path:
    """Return where the statistics of something are kept: at a given path, or beside the store."""
    return (
        Path(path)
        if path is not None
        else data.statistics_folder / f"{data.frame}-{digest(describes)[:12]}.json"
    )


def statistics_of(model: Any, data: Any, *, scenes: int, path: str | None) -> Statistics | None:
    """Return the statistics of a model's states on a data module's training items, augmented as they are in training.

    Args:
        model: the model, with its configuration.
        data: the data module, set up.
        scenes: training items they are measured on.
        path: file of them; None for the one beside the store whose name says what they describe.

    Returns:
        None for a model that needs none of its own.

    Raises:
        ValueError: the file describes other data, another frame or other settings.
    """
    if (settings := model.states_depend_on) is None:
        return None
    describes = {**data.described, "scenes": scenes, "model": settings}
    file = statistics_file(data, describes, path)
    if not file.is_file():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(
                f"Pose statistics cannot be kept in {file.parent} ({error.strerror}). Pass statistics=<a file "
                "elsewhere>; it is made if it is not there."
            ) from error
        with owned_lock(file.with_suffix(".lock"), doing=f"measuring {file}", wait=True):
            if not file.is_file():
                write_statistics(file, model.measure(data.first_batches(scenes), describes))
    # What was just measured is read, too: the numbers are those of the file, whoever wrote it.
    return read_statistics(file, describes)
