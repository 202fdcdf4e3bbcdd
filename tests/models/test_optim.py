"""Which weights decay, and where the learning rate is at which step."""

import math

import pytest
import torch
from torch import nn

from sceneleapultra.models.learning_rates import build_param_groups
from sceneleapultra.models.optim import (
    adamw,
    one_cycle,
    use_settings,
    warmup_constant,
    warmup_cosine,
)


def rates(schedule, steps: list[int], **settings: float) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = schedule(optimizer, **settings)
    return [scheduler.lr_lambdas[0](step) for step in steps]


def test_only_matrices_decay() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    module.append(nn.Linear(2, 2).requires_grad_(False))
    settings = {"lr": 1.0, "weight_decay": 0.1, "betas": (0.9, 0.99), "eps": 1e-8}
    optimizer = adamw(build_param_groups(module, {}), **settings, fused=True)
    decay, plain = optimizer.param_groups
    assert [p.shape for p in decay["params"]] == [(2, 3)] and decay["weight_decay"] == 0.1
    assert [p.shape for p in plain["params"]] == [(2,), (2,), (2,)] and plain["weight_decay"] == 0.0


def test_warmup_then_cosine() -> None:
    got = rates(warmup_cosine, [0, 3, 4, 9, 14, 20], warmup_steps=4, total_steps=14, final_ratio=0.1)
    # Step 0: 1/5; step 3: 4/5; step 4: peak; step 9: half way, 0.1 + 0.9 / 2; step 14 and later: the floor.
    assert got == pytest.approx([0.2, 0.8, 1.0, 0.55, 0.1, 0.1])


def test_constant_after_warmup() -> None:
    assert rates(warmup_constant, [0, 1, 2, 50], warmup_steps=1) == pytest.approx([0.5, 1.0, 1.0, 1.0])


def test_one_cycle_rises_and_falls() -> None:
    got = rates(one_cycle, [0, 5, 10, 15, 20], total_steps=20, rise=0.5, initial_ratio=0.2, final_ratio=0.0)
    assert got == pytest.approx([0.2, 0.6, 1.0, 0.5 * (1 + math.cos(math.pi / 2)), 0.0])


def test_a_run_continued_with_more_steps_takes_its_new_end() -> None:
    def build(total: int):
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        return warmup_cosine(optimizer, warmup_steps=0, total_steps=total, final_ratio=0.0)

    short, longer = build(10), build(20)
    longer.load_state_dict(short.state_dict())
    assert longer.lr_lambdas[0](10) == pytest.approx(0.5)


SETTINGS = {"lr": 0.1, "weight_decay": 0.1, "betas": (0.9, 0.99), "eps": 1e-8, "fused": False}


def trained(steps: int, schedule=warmup_constant, module=None, **changes):
    """Return an optimizer after some steps, its schedule and its module."""
    torch.manual_seed(0)
    module = module or nn.Linear(3, 2)
    optimizer = adamw(build_param_groups(module, {}), **SETTINGS | changes)
    scheduler = schedule(optimizer, warmup_steps=4) if schedule is warmup_constant else schedule(optimizer)
    for _ in range(steps):
        optimizer.zero_grad()
        module(torch.ones(1, 3)).square().sum().backward()
        optimizer.step()
        scheduler.step()
    return optimizer, scheduler, module


def restored(state, **changes):
    optimizer, scheduler, module = trained(0, **changes)
    given, _, _ = trained(0, module=module, **changes)
    optimizer.load_state_dict(state[0].state_dict())
    scheduler.load_state_dict(state[1].state_dict())
    use_settings(optimizer, given, scheduler)
    return optimizer, scheduler


def test_the_same_settings_change_nothing() -> None:
    before = trained(3)
    optimizer, scheduler = restored(before)
    assert optimizer.state_dict()["param_groups"] == before[0].state_dict()["param_groups"]
    assert scheduler.state_dict() == before[1].state_dict()


def test_new_settings_are_used_from_the_first_step_and_what_was_learned_stays() -> None:
    before = trained(3)
    optimizer, scheduler = restored(before, lr=0.5, weight_decay=0.3, betas=(0.8, 0.95))
    decay, plain = optimizer.param_groups
    assert decay["lr"] == plain["lr"] == pytest.approx(0.5 * 4 / 5)  # the fourth of five steps of the rise
    assert (decay["weight_decay"], plain["weight_decay"]) == (0.3, 0.0)
    assert decay["betas"] == (0.8, 0.95)
    for mine, theirs in zip(optimizer.state.values(), before[0].state.values(), strict=True):
        torch.testing.assert_close(mine["exp_avg_sq"], theirs["exp_avg_sq"], rtol=0, atol=0)
    optimizer.step()
    scheduler.step()
    assert decay["lr"] == pytest.approx(0.5)


def test_a_schedule_that_holds_settings_itself_refuses_others() -> None:
    def cycle(optimizer):
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=10)

    before = trained(3, schedule=cycle)
    restored(before, schedule=cycle)
    with pytest.raises(
        ValueError, match=r"OneCycleLR cannot be continued with weight_decay=0\.3 \(until now 0\.1\)"
    ):
        restored(before, schedule=cycle, weight_decay=0.3)
