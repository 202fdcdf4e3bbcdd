"""Figures of merit that are exact over a validation epoch: parts of all batches and ranks are joined, then computed.

The mean of the figures of single batches is another number: ranks compare grasps of different batches, too.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

_BINS = 15  # of the calibration error, equally wide in probability


class MetricPart(ABC):
    """What one batch adds to figures of merit; nothing in it waits for a GPU."""

    @classmethod
    @abstractmethod
    def join(cls, parts: Sequence[Any]) -> Any:
        """Return the part of all batches together."""

    @abstractmethod
    def cpu(self) -> Any:
        """Return it in main memory."""

    @abstractmethod
    def figures(self) -> dict[str, float]:
        """Return the figures by name; one that is not defined for these data is left out."""


@dataclass(frozen=True)
class BinaryPart(MetricPart):
    """Logits of events and how often each came true and did not; both 0 where that is not known."""

    logit: Float[Tensor, "n"]
    positive: Float[Tensor, "n"]
    negative: Float[Tensor, "n"]

    @classmethod
    def of(cls, logit: Tensor, positive: Tensor, negative: Tensor) -> "BinaryPart":
        """Flatten tensors of one shape."""
        return cls(*(x.detach().float().flatten() for x in (logit, positive, negative)))

    @classmethod
    def join(cls, parts: Sequence["BinaryPart"]) -> "BinaryPart":
        """Return all events."""
        return cls(*(torch.cat([getattr(p, k) for p in parts]) for k in ("logit", "positive", "negative")))

    def cpu(self) -> "BinaryPart":
        """Return it in main memory."""
        return type(self)(self.logit.cpu(), self.positive.cpu(), self.negative.cpu())

    def figures(self) -> dict[str, float]:
        """Return area under the ROC curve and expected calibration error."""
        found = {"auroc": auroc(self.logit, self.positive, self.negative)}
        found["calibration_error"] = calibration_error(self.logit, self.positive, self.negative)
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True)
class ClassPart(MetricPart):
    """How often each class was predicted as each: rows are true classes."""

    counts: Int[Tensor, "c c"]
    names: tuple[str, ...]

    @classmethod
    def of(cls, predicted: Tensor, true: Tensor, names: tuple[str, ...]) -> "ClassPart":
        """Count classes; a true class that has no name is ignored."""
        number = len(names)
        known = true.flatten() < number
        cell = true.flatten().long() * number + predicted.flatten()
        cell = torch.where(known, cell, number * number)
        counts = torch.zeros(number * number + 1, dtype=torch.long, device=true.device)
        counts.scatter_add_(0, cell, torch.ones_like(cell))
        return cls(counts[:-1].view(number, number), names)

    @classmethod
    def join(cls, parts: Sequence["ClassPart"]) -> "ClassPart":
        """Add the counts."""
        return cls(torch.stack([part.counts for part in parts]).sum(0), parts[0].names)

    def cpu(self) -> "ClassPart":
        """Return it in main memory."""
        return type(self)(self.counts.cpu(), self.names)

    def figures(self) -> dict[str, float]:
        """Return intersection over union of each class that occurs, and their mean."""
        both = self.counts.diagonal().double()
        union = (self.counts.sum(0) + self.counts.sum(1)).double() - both
        found = {
            f"{name}_iou": float(b / u) for name, b, u in zip(self.names, both, union, strict=True) if u > 0
        }
        return found | ({"mean_iou": sum(found.values()) / len(found)} if found else {})


class EpochMetrics:
    """Collects the parts of a validation epoch."""

    def __init__(self) -> None:
        self._parts: dict[str, list[MetricPart]] = {}

    def reset(self) -> None:
        """Forget all parts."""
        self._parts = {}

    def add(self, parts: Mapping[str, MetricPart]) -> None:
        """Add the parts of a batch, by name."""
        for name, part in parts.items():
            self._parts.setdefault(name, []).append(part)

    def compute(self) -> dict[str, float]:
        """Return the figures over the batches of all ranks, by ``<name>_<figure>``; every rank has to call it."""
        mine = {name: parts[0].join(parts).cpu() for name, parts in self._parts.items()}
        ranks = [mine]
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            ranks = [{} for _ in range(torch.distributed.get_world_size())]
            torch.distributed.all_gather_object(ranks, mine)
        gathered: dict[str, list[MetricPart]] = {}
        for rank in ranks:
            for name, part in rank.items():
                gathered.setdefault(name, []).append(part)
        return {
            f"{name}_{figure}": value
            for name, parts in gathered.items()
            for figure, value in parts[0].join(parts).figures().items()
        }


def auroc(
    score: Float[Tensor, "n"], positive: Float[Tensor, "n"], negative: Float[Tensor, "n"]
) -> float | None:
    """Return the probability that a positive scores higher than a negative; ties count one half.

    Args:
        score: any order-preserving score.
        positive: how many positives have it.
        negative: how many negatives have it.

    Returns:
        None where there is no positive or no negative.
    """
    counted = positive + negative > 0
    levels, place = score[counted].unique(return_inverse=True)  # sorted
    pos, neg = (
        torch.zeros(len(levels), dtype=torch.float64, device=score.device).index_add_(
            0, place, x[counted].double()
        )
        for x in (positive, negative)
    )
    pairs = pos.sum() * neg.sum()
    if pairs == 0:
        return None
    below = neg.cumsum(0) - neg
    return float((pos * (below + 0.5 * neg)).sum() / pairs)


def calibration_error(
    logit: Float[Tensor, "n"], positive: Float[Tensor, "n"], negative: Float[Tensor, "n"]
) -> float | None:
    """Return the expected calibration error: mean gap between predicted and observed share, over 15 bins.

    Returns:
        None where nothing is known.
    """
    weight = (positive + negative).double()
    if weight.sum() == 0:
        return None
    probability = logit.double().sigmoid()
    place = (probability * _BINS).long().clamp(max=_BINS - 1)
    gap = torch.zeros(_BINS, dtype=torch.float64, device=logit.device)
    gap.index_add_(0, place, positive.double() - probability * weight)
    return float(gap.abs().sum() / weight.sum())
