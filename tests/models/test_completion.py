"""Does scene completion minimize and measure what it says, and does it learn?"""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from factories.voxels import GRID, REACH_M, sphere_batch
from sceneleapultra.models.completion.completer import SceneCompleter
from sceneleapultra.models.completion.metrics import OverlapPart, overlap, surface_errors, surface_points
from sceneleapultra.models.objectives.completion import (
    CompletionContext,
    DiceError,
    DistanceError,
    EikonalError,
    GradientError,
    OccupancyError,
    SceneCompletion,
)
from sceneleapultra.models.recomputing import recompute
from sceneleapultra.utils.geometry.voxels.batch import VoxelBatch
from sceneleapultra.utils.geometry.voxels.observe import FREE


class Given(SceneCompleter):
    """Predicts what it is given."""

    def __init__(self, predicted: torch.Tensor) -> None:
        super().__init__(dim=8, reach_m=REACH_M)
        self.predicted = predicted

    def forward(self, observed: torch.Tensor) -> torch.Tensor:
        return self.predicted


def context(predicted: torch.Tensor, values: VoxelBatch) -> CompletionContext:
    return CompletionContext(Given(predicted), values, None, step=0, training=True)


def test_terms_are_their_formulas() -> None:
    """Each against a plain loop over scenes and voxels."""
    values = sphere_batch()
    predicted = REACH_M * torch.tanh(torch.randn(2, 2, 16, 16, 16))
    made = context(predicted, values)
    logit, inside = (-predicted * 4.0 / REACH_M).double(), values.distance < 0.0
    hidden = (values.observed[:, FREE : FREE + 1] == 0.0).expand_as(inside)
    probability = torch.sigmoid(logit)
    occupancy, dice, distance = [], [], []
    for b in range(2):
        inner, outer = hidden[b] & inside[b], hidden[b] & ~inside[b]
        p = probability[b]
        occupancy.append(0.5 * (-p[inner].log().mean() - (1.0 - p[outer]).log().mean()))
        for c in range(2):
            share, true = p[c][hidden[b, c]], inside[b, c][hidden[b, c]].double()
            dice.append(1.0 - (2.0 * (share * true).sum() + 1.0) / (share.sum() + true.sum() + 1.0))
        error = (predicted[b] - values.distance[b]).abs().double() / REACH_M
        distance.append(0.5 * (error.mean() + error[hidden[b]].mean()))
    for term, rows in ((OccupancyError, occupancy), (DiceError, dice), (DistanceError, distance)):
        expected = torch.stack(rows).mean()
        torch.testing.assert_close(term(weight=1.0)(made).double(), expected, rtol=1e-5, atol=1e-6)


def test_gradients_are_compared_near_true_surfaces_only() -> None:
    values = sphere_batch()
    slope = torch.tensor([0.6, 0.0, -0.8])
    plane = torch.from_numpy(GRID.centers).float() @ slope
    predicted = plane.expand(2, 2, 16, 16, 16)
    made = context(predicted, values)
    assert EikonalError(weight=1.0)(made).item() == pytest.approx(0.0, abs=1e-4), "a unit slope"
    assert EikonalError(weight=1.0)(context(2.0 * predicted, values)).item() == pytest.approx(1.0, abs=1e-4)
    assert GradientError(weight=1.0)(context(values.distance, values)).item() == 0.0
    near = (values.distance[:, :, 1:-1, 1:-1, 1:-1].abs() < REACH_M - 0.01)[0, 0]
    t = values.distance[0, 0]
    steps = torch.eye(3, dtype=torch.long)
    errors = []
    for place in near.nonzero() + 1:
        ahead, behind = ([t[tuple(place + sign * step)] for step in steps] for sign in (1, -1))
        errors.append(((torch.stack(ahead) - torch.stack(behind)) / 0.02 - slope).abs().mean())
    one = values.scenes(0, 1)
    one = VoxelBatch(one.observed, one.distance[:, :1].expand(-1, 2, -1, -1, -1), one.voxel_m, one.item_index)
    found = GradientError(weight=1.0)(context(predicted[:1], one))
    assert found.item() == pytest.approx(float(torch.stack(errors).mean()), rel=1e-4)


def test_it_learns_two_scenes_by_heart() -> None:
    values = sphere_batch()
    terms = {
        name: kind(weight=1.0)
        for name, kind in (("occupancy", OccupancyError), ("dice", DiceError), ("distance", DistanceError))
    }
    objective, model = SceneCompletion(terms=terms, seed=0), SceneCompleter(dim=8, reach_m=REACH_M)
    objective.prepare(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    losses = []
    for step in range(40):
        found = objective.losses(objective.context(model, values, step=step, training=True), training=True)
        total = objective.total(found, step)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append(total.item())
    assert losses[-1] < 0.25 * losses[0]
    figures = objective.metrics(objective.context(model, values, step=0, training=False))
    assert figures["hidden_target"].figures()["iou"] > 0.8


def test_recomputed_activations_give_the_same_gradient() -> None:
    torch.manual_seed(1)
    model, observed = SceneCompleter(dim=8, reach_m=REACH_M), sphere_batch().observed
    model(observed).square().sum().backward()
    kept = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    recompute(model, ["encoder", "decoder"])
    model(observed).square().sum().backward()
    again = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(torch.equal(a, b) for a, b in zip(kept, again, strict=True))


def test_what_cannot_complete_is_refused() -> None:
    objective = SceneCompletion(terms={"distance": DistanceError(weight=1.0)}, seed=0)
    with pytest.raises(ValueError, match="model=completion data=completion"):
        objective.prepare(torch.nn.Linear(1, 1))
    with pytest.raises(ValueError, match="multiple of 8, got 12"):
        SceneCompleter(dim=12, reach_m=REACH_M)


def test_surface_points_lie_on_the_sphere_and_those_of_chosen_voxels_are_some_of_them() -> None:
    distance = np.linalg.norm(GRID.centers - [0.0, 0.0, 0.07], axis=-1) - 0.04
    points = surface_points(distance, GRID)
    assert len(points) > 200
    assert np.abs(np.linalg.norm(points - [0.0, 0.0, 0.07], axis=1) - 0.04).max() < 0.001
    upper = surface_points(distance, GRID, GRID.centers[..., 2] > 0.07)
    assert 0 < len(upper) < len(points)
    assert upper[:, 2].min() > 0.06
    assert {tuple(p) for p in upper.round(9)} <= {tuple(p) for p in points.round(9)}


def test_surface_errors_are_those_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(60, 3)) * 0.01, rng.normal(size=(80, 3)) * 0.012
    every = cdist(a, b)
    there, back = every.min(1), every.min(0)
    found = surface_errors(a, b)
    assert found["chamfer_l1_mm"] == pytest.approx(500.0 * (there.mean() + back.mean()))
    assert found["chamfer_l2_mm2"] == pytest.approx(5e5 * ((there**2).mean() + (back**2).mean()))
    assert found["hausdorff95_mm"] == pytest.approx(
        1e3 * max(np.quantile(there, 0.95), np.quantile(back, 0.95))
    )
    for name, limit in (("5mm", 0.005), ("10mm", 0.01)):
        precision, recall = (there <= limit).mean(), (back <= limit).mean()
        assert found[f"precision_{name}"] == pytest.approx(precision)
        assert found[f"recall_{name}"] == pytest.approx(recall)
        assert found[f"f_{name}"] == pytest.approx(2 * precision * recall / (precision + recall))
    assert surface_errors(a, b[:0]) == {}
    assert surface_errors(a, a)["f_5mm"] == 1.0


def test_overlap_is_counted_over_all_batches_together() -> None:
    p, t = torch.tensor([1, 1, 0, 0, 1]).bool(), torch.tensor([1, 0, 1, 0, 1]).bool()
    parts = [OverlapPart.of(p[:2], t[:2]), OverlapPart.of(p[2:], t[2:])]
    assert OverlapPart.join(parts).figures()["iou"] == pytest.approx(2 / 4)
    assert OverlapPart.of(p[3:4], t[3:4]).figures() == {}
    assert overlap(p.numpy(), t.numpy()) == pytest.approx(0.5)
    assert overlap(np.zeros(3, bool), np.zeros(3, bool)) is None
    assert not math.isnan(overlap(p.numpy(), ~p.numpy()) or 0.0)
