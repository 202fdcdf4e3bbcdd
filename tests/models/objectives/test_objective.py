"""What an objective does with its terms: which it computes, how it weighs them, and which it refuses."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from factories.models import TERMS, losses_of, scene_batch, small_cvae, small_module, small_objective
from sceneleapultra.models.objectives.context import StepContext
from sceneleapultra.models.objectives.denoising import Denoising
from sceneleapultra.models.objectives.latent import Divergence
from sceneleapultra.models.objectives.sparse import SparseFeatures
from sceneleapultra.models.objectives.states import StateError
from sceneleapultra.models.objectives.term import LossTerm


class Counted(LossTerm):
    """A term that counts how often it is computed."""

    needs = ("x0",)

    def __init__(self, *, weight: Any) -> None:
        super().__init__(weight=weight)
        self.count = 0

    def __call__(self, context: StepContext) -> Tensor:
        self.count += 1
        return context.x0.square().mean()


class NotValidated(Counted):
    """A term of training alone."""

    validated = False


def test_a_weight_of_0_costs_nothing() -> None:
    off, on = Counted(weight=0.0), Counted(weight=0.5)
    module = small_module(objective=small_objective(terms=TERMS | {"off": off, "on": on}))
    losses = losses_of(module, scene_batch())
    assert "off" not in losses and off.count == 0
    assert on.count == 1 and losses["on"] > 0
    plain = losses_of(small_module(), scene_batch())
    assert_close({name: losses[name] for name in plain}, plain, atol=0, rtol=0)


def test_the_loss_is_the_weighted_sum_of_its_terms() -> None:
    """A schedule is asked for the weight of each step."""
    risen = Counted(weight=lambda step: 0.1 * step)
    module = small_module(objective=small_objective(terms=TERMS | {"risen": risen}))
    losses = losses_of(module, scene_batch())
    plain = sum(TERMS[name].weight * losses[name] for name in TERMS)
    for step in (0, 3):
        total = module.objective.total(losses, step)
        assert_close(total, plain + 0.1 * step * losses["risen"], atol=1e-6, rtol=1e-6)


def test_terms_of_training_alone_are_not_computed_in_validation() -> None:
    term = NotValidated(weight=1.0)
    module = small_module(objective=small_objective(terms=TERMS | {"only": term}))
    assert "only" not in losses_of(module, scene_batch(), training=False) and term.count == 0
    assert "only" in losses_of(module, scene_batch())


def test_a_term_whose_needs_nobody_gives_is_refused_by_name() -> None:
    terms = TERMS | {"kl": Divergence(free_nats=0.0, weight=0.1)}
    with pytest.raises(
        ValueError,
        match=r"model.objective.terms.kl needs code, which Denoising does not give. Switch it off with "
        r"model.objective.terms.kl.weight=0",
    ):
        small_objective(terms=terms)
    off = TERMS | {"kl": Divergence(free_nats=0.0, weight=0.0)}
    assert "kl" not in small_objective(terms=off).terms
    with pytest.raises(
        ValueError, match=r"terms.near needs sparse_scene, which LatentVariable does not give"
    ):
        small_cvae(terms=TERMS | {"near": SparseFeatures(reach_m=0.02, weight=1.0)})


@pytest.mark.untyped
@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: StateError(group="joints", weight=-1.0), "weight: expected at least 0, got -1"),
        (lambda: StateError(group="joint", weight=1.0), r"Unknown group 'joint'\. Did you mean 'joints'"),
        (
            lambda: small_objective(terms={"joints": StateError(group="joints", weight=0.0)}),
            r"model.objective.terms: every weight of \['joints'\] is 0",
        ),
        (
            lambda: small_objective(terms=TERMS | {"near": SparseFeatures(reach_m=0.02, weight=1.0)}),
            r"model.objective.terms.near compares with a sparse view, but model.objective.sparse_view is null",
        ),
        (
            lambda: small_module(small_cvae().generator),
            r"model.objective=denoising trains a diffusion or flow model; .* Pass model=grasp_dit",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()


def test_a_batch_without_grasps_is_refused() -> None:
    batch = scene_batch()
    for name in ("hand_pose", "squeeze_qpos"):
        with pytest.raises(ValueError, match=rf"this one has no {name}. Is it an inference batch"):
            losses_of(small_module(), replace(batch, **{name: None}))


def test_what_several_terms_read_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    module, calls = small_module(), []
    encode, predict = module.generator.encode, module.generator.predict_x0
    monkeypatch.setattr(module.generator, "encode", lambda *a: calls.append("encode") or encode(*a))
    monkeypatch.setattr(module.generator, "predict_x0", lambda *a: calls.append("predict") or predict(*a))
    losses_of(module, scene_batch())
    assert sorted(calls) == ["encode", "predict"]


def test_noise_is_keyed_by_seed_step_and_item() -> None:
    module, batch = small_module(), scene_batch()

    def eps(objective: Denoising, some: Any, step: int) -> Tensor:
        return objective.context(module.generator, some, step=step, training=True).noise.eps

    first = eps(module.objective, batch, 3)
    assert torch.equal(eps(module.objective, batch.item(1), 3), first[1:2])
    assert not torch.equal(eps(module.objective, batch, 4), first)
    assert not torch.equal(eps(small_objective(seed=1), batch, 3), first)
