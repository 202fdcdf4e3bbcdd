"""Settings of sampling: each can be changed by its name, the rest stays, and no name is guessed."""

from dataclasses import replace

import pytest

from factories.models import small_sampling
from sceneleapultra.models.diffusion.ancestral import DDPM
from sceneleapultra.models.ranking import LearnedRank, LikelihoodRank
from sceneleapultra.utils.core.config import CONFIG_DIR, build, load_group


def test_each_setting_is_changed_by_name_and_the_rest_stays() -> None:
    one = small_sampling()
    assert one.changed() == one and one.changed(steps=None, rank=None, guidance=None) == one
    two = one.changed(steps=9, temperature=0.3, squeeze_gain=2.0, anchor_temperature=0.5)
    assert two.solver == replace(one.solver, steps=9, temperature=0.3)
    assert (two.squeeze_gain, two.anchor_temperature, two.pregrasp_opening) == (2.0, 0.5, 0.15)
    assert (two.guidance, two.rank) == (one.guidance, one.rank)


def test_a_named_solver_brings_its_settings_and_ones_own_keeps_them() -> None:
    one = small_sampling()
    assert one.changed(solver="ddim") == one, "its four steps are kept"
    ddpm = one.changed(solver="ddpm", steps=2).solver
    assert isinstance(ddpm, DDPM)
    assert ddpm == replace(build(load_group("sampling/solver", "ddpm")), steps=2)
    settings = {**load_group("sampling/solver", "ddpm"), "steps": 2}
    assert one.changed(solver=settings).solver == ddpm
    assert one.changed(solver=ddpm).solver == ddpm


def test_guidance_and_rank_are_named_or_given() -> None:
    one = small_sampling()
    guided = one.changed(guidance="physics", cfg_scale=2.0)
    assert guided.guidance.physics is not None and guided.guidance.classifier_free.scale == 2.0
    assert one.guidance.classifier_free.scale == 1.0
    assert guided.changed(guidance="none") == one
    assert isinstance(one.changed(rank="log_prob").rank, LikelihoodRank)
    assert one.changed(rank="stable").rank == LearnedRank(by="stable", sort=True)
    assert not one.changed(rank="none").rank.sort


@pytest.mark.untyped
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"stepz": 3}, r"Unknown sampling setting 'stepz'\. Did you mean 'steps'"),
        ({"sampler": "ddim"}, r"Unknown sampling setting 'sampler'"),
        ({"solver": "ddmp"}, r"Did you mean 'ddpm'"),
        ({"guidance": "phisics"}, r"Did you mean 'physics'"),
        ({"rank": "log_probb"}, r"Did you mean 'log_prob'"),
        ({"steps": 0}, r"solver\.steps must be at least 1, got 0"),
        ({"temperature": -1.0}, r"solver\.temperature must not be negative, got -1"),
        ({"cfg_scale": -1.0}, r"guidance\.classifier_free\.scale must not be negative, got -1"),
        ({"graspness": -1.0}, r"sampling\.graspness must not be negative, got -1"),
        ({"anchor_temperature": 0.0}, r"sampling\.anchor_temperature: expected more than 0, got 0"),
    ],
)
def test_what_is_no_setting_is_refused(changes: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        small_sampling().changed(**changes)


def test_the_shipped_settings_are_loaded_by_name() -> None:
    default = build(load_group("sampling", "default"))
    assert default.solver.name == "ddim" and default.guidance.describe() == "none"
    with pytest.raises(ValueError, match="Did you mean 'default'"):
        load_group("sampling", "defualt")


@pytest.mark.parametrize("name", sorted(p.stem for p in (CONFIG_DIR / "sampling/rank").glob("*.yaml")))
def test_every_rank_is_built_by_its_name(name: str) -> None:
    assert small_sampling().changed(rank=name).rank == build(load_group("sampling/rank", name))
