"""Contact maps: their values at known distances, their error, and where the gradient points."""

import math

import torch
from torch.testing import assert_close

from sceneleapultra.models.objectives.contact import contact_map_error, soft_contact


def test_contact_at_known_distances():
    """2 - 2 sigmoid(x): 1 at x = 0 and inside, 1/2 at x = ln 3 (sigmoid 3/4), 0 far away."""
    distance = torch.tensor([-0.01, 0.0, 0.005 * math.log(3.0), 1000.0])
    assert_close(soft_contact(distance, 0.005), torch.tensor([1.0, 1.0, 0.5, 0.0]))


def test_the_error_is_the_mean_over_points_that_count():
    """Differences 1/2, 0, 1 of which the last does not count: (1/4 + 0) / 2."""
    scale = 0.005
    half = scale * math.log(3.0)
    predicted = torch.tensor([[[half, 0.0, 0.0]]])
    true = torch.tensor([[[0.0, -0.01, 1000.0]]])
    counted = torch.tensor([[[True, True, False]]])
    assert_close(contact_map_error(predicted, true, counted, scale), torch.tensor([[0.125]]))
    assert_close(contact_map_error(predicted, true, counted & False, scale), torch.zeros(1, 1))


def test_missing_contact_draws_the_hand_near_and_surplus_pushes_it_away():
    predicted = torch.tensor([[[0.004, 0.004, 0.004]]], requires_grad=True)
    true = torch.tensor([[[0.0, 0.02, 0.004]]])
    contact_map_error(predicted, true, torch.ones(1, 1, 3, dtype=torch.bool), 0.005).sum().backward()
    missing, surplus, right = predicted.grad[0, 0]
    assert missing > 0 > surplus and right == 0
