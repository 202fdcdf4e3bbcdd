"""Guidance by the learned scorer: it doubts the grasps less, nothing learns from it, with every kind of model."""

from dataclasses import replace
from functools import partial

import hydra
import pytest
import torch
from hydra import initialize_config_dir
from sceneleapultra.models.cvae import GraspCVAE
from sceneleapultra.models.network.scorer.base import finished
from torch.testing import assert_close

from factories.models import scene_batch, small_cvae, small_model, small_token_scorer
from sceneleapultra.models.guidance.guide import Guidance, make_guide
from sceneleapultra.models.guidance.learned import BoundScorer
from sceneleapultra.models.guidance.physics import BoundPhysics
from sceneleapultra.models.inference import chosen_guidance
from sceneleapultra.models.sampling import cloud_of
from sceneleapultra.utils.core.config import CONFIG_DIR, load_group

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def moving(name: str) -> Guidance:
    """Guidance that moves grasps and leaves the choice of their anchors as it was learned."""
    guidance = chosen_guidance(name)
    return replace(guidance, scorer=replace(guidance.scorer, anchors=0.0))


HOLD, SCORE = moving("hold"), moving("score")
MODELS = {
    "surface": small_model,
    "tokens": lambda: small_model(scorer=small_token_scorer()),
    "cvae": small_cvae,
}


def bound(model, **changes) -> tuple[BoundScorer, torch.Tensor]:
    with torch.no_grad():
        scene = model.denoiser.encode(cloud_of(scene_batch()))
        index = model.sample_anchors(scene, 8, torch.Generator().manual_seed(0))
        anchored = model.denoiser.anchor(scene, index, torch.zeros_like(index))
    settings = replace(SCORE.scorer, **changes)
    x0 = torch.randn(3, 8, model.denoiser.codec.layout.dim, generator=torch.Generator().manual_seed(1))
    return BoundScorer(settings, model.generator.heads.score, model.denoiser, anchored), 0.1 * x0


@pytest.mark.parametrize("name", MODELS)
def test_doubt_falls_and_nothing_is_learned(name):
    model = MODELS[name]()
    guide, x0 = bound(model)
    after = guide(x0)
    gained = (guide.doubt(x0) - guide.doubt(after)).detach()
    # Which points a scorer looks at may change on the way, so a few may lose.
    assert (gained > 1e-4).float().mean() > 0.8 and gained.mean() > 1e-3
    assert not after.requires_grad
    assert all(p.grad is None for p in model.parameters()), "no gradient enters a network"


def test_each_weight_counts_its_own_chance():
    model = small_model()
    doubts = {}
    for hold, clear in ((1.0, 0.0), (0.0, 1.0), (2.0, 0.5)):
        guide, x0 = bound(model, hold=hold, clear=clear)
        doubts[hold, clear] = guide.doubt(x0)
    assert_close(doubts[2.0, 0.5], 2.0 * doubts[1.0, 0.0] + 0.5 * doubts[0.0, 1.0])
    for still in ({"hold": 0.0, "clear": 0.0}, {"iterations": 0}):
        nothing, x0 = bound(model, **still)
        assert_close(nothing(x0), x0, atol=0, rtol=0)


def test_steps_are_bounded():
    guide, x0 = bound(small_model(), iterations=3, max_step=0.02)
    assert ((guide(x0) - x0).norm(dim=-1) < 3 * 0.02 + 1e-5).all()


def test_grasps_are_moved_one_by_one():
    guide, x0 = bound(small_model())
    other = x0.clone()
    other[:, 1:] += 0.3
    assert_close(guide(other)[:, 0], guide(x0)[:, 0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_sampling_ends_with_grasps_that_the_scorer_prefers(name):
    model, batch = MODELS[name](), scene_batch()
    for rank, guidance in (("hold", HOLD), (None, SCORE)):
        plain = model.forward_infer(batch, 6, rank=rank)
        guided = model.forward_infer(batch, 6, rank=rank, guidance=guidance)
        assert guided.nfe == plain.nfe, "no evaluation of the network is added"
        gained = guided.score - plain.score
        assert (gained > 0).float().mean() > 0.8 and gained.mean() > 1e-3


def test_physics_has_the_last_word():
    model, batch = small_model(), scene_batch()
    physics = chosen_guidance("physics").physics
    made = {
        name: model.forward_infer(batch, 6, guidance=guidance).hand_pose
        for name, guidance in (("hold", HOLD), ("both", replace(HOLD, physics=physics)))
    }
    with torch.no_grad():
        scene = model.denoiser.encode(cloud_of(batch))
    index = model.sample_anchors(scene, 6, torch.Generator().manual_seed(0))
    guide = make_guide(
        model.denoiser,
        model.generator.heads.score,
        scene,
        index,
        replace(HOLD, physics=physics),
        cloud=cloud_of(batch),
        said={},
        negatives=(),
        opening=sampling.pregrasp_opening * model.hand.flexion_sign,
    )
    assert [type(c) for c in guide.corrections] == [BoundScorer, BoundPhysics]
    assert not torch.allclose(made["hold"], made["both"])


def test_early_evaluations_are_steered_where_asked_for():
    model, batch = small_model(), scene_batch()
    early = replace(HOLD, scorer=replace(HOLD.scorer, below_t=1.0))
    visited = {
        g: model.forward_infer(batch, 6, guidance=guidance, trajectory=True).trajectory
        for g, guidance in (("late", HOLD), ("early", early), ("none", None))
    }
    assert_close(visited["late"][:-1], visited["none"][:-1], atol=0, rtol=0)
    assert not torch.allclose(visited["early"][1], visited["none"][1])


def doubted_alone(model, batch, weight: float) -> torch.Tensor:
    """Return every scene's anchor logits less the doubts: scene by scene, and token by token."""
    rows = []
    for i in range(batch.size):
        with torch.no_grad():
            scene = model.denoiser.encode(cloud_of(batch.map(lambda x, i=i: x[i : i + 1])))
            logits = scene.anchor_logits[0].clone()
            for token in scene.tokens.target[0].nonzero()[:, 0]:
                anchored = model.denoiser.anchor(
                    scene, token[None, None], torch.zeros(1, 1, dtype=torch.long)
                )
                middle = torch.zeros(1, 1, model.denoiser.dim_input)
                if isinstance(model, GraspCVAE):
                    x0 = model.decoded(middle, torch.zeros(1), anchored)
                else:
                    predict = partial(model.predicted_x0, anchored=anchored)
                    x0 = model.sampler(predict, model.generator.process.noise, middle, None).x0
                parts = model.generator.heads.score(finished(model.denoiser, x0, anchored), scene)
                logits[token] += weight * torch.nn.functional.logsigmoid(parts[0, 0, 0])
        rows.append(logits)
    return torch.stack(rows)


@pytest.mark.parametrize("name", MODELS)
def test_anchors_are_as_likely_as_learned_times_the_chance_that_their_grasp_holds(name, monkeypatch):
    """Neither the other scenes of a batch nor the grasps tried on other anchors matter."""
    model, batch, seen = MODELS[name](), scene_batch(), []
    few = batch.object_mask & (torch.arange(batch.size)[:, None] + batch.object_mask.cumsum(1) < 40)
    batch = replace(batch, object_mask=few)
    guidance = replace(chosen_guidance("hold"), physics=chosen_guidance("physics").physics)
    guidance = replace(guidance, scorer=replace(guidance.scorer, anchors=3.0))
    sample = model.sample_anchors
    monkeypatch.setattr(
        model, "sample_anchors", lambda scene, *rest: seen.append(scene) or sample(scene, *rest)
    )
    plain = model.forward_infer(batch, 6)
    guided = model.forward_infer(batch, 6, guidance=guidance)
    assert guided.nfe == 2 * plain.nfe
    learned, doubted = (scene.anchor_logits for scene in seen)
    assert_close(doubted, doubted_alone(model, batch, 3.0), atol=1e-4, rtol=1e-4)
    assert len(set(learned.isfinite().sum(1).tolist())) > 1, "scenes have unlike numbers of target tokens"
    assert torch.equal(learned.isfinite(), doubted.isfinite()) and not torch.allclose(learned, doubted)


@pytest.mark.parametrize("name", sorted(p.stem for p in (CONFIG_DIR / "guidance").glob("*.yaml")))
def test_guidance_by_name_is_what_the_command_line_composes(name):
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        assert load_group("guidance", name) == hydra.compose("test", [f"guidance={name}"]).guidance


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"iterations": -1}, r"guidance\.scorer\.iterations: expected at least 0, got -1"),
        ({"max_step": 0.0}, r"guidance\.scorer\.max_step: expected more than 0, got 0"),
        ({"anchors": -1.0}, r"guidance\.scorer\.anchors: expected at least 0, got -1"),
        ({"clear": -1.0}, r"guidance\.scorer\.clear: expected at least 0, got -1"),
        ({"below_t": 1.5}, r"guidance\.scorer\.below_t: expected 0 to 1, got 1\.5"),
    ],
)
def test_settings_without_a_meaning_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        replace(SCORE.scorer, **changes)
