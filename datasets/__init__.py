"""What the network reads: the grasp store, items, sampling, and the Lightning data module."""

from datasets.data_module import GraspDataModule
from datasets.schema import SPLITS
from datasets.store import GraspStore, StoreItem
from datasets.writer import StoreWriter

__all__ = ["SPLITS", "GraspDataModule", "GraspStore", "StoreItem", "StoreWriter"]
