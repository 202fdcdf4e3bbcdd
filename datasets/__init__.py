"""What the network reads: the grasp store, items, sampling, and the Lightning data module."""

from typing import TYPE_CHECKING, Any

from sceneleapultra.datasets.store.schema import SPLITS
from sceneleapultra.datasets.store.store import GraspStore, StoreItem
from sceneleapultra.datasets.store.writer import StoreWriter

if TYPE_CHECKING:
    from sceneleapultra.datasets.grasp_data import GraspDataModule

__all__ = ["SPLITS", "GraspDataModule", "GraspStore", "StoreItem", "StoreWriter"]


def __getattr__(name: str) -> Any:
    """Import the data module when it is asked for: Lightning takes seconds that a program about stores should not."""
    if name == "GraspDataModule":
        from sceneleapultra.datasets.grasp_data import GraspDataModule

        return GraspDataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
