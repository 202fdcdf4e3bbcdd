"""What may be changed of a training batch so that its grasps stay true."""

from sceneleapultra.datasets.augmentation.pipeline import Augmentation

__all__ = ["Augmentation"]
