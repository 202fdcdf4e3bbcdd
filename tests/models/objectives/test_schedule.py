"""Weights by step and by noise level: at their ends, in the middle, and from YAML."""

import math

import pytest
import torch
from omegaconf import OmegaConf
from torch.testing import assert_close

from sceneleapultra.models.objectives.schedule import BySNR, ByTime, WeightSchedule
from sceneleapultra.utils.core.config import build

MODULE = "sceneleapultra.models.objectives.schedule"


def schedule(**changes) -> WeightSchedule:
    settings = {"shape": "linear", "start": 0.0, "end": 2.0, "from_step": 100, "to_step": 300}
    return WeightSchedule(**{**settings, **changes})


@pytest.mark.parametrize(
    ("shape", "step", "weight"),
    [
        *((shape, step, 0.0) for shape in ("linear", "cosine") for step in (0, 100)),
        *((shape, step, 2.0) for shape in ("linear", "cosine") for step in (300, 10**9)),
        *((shape, 200, 1.0) for shape in ("linear", "cosine")),
        ("linear", 150, 0.5),  # a quarter of the way from 0 to 2
        ("cosine", 150, 1.0 - math.sqrt(0.5)),  # 2 (1 - cos(pi / 4)) / 2
    ],
)
def test_a_weight_at_its_ends_and_between(shape, step, weight):
    assert schedule(shape=shape)(step) == pytest.approx(weight, abs=1e-15)


def test_a_weight_may_fall():
    assert [schedule(start=1.0, end=0.0)(s) for s in (0, 150, 300)] == [1.0, 0.75, 0.0]


def test_time_fades_a_weight_out():
    t = torch.tensor([0.0, 0.2, 0.3, 0.4, 1.0])
    factor = ByTime(full_until=0.2, zero_from=0.4)(t, t)
    assert_close(factor, torch.tensor([1.0, 1.0, 0.5, 0.0, 0.0]))


def test_snr_is_bounded():
    snr = torch.tensor([0.0, 3.0, 5.0, torch.inf])
    assert_close(BySNR(minimum=0.0, maximum=5.0)(snr, snr), torch.tensor([0.0, 3.0, 5.0, 5.0]))
    assert_close(BySNR(minimum=1.0, maximum=1.0)(snr, snr), torch.ones(4))


def test_yaml_builds_a_weight():
    settings = {"shape": "cosine", "start": 0, "end": 1, "from_step": 0, "to_step": 500}
    built = build(OmegaConf.create({"_target_": f"{MODULE}.WeightSchedule", **settings}))
    assert built == schedule(shape="cosine", end=1.0, from_step=0, to_step=500)


@pytest.mark.untyped
@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: schedule(shape="cosinus"), "Did you mean 'cosine'"),
        (lambda: schedule(end=-1.0), "end must be finite and not negative, got -1"),
        (lambda: schedule(start=math.nan), "start must be finite and not negative, got nan"),
        (lambda: schedule(to_step=100), "0 <= from_step < to_step, got from_step=100 and to_step=100"),
        (lambda: ByTime(full_until=0.5, zero_from=0.5), "0 <= full_until < zero_from"),
        (lambda: BySNR(minimum=2.0, maximum=1.0), "minimum=2 and maximum=1"),
        (lambda: BySNR(minimum=0.0, maximum=math.inf), "maximum=inf"),
    ],
)
def test_what_has_no_meaning_is_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
