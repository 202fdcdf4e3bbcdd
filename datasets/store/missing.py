"""What is said of a store that is not there; in time, because nothing here imports torch."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from sceneleapultra.datasets.store.manifest import resolve
from sceneleapultra.datasets.store.schema import parts_folder
from sceneleapultra.utils.core.config import CONFIG_DIR
from sceneleapultra.utils.core.names import nearest_file


def check_there(store: str | Path | Sequence[str], key: str | None = None) -> None:
    """Make sure that the files of a data set exist.

    Args:
        store: as :func:`resolve` takes it.
        key: of the configuration that names it, for the sentence.

    Raises:
        FileNotFoundError: one does not; names the nearest one, and the command that makes or finishes it.
        ValueError: an empty list, a file twice, or a manifest that does not fit the files.
    """
    for path in resolve(store):
        if not path.is_file():
            raise FileNotFoundError(missing_store(path, key))


def check_data_there(cfg: DictConfig) -> None:
    """Make sure that what a training reads exists, where its configuration says it in the way of this project.

    Raises:
        FileNotFoundError: the store does not, and is not made of foreign data.
        ValueError: the store is given in a way that cannot be right.
    """
    store, root = OmegaConf.select(cfg, "data.store"), OmegaConf.select(cfg, "data.root")
    if root is None and store is not None:
        check_there(store if isinstance(store, str) else [str(one) for one in store], "data.store")


def missing_store(path: Path, key: str | None = None) -> str:
    """Say that there is no store at a path, which key named it if one did, and how there will be."""
    from sceneleapultra.utils.core.overrides import written  # here, because Hydra's parser comes with it

    recipe = f"dataset={path.stem} " if (CONFIG_DIR / f"dataset/{path.stem}.yaml").is_file() else ""
    command = f"python scripts/generate_dataset.py {recipe}{written('path', path)}"
    start = "" if key is None else f"{key}: "
    if (parts := parts_folder(path)).is_dir():
        done = sum(part.stem.isdigit() for part in parts.glob("*.npz"))
        return (
            f"{start}{path} is not finished: {parts} holds {done} scenes. Continue with the command it was begun "
            f"with: {command} …"
        )
    return f"{start or 'There is '}no store at {path}.{nearest_file(path)} Make it with: {command}"
