"""What may be changed of a training batch so that its grasps stay true."""

from datasets.augmentation.pipeline import Augmentation

__all__ = ["Augmentation"]
