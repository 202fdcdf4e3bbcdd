"""Guidance by the score head: it lowers the grasps' energy, nothing learns from it, with every kind of model."""

from dataclasses import replace

import hydra
import pytest
import torch
from hydra import initialize_config_dir
from torch.testing import assert_close

from factories.models import scene_batch, small_cvae, small_generator, small_sampling, small_token_score
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.guidance.guide import Guidance, build_guide
from sceneleapultra.models.guidance.learned import BoundScore
from sceneleapultra.models.guidance.physics import BoundPhysics
from sceneleapultra.models.network.heads.anchors import AnchorHeadConfig
from sceneleapultra.models.network.tokens import Cloud
from sceneleapultra.models.sampling import SampleRandom, SamplingRun
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.core.config import CONFIG_DIR, load_group

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
SEEDS = (0, 1, 2)


def chosen(name: str) -> Guidance:
    return small_sampling().changed(guidance=name).guidance


def moving(name: str) -> Guidance:
    """Guidance that moves grasps and leaves the choice of their anchors as it was learned."""
    guidance = chosen(name)
    return replace(guidance, scorer=replace(guidance.scorer, anchors=0.0))


STABLE, SCORE = moving("stable"), moving("score")
MODELS = {
    "surface": small_generator,
    "tokens": lambda: small_generator(heads={"anchors": AnchorHeadConfig(), "score": small_token_score()}),
    "cvae": lambda: small_cvae().generator,
}


def on_first_anchors(generator: GraspGenerator, num_grasps: int):
    with torch.no_grad():
        scene = generator.encode(Cloud.of(scene_batch()))
        index = scene.tokens.target.long().argsort(dim=1, descending=True, stable=True)[:, :num_grasps]
        return scene, index


def bound(generator: GraspGenerator, **changes) -> tuple[BoundScore, torch.Tensor]:
    scene, index = on_first_anchors(generator, 8)
    with torch.no_grad():
        anchored = generator.anchor(scene, index, torch.zeros_like(index))
    settings = replace(SCORE.scorer, **changes)
    x0 = torch.randn(3, 8, generator.codec.layout.dim, generator=torch.Generator().manual_seed(1))
    return BoundScore(settings, generator, anchored), 0.1 * x0


@pytest.mark.parametrize("name", MODELS)
def test_energy_falls_and_nothing_is_learned(name):
    generator = MODELS[name]()
    guide, x0 = bound(generator)
    after = guide(x0)
    gained = (guide.energy(x0) - guide.energy(after)).detach()
    # Which points a head looks at may change on the way, so a few may lose.
    assert (gained > 1e-4).float().mean() > 0.8 and gained.mean() > 1e-3
    assert not after.requires_grad
    assert all(p.grad is None for p in generator.parameters()), "no gradient enters a network"


def test_each_weight_counts_its_own_chance():
    generator = small_generator()
    energies = {}
    for stable, collision_free in ((1.0, 0.0), (0.0, 1.0), (2.0, 0.5)):
        guide, x0 = bound(generator, stable=stable, collision_free=collision_free)
        energies[stable, collision_free] = guide.energy(x0)
    assert_close(energies[2.0, 0.5], 2.0 * energies[1.0, 0.0] + 0.5 * energies[0.0, 1.0])
    for still in ({"stable": 0.0, "collision_free": 0.0}, {"iterations": 0}):
        nothing, x0 = bound(generator, **still)
        assert_close(nothing(x0), x0, atol=0, rtol=0)


def test_steps_are_bounded():
    guide, x0 = bound(small_generator(), iterations=3, max_step=0.02)
    assert ((guide(x0) - x0).norm(dim=-1) < 3 * 0.02 + 1e-5).all()


def test_grasps_are_moved_one_by_one():
    guide, x0 = bound(small_generator())
    other = x0.clone()
    other[:, 1:] += 0.3
    assert_close(guide(other)[:, 0], guide(x0)[:, 0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_sampling_ends_with_grasps_that_the_head_prefers(name):
    generator, batch = MODELS[name](), scene_batch()
    for rank, guidance in (("stable", STABLE), ("score", SCORE)):
        plain, guided = (
            generator.sample(batch, 6, seeds=SEEDS, sampling={"rank": rank, "guidance": g})
            for g in ("none", guidance)
        )
        assert guided.nfe == plain.nfe, "no evaluation of the network is added"
        gained = guided.score - plain.score
        assert (gained > 0).float().mean() > 0.8 and gained.mean() > 1e-3


def test_physics_has_the_last_word():
    generator, batch = small_generator(), scene_batch()
    both = replace(STABLE, physics=chosen("physics").physics)
    made = [
        generator.sample(batch, 6, seeds=SEEDS, sampling={"guidance": g}).hand_pose for g in (STABLE, both)
    ]
    scene, index = on_first_anchors(generator, 6)
    guide = build_guide(
        generator,
        scene,
        index,
        both,
        cloud=Cloud.of(batch),
        prompts={},
        negatives=(),
        opening=0.15 * generator.hand.flexion_sign,
    )
    assert [type(c) for c in guide.corrections] == [BoundScore, BoundPhysics]
    assert not torch.allclose(*made)


def test_early_evaluations_are_steered_where_asked_for():
    generator, batch = small_generator(), scene_batch()
    early = replace(STABLE, scorer=replace(STABLE.scorer, below_t=1.0))
    visited = {
        g: generator.sample(
            batch, 6, seeds=SEEDS, sampling={"guidance": guidance}, trajectory=True
        ).trajectory
        for g, guidance in (("late", STABLE), ("early", early), ("none", None))
    }
    assert_close(visited["late"][:-1], visited["none"][:-1], atol=0, rtol=0)
    assert not torch.allclose(visited["early"][1], visited["none"][1])


@torch.no_grad()
def reweighted_one_by_one(generator: GraspGenerator, batch: GraspBatch, weight: float) -> torch.Tensor:
    """Return every scene's anchor logits less the energies: scene by scene, and token by token."""
    rows = []
    for i in range(batch.size):
        scene = generator.encode(Cloud.of(batch.item(i)))
        logits = scene.outputs["anchors"][0].clone()
        for token in scene.tokens.target[0].nonzero()[:, 0]:
            anchored = generator.anchor(scene, token[None, None], torch.zeros(1, 1, dtype=torch.long))
            x0 = generator.process.solve(
                generator.sampling.solver,
                lambda x, t, anchored=anchored: generator.predict_x0(x, t, anchored),
                torch.zeros(1, 1, generator.dim_input),
                None,
                trajectory=False,
            ).x0
            parts = generator.score_head(generator.decode(x0, anchored), scene)
            logits[token] += weight * torch.nn.functional.logsigmoid(parts[0, 0, 0])
        rows.append(logits)
    return torch.stack(rows)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_anchors_are_as_likely_as_learned_times_the_chance_that_their_grasp_is_stable(name):
    """Neither the other scenes of a batch nor the grasps tried on other anchors matter."""
    generator, batch = MODELS[name](), scene_batch()
    few = batch.object_mask & (torch.arange(batch.size)[:, None] + batch.object_mask.cumsum(1) < 40)
    batch = replace(batch, object_mask=few)
    guidance = replace(chosen("stable"), physics=chosen("physics").physics)
    guidance = replace(guidance, scorer=replace(guidance.scorer, anchors=3.0))
    plain, guided = (
        generator.sample(batch, 6, seeds=SEEDS, sampling={"guidance": g}) for g in ("none", guidance)
    )
    assert guided.nfe == 2 * plain.nfe
    with torch.no_grad():
        learned, reweighted = (
            SamplingRun(
                generator,
                batch,
                generator.sampling.changed(guidance=g),
                SampleRandom(SEEDS, generator.device),
            ).scene.outputs["anchors"]
            for g in ("none", guidance)
        )
    assert_close(reweighted, reweighted_one_by_one(generator, batch, 3.0), atol=1e-4, rtol=1e-4)
    assert len(set(learned.isfinite().sum(1).tolist())) > 1, "scenes have unlike numbers of target tokens"
    assert torch.equal(learned.isfinite(), reweighted.isfinite())
    assert not torch.allclose(learned, reweighted)


@pytest.mark.parametrize("name", sorted(p.stem for p in (CONFIG_DIR / "sampling/guidance").glob("*.yaml")))
def test_guidance_by_name_is_what_the_command_line_composes(name):
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        composed = hydra.compose("config", [f"sampling/guidance={name}"])
    assert load_group("sampling/guidance", name) == composed.sampling.guidance


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"iterations": -1}, r"guidance\.scorer\.iterations: expected at least 0, got -1"),
        ({"max_step": 0.0}, r"guidance\.scorer\.max_step: expected more than 0, got 0"),
        ({"anchors": -1.0}, r"guidance\.scorer\.anchors: expected at least 0, got -1"),
        ({"collision_free": -1.0}, r"guidance\.scorer\.collision_free: expected at least 0, got -1"),
        ({"below_t": 1.5}, r"guidance\.scorer\.below_t: expected 0 to 1, got 1\.5"),
    ],
)
def test_settings_without_a_meaning_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        replace(SCORE.scorer, **changes)
