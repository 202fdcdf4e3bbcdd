"""How a store leaves for other people's code: folders in the predecessor's and in DexGraspBench's format."""

from collections.abc import Callable, Mapping
from pathlib import Path

from sceneleapultra.datasets.foreign.exporters.bodex import export_bodex
from sceneleapultra.datasets.foreign.exporters.sceneleap import export_sceneleapplus
from sceneleapultra.datasets.store.store import GraspStore
from sceneleapultra.hands import Hand

Exporter = Callable[[GraspStore, Hand, Path, Callable[[int], None]], None]
EXPORTERS: Mapping[str, Exporter] = {"sceneleapplus": export_sceneleapplus, "bodex": export_bodex}

__all__ = ["EXPORTERS"]
