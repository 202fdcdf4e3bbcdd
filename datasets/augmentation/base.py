"""What every transform of the augmentation keeps to."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.core.keyed_random import KeyedRandom


@dataclass(frozen=True, kw_only=True)
class Transform(ABC):
    """A change of a training batch after which its grasps are still true.

    Attributes:
        probability: share of the items that are changed.
    """

    probability: float

    @abstractmethod
    def __call__(self, batch: GraspBatch, random: KeyedRandom) -> GraspBatch:
        """Return the batch with every item changed; what is drawn comes from ``random`` alone."""
