"""What the network reads: the grasp store, items, sampling, and the Lightning data module."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sceneleapultra.datasets.store.schema import SPLITS

if TYPE_CHECKING:
    from sceneleapultra.datasets.grasp_data import GraspDataModule
    from sceneleapultra.datasets.several_hands import HandsDataModule
    from sceneleapultra.datasets.store.store import GraspStore, StoreItem
    from sceneleapultra.datasets.store.writer import StoreWriter

__all__ = ["SPLITS", "GraspDataModule", "GraspStore", "HandsDataModule", "StoreItem", "StoreWriter"]

_MODULES = {
    "GraspDataModule": "grasp_data",
    "GraspStore": "store.store",
    "HandsDataModule": "several_hands",
    "StoreItem": "store.store",
    "StoreWriter": "store.writer",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: torch and Lightning take seconds in which a wrong path should be answered."""
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
