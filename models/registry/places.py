"""Where a registry is, by one word: a folder, or MLflow's; and a checkpoint in it: ``registry:<model>@<alias>``."""

from pathlib import Path

from sceneleapultra.models.registry.base import CHAMPION, Registry
from sceneleapultra.models.registry.folder import FolderRegistry
from sceneleapultra.utils.core.config import load_group

PREFIX = "registry:"


def open_registry(place: str | None = None) -> Registry:
    """Return the registry at a place.

    Args:
        place: a folder; ``sqlite:///<file>`` or the address of a server for MLflow's. None: ``paths.registry``.

    Raises:
        ValueError: MLflow is not installed, or does not answer.
    """
    place = str(load_group("paths", "default").registry) if place is None else place
    if "://" in place:
        from sceneleapultra.models.registry.mlflow import MlflowRegistry

        return MlflowRegistry(place)
    return FolderRegistry(Path(place))


def checkpoint_of(reference: str) -> Path:
    """Return the file of ``registry:<model>@<alias or number>`` in the registry at ``paths.registry``.

    Without ``@`` it is the champion.

    Raises:
        FileNotFoundError: its file is gone.
        ValueError: no such model, version or alias, or its file is another one now.
    """
    name, _, which = reference.removeprefix(PREFIX).partition("@")
    registry = open_registry()
    return registry.file(registry.find(name, which or CHAMPION))
