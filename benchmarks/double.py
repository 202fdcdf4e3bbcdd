"""Models in double precision: what their arithmetic means where nothing rounds."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch import Tensor

from sceneleapultra.hands.kinematics import KinematicTree
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.network.contacts import LinkContacts
from sceneleapultra.models.network.surface import Surface
from sceneleapultra.models.representation import GraspCodec


@contextmanager
def double_precision() -> Iterator[None]:
    """Build and run in double precision: what is asked to be float32 at least stays double."""
    single = Tensor.float
    with patch.object(Tensor, "float", lambda x: x if x.dtype == torch.float64 else single(x)):
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(torch.float32)


@contextmanager
def margins() -> Iterator[list[Tensor]]:
    """Note by how much the second nearest surface point is further from a point of a hand than the nearest (m).

    One tensor for each search, of the least of each grasp. Below rounding it is chance which of the two a network
    reads, and what it says jumps by what they differ in.
    """
    noted: list[Tensor] = []
    search = Surface.nearest

    def nearest(surface: Surface, points: Tensor) -> Tensor:
        distance = torch.cdist(
            points.flatten(1, 2), surface._shown, compute_mode="donot_use_mm_for_euclid_dist"
        )
        further = distance.topk(2, largest=False).values.diff()
        noted.append(further.unflatten(1, points.shape[1:3]).amin((-2, -1)))
        return search(surface, points)

    with patch.object(Surface, "nearest", nearest):
        yield noted


def in_double(model: GraspGenerator) -> GraspGenerator:
    """Return a generator in double precision, with what is computed of a hand computed in it too."""
    model = model.double()
    model.codec = GraspCodec(model.hand, reference_depth=model.codec.reference_depth, of_palm=False)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, LinkContacts):
                setattr(module, name, LinkContacts(model.hand, scale=child.scale))
            if isinstance(child, KinematicTree):
                child.phases = torch.tensor([0.0, math.pi / 2])
    return model
