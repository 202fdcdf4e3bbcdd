"""Models by name and version: what each was made from, how it was tested, and which one is used."""

from sceneleapultra.models.registry.base import ModelVersion, Registry
from sceneleapultra.models.registry.places import checkpoint_of, open_registry

__all__ = ["ModelVersion", "Registry", "checkpoint_of", "open_registry"]
