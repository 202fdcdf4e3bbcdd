"""What may be changed of a training batch so that its grasps stay true."""

from sceneleapultra.datasets.augmentation.base import Transform
from sceneleapultra.datasets.augmentation.pipeline import Augmentation, plain_settings

__all__ = ["Augmentation", "Transform", "plain_settings"]
