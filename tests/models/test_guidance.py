"""Classifier-free guidance: its formula, its branches through a real generator, its masks, and what it refuses."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from factories.models import (
    losses_of,
    scene_batch,
    small_encoder,
    small_generator,
    small_module,
    small_sampling,
)
from sceneleapultra.models.diffusion.process import CosineProcess, LinearProcess
from sceneleapultra.models.diffusion.solvers import Solver
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.guidance.classifier_free import ClassifierFree
from sceneleapultra.models.guidance.guide import Guidance, build_guide
from sceneleapultra.models.network.conditions.base import Condition
from sceneleapultra.models.network.conditions.words import HashingEncoder
from sceneleapultra.models.network.tokens import Cloud
from sceneleapultra.models.objectives.noise import StepNoise, draw_step_noise
from sceneleapultra.models.process import Diffusion
from sceneleapultra.models.sampling import SampleRandom, choose_anchors
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.core.config import CONFIG_DIR, build, load_group

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
PROMPTS = ("a mug", "bowl", "box")
SEEDS = (3, 4, 5)
FLOW = build(load_group("model/generator/process", "flow")).noise


def free(**changes) -> ClassifierFree:
    settings = {"scale": 1.0, "drops": "all", "rescale": 0.0, "interval": (0.0, 1.0), "negative_scale": 1.0}
    return ClassifierFree(**{**settings, **changes})


def guidance(**changes) -> Guidance:
    return Guidance(classifier_free=free(**changes), scorer=None, physics=None)


def prompt(drop_prob: float = 0.3) -> Condition:
    return Condition(encoder=HashingEncoder(dim=16), reads="positive_prompt", dim=32, drop_prob=drop_prob)


def dropping(scene: float = 0.0, color: float = 0.0) -> dict[str, float]:
    return {"scene": scene, "color": color}


def guidable(**changes) -> GraspGenerator:
    torch.manual_seed(1)
    settings = {"condition_dropout": dropping(scene=0.2), "conditions": {"prompt": prompt()}}
    return small_generator(**settings | changes)


def with_prompts() -> GraspBatch:
    return replace(scene_batch(), positive_prompt=PROMPTS)


def bound(generator: GraspGenerator, batch: GraspBatch, g: Guidance, num_grasps: int = 4):
    cloud = Cloud.of(batch)
    scene = generator.encode(cloud)
    index = choose_anchors(scene, num_grasps, 1.0, SampleRandom((0, 1, 2), torch.device("cpu")))
    guide = build_guide(
        generator,
        scene,
        index,
        g,
        cloud=cloud,
        prompts={"positive_prompt": batch.positive_prompt},
        negatives=batch.negative_prompts,
        opening=0.15 * generator.hand.flexion_sign,
    )
    return guide, scene, index


def branch(generator: GraspGenerator, scene, index, prompts, drops=()):
    """What the network predicts for one branch, asked by itself."""
    conditioning = generator.conditioning
    context = conditioning.encode_prompts(scene, {"prompt": prompts})
    dropped = {name: torch.ones(3, dtype=torch.bool) for name in drops}
    context = conditioning.drop(context, dropped, generator.decoder)
    anchored = generator.anchor(context, index, torch.zeros_like(index))
    return lambda x_t, t: generator.predict_x0(x_t, t, anchored)


@pytest.mark.parametrize(
    ("process", "prediction"),
    [(CosineProcess(), "x0"), (FLOW, "u"), (FLOW, "x0")],
    ids=["vp", "flow", "flow_x0"],
)
@pytest.mark.parametrize(("scale", "u", "c"), [(0.0, 1.0, 0.0), (1.0, 0.0, 1.0), (2.0, -1.0, 2.0)])
def test_scale_0_1_2_are_pinned(process, prediction, scale, u, c):
    """0 is the unconditional prediction, 1 the conditional, 2 twice as far: u + s (c - u)."""
    generator, batch = guidable(process=Diffusion(noise=process, prediction=prediction)), with_prompts()
    guide, scene, index = bound(generator, batch, guidance(scale=scale))
    x_t, t = torch.randn(3, 4, 41), torch.full((3,), 0.6)
    with torch.no_grad():
        conditional = branch(generator, scene, index, PROMPTS)(x_t, t)
        unconditional = branch(generator, scene, index, PROMPTS, ("scene", "prompt"))(x_t, t)
        guided = guide.wrap(generator.predict_x0)(x_t, t)
    assert (conditional - unconditional).abs().max() > 1e-2
    assert_close(guided, u * unconditional + c * conditional, atol=1e-5, rtol=1e-4)
    assert guide.nfe == (1 if scale == 1.0 else 2)


def test_what_is_dropped_can_be_chosen():
    generator, batch = guidable(), with_prompts()
    x_t, t = torch.randn(3, 4, 41), torch.full((3,), 0.6)
    for drops in ("scene", "prompt"):
        guide, scene, index = bound(generator, batch, guidance(scale=0.0, drops=drops))
        with torch.no_grad():
            expected = branch(generator, scene, index, PROMPTS, (drops,))(x_t, t)
            assert_close(guide.wrap(generator.predict_x0)(x_t, t), expected, atol=1e-5, rtol=1e-4)


def test_a_dropped_scene_has_no_influence():
    """Only the anchors' frames are left of it: other features give the same prediction."""
    generator, batch = guidable(), scene_batch()
    with torch.no_grad():
        scene = generator.encode(Cloud.of(batch))
        other = generator.encode(Cloud.of(replace(batch, object_mask=~batch.object_mask)))
        other = replace(other, tokens=replace(other.tokens, xyz=scene.tokens.xyz, frames=scene.tokens.frames))
        assert not torch.allclose(other.tokens.features, scene.tokens.features)
        index = choose_anchors(scene, 4, 1.0, SampleRandom((0, 1, 2), torch.device("cpu")))
        x_t, t = torch.randn(3, 4, 41), torch.full((3,), 0.6)
        one, two = (branch(generator, s, index, PROMPTS, ("scene",))(x_t, t) for s in (scene, other))
    assert_close(one, two)


def runnable(generator: GraspGenerator) -> list[Solver]:
    """All configured solvers that a generator admits."""
    found = []
    for file in sorted((CONFIG_DIR / "sampling" / "solver").glob("*.yaml")):
        solver = build(load_group("sampling/solver", file.stem))
        try:
            generator.process.check_solver(solver)
        except ValueError:
            continue
        if solver.name != "dopri5":  # its evaluations depend on the answers
            found.append(replace(solver, steps=2))
    assert len(found) >= 2
    return found


def test_every_solver_is_guided_and_branches_are_counted():
    generator, batch = guidable(), with_prompts()
    for solver in runnable(generator):
        plain, off, on = (
            generator.sample(batch, 4, seeds=SEEDS, sampling={"solver": solver, "guidance": g})
            for g in (None, guidance(), guidance(scale=2.0))
        )
        assert_close(off.hand_pose, plain.hand_pose, atol=0, rtol=0)
        assert on.nfe == 2 * plain.nfe
        assert not torch.allclose(on.hand_pose, plain.hand_pose, atol=1e-3)


@pytest.mark.parametrize(
    "process", [CosineProcess(), LinearProcess(beta_min=0.1, beta_max=20.0, zero_terminal_snr=False), FLOW]
)
@pytest.mark.parametrize("prediction", ["eps", "v", "u"])
def test_guiding_x0_is_guiding_any_prediction(process, prediction):
    """x0 is affine in eps, v and u at a given x_t, and the weights s and 1 - s sum to one."""
    x_t, t, scale = torch.randn(2, 3, 5), torch.tensor([0.3, 0.7]), 2.5
    cond, uncond = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    to = lambda output: process.to_x0(prediction, output, x_t, t)  # noqa: E731
    parts = {"conditional": to(cond), "unconditional": to(uncond)}
    assert_close(free(scale=scale).combine(parts), to(uncond + scale * (cond - uncond)), atol=1e-4, rtol=1e-4)


def test_negative_prompts_push_away_from_their_mean():
    generator = guidable()
    negatives = (("plate", "jar"), ("jar",), ("cup", "lamp"))
    batch = replace(with_prompts(), negative_prompts=negatives)
    guide, scene, index = bound(generator, batch, guidance(scale=3.0, drops="prompt", negative_scale=0.5))
    x_t, t = torch.randn(3, 4, 41), torch.full((3,), 0.6)
    with torch.no_grad():
        p = branch(generator, scene, index, PROMPTS)(x_t, t)
        u = branch(generator, scene, index, PROMPTS, ("prompt",))(x_t, t)
        n = [
            branch(generator, scene, index, words)(x_t, t)
            for words in (("plate", "jar", "cup"), ("jar", "jar", "lamp"))
        ]
        guided = guide.wrap(generator.predict_x0)(x_t, t)
    expected = u + 3.0 * (p - u) - 0.5 * ((n[0] + n[1]) / 2 - u)
    assert_close(guided, expected, atol=1e-5, rtol=1e-4)
    assert guide.nfe == 5


def test_rescaling_restores_the_spread():
    parts = {"conditional": torch.randn(2, 6, 5), "unconditional": torch.randn(2, 6, 5)}
    wild, tame = free(scale=4.0).combine(parts), free(scale=4.0, rescale=1.0).combine(parts)
    spread = parts["conditional"].std((1, 2))
    assert (wild.std((1, 2)) > 2.0 * spread).all()
    assert_close(tame.std((1, 2)), spread)
    half = free(scale=4.0, rescale=0.5).combine(parts)
    assert_close(half, 0.5 * (wild + tame))


def test_interval_limits_where_guidance_acts_and_what_it_costs():
    """DDIM in 4 trailing steps asks at t = 1, 3/4, 1/2, 1/4: two of them lie in [0.4, 0.8]."""
    generator, batch = guidable(), with_prompts()

    def made(**changes):
        return generator.sample(batch, 3, seeds=SEEDS, sampling={"steps": 4, **changes})

    assert made(guidance=guidance(scale=2.0, interval=(0.4, 0.8))).nfe == 4 + 2
    never = made(guidance=guidance(scale=2.0, interval=(0.01, 0.02)))
    assert_close(never.hand_pose, made().hand_pose, atol=0, rtol=0)


def drawn(generator: GraspGenerator, batch: GraspBatch, step: int) -> StepNoise:
    return draw_step_noise(generator, batch, num_grasps=6, seed=0, step=step)


def test_conditions_are_dropped_independently_and_by_item():
    generator = guidable(condition_dropout=dropping(scene=0.25), conditions={"prompt": prompt(0.5)})
    batch = with_prompts()
    draws = [drawn(generator, batch, step).dropped for step in range(400)]
    scene = torch.stack([d["scene"] for d in draws]).float()
    words = torch.stack([d["prompt"] for d in draws]).float()
    # 1200 coins each: three standard errors are 0.038 and 0.043.
    assert abs(scene.mean() - 0.25) < 0.038 and abs(words.mean() - 0.5) < 0.043
    assert abs((scene * words).mean() - 0.125) < 0.03
    assert drawn(generator, batch.item(1), 7).dropped["scene"] == draws[7]["scene"][1]


def losses_without(module, batch: GraspBatch, **dropped: bool) -> dict[str, torch.Tensor]:
    """Return the losses of the first step with conditions dropped in all scenes, or in none."""
    context = module.objective.context(module.generator, batch, step=0, training=True)
    rows = {name: torch.full((3,), value) for name, value in dropped.items()}
    context.noise = replace(context.noise, dropped=rows)
    return module.objective.losses(context, training=True)


def test_dropped_scenes_change_what_is_trained():
    module, batch = small_module(guidable()), with_prompts()
    plain = losses_without(module, batch, scene=False, prompt=False)["joints"]
    scene = losses_without(module, batch, scene=True, prompt=False)["joints"]
    words = losses_without(module, batch, scene=False, prompt=True)["joints"]
    assert not torch.allclose(scene, plain) and not torch.allclose(words, plain)
    (scene + words).backward()
    conditioning = module.generator.conditioning
    assert conditioning.null_scene.grad.abs().sum() > 0
    assert conditioning.conditions["prompt"].null.grad.abs().sum() > 0


def test_dropped_colors_leave_their_scenes_alone_without_them():
    generator = small_generator(encoder=small_encoder(use_color=True), condition_dropout=dropping(color=0.4))
    batch = replace(
        scene_batch(), scene_rgb=torch.randint(0, 255, scene_batch().scene_pc.shape).to(torch.uint8)
    )
    shares = torch.stack([drawn(generator, batch, step).dropped["color"] for step in range(400)]).float()
    assert abs(shares.mean() - 0.4) < 0.043  # three standard errors of 1200 coins
    losses_without(small_module(generator), batch, color=True)["joints"].backward()
    assert generator.conditioning.null_color.grad.abs().sum() > 0
    one = torch.tensor([False, True, False])
    part, colored, colorless = (
        generator.encode(cloud, dropped).tokens.features
        for cloud, dropped in (
            (Cloud.of(batch), one),
            (Cloud.of(batch), torch.zeros_like(one)),
            (Cloud.of(replace(batch, scene_rgb=None)), None),
        )
    )
    assert_close(part[[0, 2]], colored[[0, 2]], atol=0, rtol=0)
    assert_close(part[1], colorless[1], atol=0, rtol=0)
    assert not torch.allclose(part[1], colored[1])


@pytest.mark.parametrize(
    ("dropout", "sentence"),
    [
        (dropping(color=0.1), r"color=0.1 drops colors, but model.generator.encoder uses none. Pass mod"),
        (dropping(color=1.0), r"condition_dropout.color: expected at least 0 and less than 1, got 1"),
        (dropping(scene=-0.1), r"condition_dropout.scene: expected at least 0 and less than 1, got -0.1"),
        ({"scene": 0.1}, r"condition_dropout: expected the keys scene and color, got \['scene'\]"),
    ],
)
def test_what_cannot_be_dropped_is_refused(dropout: dict[str, float], sentence: str):
    with pytest.raises(ValueError, match=sentence):
        small_generator(condition_dropout=dropout)


def test_conditions_of_different_widths_are_refused():
    wide = Condition(encoder=HashingEncoder(dim=16), reads="positive_prompt", dim=48, drop_prob=0.1)
    with pytest.raises(ValueError, match=r"model.generator.conditions must share one dim, got \[32, 48\]"):
        guidable(conditions={"prompt": prompt(), "other": wide})


def test_training_without_a_prompt_that_the_model_reads_is_refused():
    module = small_module(guidable())
    with pytest.raises(
        ValueError,
        match=r"conditions.prompt reads positive_prompt of 3 scenes, the batch has 0. Pass data.prompt=category",
    ):
        losses_of(module, scene_batch())


@pytest.mark.untyped
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"scale": -1.0}, r"guidance\.classifier_free\.scale must not be negative, got -1"),
        ({"rescale": 1.5}, r"rescale must lie in \[0, 1\], got 1\.5"),
        ({"interval": (0.6, 0.4)}, r"interval needs 0 <= low < high <= 1, got \[0\.6, 0\.4\]"),
        ({"drops": "scenes"}, "Did you mean 'scene'"),
    ],
)
def test_settings_without_a_meaning_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        free(**changes)


@pytest.mark.parametrize(
    ("settings", "prompts", "g", "sentence"),
    [
        (
            {"conditions": {}, "condition_dropout": dropping()},
            {},
            {"scale": 2.0},
            "cfg_scale=2 needs a model that was trained",
        ),
        (
            {"condition_dropout": dropping()},
            {},
            {"scale": 2.0, "drops": "scene"},
            "trained without its scene now and then",
        ),
        (
            {"conditions": {}},
            {"positive_prompt": PROMPTS},
            {},
            "trained without positive_prompt, so it cannot take 'a mug'",
        ),
        ({"conditions": {}}, {"negative_prompts": (("a",),) * 3}, {}, "negative_prompts need a model"),
        ({"conditions": {"prompt": prompt(0.0)}}, {}, {}, "always had its prompt in training"),
        ({}, {"negative_prompts": (("a",), (), ("b",))}, {}, "every scene of a batch needs at least one"),
    ],
)
def test_what_a_model_was_not_trained_for_is_refused(settings, prompts, g, sentence):
    with pytest.raises(ValueError, match=sentence):
        guidable(**settings).sample(
            replace(scene_batch(), **prompts), 2, seeds=SEEDS, sampling={"guidance": guidance(**g)}
        )


def test_guidance_is_found_by_name():
    sampling = small_sampling()
    assert sampling.changed(guidance=None).guidance.physics is None
    chosen = sampling.changed(guidance="physics", cfg_scale=3.0).guidance
    assert chosen.classifier_free.scale == 3.0 and chosen.physics is not None
    with pytest.raises(ValueError, match="Did you mean 'physics'"):
        sampling.changed(guidance="phisics")
