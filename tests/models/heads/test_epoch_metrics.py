"""Figures of merit: against their definitions, for any split into batches, and over processes."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import multiprocessing

from sceneleapultra.models.metrics import BinaryPart, ClassPart, EpochMetrics, auroc, calibration_error


def events(number: int = 200) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits with many ties, and counts of which some are 0."""
    g = torch.Generator().manual_seed(0)
    logit = torch.randint(-6, 7, (number,), generator=g) / 3.0
    positive, negative = (torch.randint(0, 4, (number,), generator=g).float() for _ in range(2))
    return logit, positive, negative


def test_auroc_is_the_share_of_pairs_in_order():
    logit, positive, negative = events()
    order = (logit[:, None] > logit).double() + 0.5 * (logit[:, None] == logit).double()
    expected = (positive.double() @ order @ negative.double()) / (positive.sum() * negative.sum())
    assert auroc(logit, positive, negative) == pytest.approx(float(expected), rel=1e-12)


def test_auroc_of_certain_orders():
    score, yes = torch.tensor([0.1, 0.2, 0.3, float("-inf")]), torch.tensor([0.0, 0.0, 1.0, 0.0])
    counted = torch.tensor([1.0, 1.0, 0.0, 0.0])  # the last one is not known
    assert auroc(score, yes, counted) == 1.0
    assert auroc(-score, yes, counted) == 0.0
    assert auroc(torch.zeros(4), yes, counted) == 0.5
    assert auroc(score, yes, torch.zeros(4)) is None


def test_calibration_error_is_the_gap_between_predicted_and_observed_shares():
    logit = torch.tensor([0.25, 0.75]).logit()
    exact = (torch.tensor([1.0, 3.0]), torch.tensor([3.0, 1.0]))
    assert calibration_error(logit, *exact) == pytest.approx(0.0, abs=1e-7)
    assert calibration_error(logit, *exact[::-1]) == pytest.approx(0.5, abs=1e-7)
    assert calibration_error(logit, torch.zeros(2), torch.zeros(2)) is None


def test_intersection_over_union_by_hand():
    true = torch.tensor([[0, 0, 2, 2, 255]])
    predicted = torch.tensor([[0, 2, 2, 2, 0]])
    found = ClassPart.of(predicted, true, ("table", "target", "other")).figures()
    expected = {"table_iou": 1 / 2, "other_iou": 2 / 3, "mean_iou": 7 / 12}
    assert found == pytest.approx(expected), (
        "a class that does not occur has no figure, an unknown one does not count"
    )


def parts_of(start: int, end: int) -> dict:
    logit, positive, negative = (x[start:end] for x in events())
    classes = ClassPart.of((logit > 0).long(), (positive > 1).long(), ("no", "yes"))
    return {"stable": BinaryPart.of(logit, positive, negative), "segmentation": classes}


@pytest.mark.parametrize("cuts", [(0, 200), (0, 1, 7, 200), (0, 100, 200)])
def test_batches_do_not_matter(cuts):
    metrics, whole = EpochMetrics(), EpochMetrics()
    whole.add(parts_of(0, 200))
    for start, end in pairwise(cuts):
        metrics.add(parts_of(start, end))
    assert metrics.compute() == pytest.approx(whole.compute(), rel=1e-9)
    metrics.reset()
    assert metrics.compute() == {}


def rank(index: int, folder: Path) -> None:
    cuts = (0, 30, 200)
    torch.distributed.init_process_group("gloo", f"file://{folder}/meet", rank=index, world_size=2)
    metrics = EpochMetrics()
    metrics.add(parts_of(cuts[index], cuts[index + 1]))
    torch.save(metrics.compute(), folder / f"{index}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_ranks_with_unequal_shares_give_the_figures_of_the_whole(tmp_path: Path):
    multiprocessing.spawn(rank, (tmp_path,), nprocs=2)
    whole = EpochMetrics()
    whole.add(parts_of(0, 200))
    for index in range(2):
        assert torch.load(tmp_path / f"{index}.pt") == pytest.approx(whole.compute(), rel=1e-9)
