"""What is tested: anything that answers items with grasps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from sceneleapultra.evaluation.items import Item
from sceneleapultra.reporting.results import Role
from sceneleapultra.utils.records import Grasps


@dataclass(frozen=True)
class Proposal:
    """Grasps for one item in the world frame, with a score where the method has one (higher is better)."""

    grasps: Grasps
    score: Float[np.ndarray, "k"]  # NaN without one


@runtime_checkable
class Method(Protocol):
    """A way to generate grasps."""

    @property
    def name(self) -> str:
        """Row in tables."""
        ...

    @property
    def role(self) -> Role:
        """The model under test or a baseline."""
        ...

    @property
    def privileged_inputs(self) -> str:
        """What it knows of a test item beside the cloud."""
        ...

    def sample_items(self, items: Sequence[Item], k: int) -> list[Proposal]:
        """Return up to ``k`` grasps for each item, the same for the same items and seed."""
        ...


def check_names(methods: Sequence[Method]) -> None:
    """Make sure that every method has a row of its own.

    Raises:
        ValueError: two have one name, by which results are kept.
    """
    names = [method.name for method in methods]
    if shared := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(
            f"baselines: two methods are called '{shared[0]}', and results are kept by name. Take one out "
            "(~baselines.<key>) and test it in a run of its own, or name another model otherwise (name=...)."
        )


def unscored(grasps: Grasps) -> Proposal:
    """Return a proposal of a method that does not rank its grasps."""
    return Proposal(grasps, np.full(len(grasps), np.nan))
