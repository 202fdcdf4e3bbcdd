"""An augmentation: the camera's place is known with an error."""

from dataclasses import dataclass, replace

from sceneleapultra.datasets.augmentation import Transform
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.core.keyed_random import KeyedRandom


@dataclass(frozen=True, kw_only=True)
class ViewpointError(Transform):
    """Move the viewpoint by normal noise."""

    sigma_m: float

    def __call__(self, batch: GraspBatch, random: KeyedRandom) -> GraspBatch:
        """Return the batch seen from a place a little off."""
        return replace(batch, viewpoint=batch.viewpoint + self.sigma_m * random.normal(3))
