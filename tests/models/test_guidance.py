"""Classifier-free guidance: its formula, its branches through a real model, its masks, and what it refuses."""

from dataclasses import replace

import pytest
import torch
from models_under_test import scene_batch, small_encoder, small_model
from torch.testing import assert_close

from sceneleapultra.models.diffusion.process import CosineProcess, LinearProcess
from sceneleapultra.models.diffusion.solvers import Solver
from sceneleapultra.models.guidance.classifier_free import ClassifierFree
from sceneleapultra.models.guidance.guide import Guidance, make_guide
from sceneleapultra.models.inference import chosen_guidance
from sceneleapultra.models.network.conditions.base import Condition
from sceneleapultra.models.network.conditions.words import HashingEncoder
from sceneleapultra.models.sampling import cloud_of
from sceneleapultra.utils.core.config import CONFIG_DIR, build, load_group

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
SAID = ("a mug", "bowl", "box")
FLOW = build(load_group("model/process", "flow"))


def free(**changes) -> ClassifierFree:
    settings = {"scale": 1.0, "drops": "all", "rescale": 0.0, "interval": (0.0, 1.0), "negative_scale": 1.0}
    return ClassifierFree(**{**settings, **changes})


def guidance(**changes) -> Guidance:
    return Guidance(classifier_free=free(**changes), scorer=None, physics=None)


def prompt(drop_prob: float = 0.3) -> Condition:
    return Condition(encoder=HashingEncoder(dim=16), reads="positive_prompt", dim=32, drop_prob=drop_prob)


def guidable(**changes):
    torch.manual_seed(1)
    return small_model(**{"scene_drop_prob": 0.2, "conditions": {"prompt": prompt()}} | changes)


def bound(model, batch, g: Guidance | None, num_grasps: int = 4):
    scene = model.denoiser.encode(cloud_of(batch))
    index = model.sample_anchors(scene, num_grasps, torch.Generator().manual_seed(0))
    said = {"positive_prompt": batch.positive_prompt}
    opening = sampling.pregrasp_opening * model.hand.flexion_sign
    guide = make_guide(
        model.denoiser,
        model.generator.heads.score,
        scene,
        index,
        g,
        cloud=cloud_of(batch),
        said=said,
        negatives=batch.negative_prompts,
        opening=opening,
    )
    return guide, scene, index


def alone(model, scene, index, said, drops=()):
    """What the network predicts for one branch, asked by itself."""
    context = model.denoiser.tell(scene, {"prompt": said})
    context = model.denoiser.forget(context, {name: torch.ones(3, dtype=torch.bool) for name in drops})
    anchored = model.denoiser.anchor(context, index, torch.zeros_like(index))
    return lambda x_t, t: model.predicted_x0(x_t, t, anchored)


@pytest.mark.parametrize(
    ("path", "prediction"),
    [(CosineProcess(), "x0"), (FLOW, "u"), (FLOW, "x0")],
    ids=["vp", "flow", "flow_x0"],
)
@pytest.mark.parametrize(("scale", "u", "c"), [(0.0, 1.0, 0.0), (1.0, 0.0, 1.0), (2.0, -1.0, 2.0)])
def test_scale_0_1_2_are_pinned(path, prediction, scale, u, c):
    """0 is the unconditional prediction, 1 the conditional, 2 twice as far: u + s (c - u)."""
    model = guidable(path=path, prediction=prediction)
    batch = replace(scene_batch(), positive_prompt=SAID)
    guide, scene, index = bound(model, batch, guidance(scale=scale))
    x_t, t = torch.randn(3, 4, 41), torch.full((3,), 0.6)
    with torch.no_grad():
        conditional = alone(model, scene, index, SAID)(x_t, t)
        unconditional = alone(model, scene, index, SAID, ("scene", "prompt"))(x_t, t)
        guided = guide.wrap(model.predicted_x0)(x_t, t)
    assert (conditional - unconditional).abs().max() > 1e-2
    assert_close(guided, u * unconditional + c * conditional, atol=1e-5, rtol=1e-4)
    assert guide.nfe == (1 if scale == 1.0 else 2)


def test_what_is_dropped_can_be_chosen():
    model, batch = guidable(), replace(scene_batch(), positive_prompt=SAID)
    x_t, t = torch.randn(3, 4, 41), torch.full((3,), 0.6)
    for drops in ("scene", "prompt"):
        guide, scene, index = bound(model, batch, guidance(scale=0.0, drops=drops))
        with torch.no_grad():
            expected = alone(model, scene, index, SAID, (drops,))(x_t, t)
            assert_close(guide.wrap(model.predicted_x0)(x_t, t), expected, atol=1e-5, rtol=1e-4)


def test_a_scene_that_is_dropped_is_not_seen():
    """Only the anchors' frames are left of it: other features give the same prediction."""
    model, batch = guidable(), scene_batch()
    with torch.no_grad():
        scene = model.denoiser.encode(cloud_of(batch))
        other = model.denoiser.encode(cloud_of(replace(batch, object_mask=~batch.object_mask)))
        other = replace(other, tokens=replace(other.tokens, xyz=scene.tokens.xyz, frames=scene.tokens.frames))
        assert not torch.allclose(other.tokens.features, scene.tokens.features)
        index = model.sample_anchors(scene, 4, torch.Generator().manual_seed(0))
        x_t, t = torch.randn(3, 4, 41), torch.full((3,), 0.6)
        blind = [alone(model, s, index, SAID, ("scene",))(x_t, t) for s in (scene, other)]
    assert_close(blind[0], blind[1])


def runnable(path) -> list[Solver]:
    """All configured samplers that can follow the path with a model that is no student."""
    found = []
    for file in sorted((CONFIG_DIR / "model" / "sampler").glob("*.yaml")):
        sampler = build(load_group("sampling/solver", file.stem))
        try:
            sampler.check(path)
        except ValueError:
            continue
        if not sampler.for_distilled and sampler.name != "dopri5":  # its evaluations depend on the answers
            found.append(replace(sampler, steps=3))
    assert len(found) >= 2
    return found


def test_every_sampler_is_guided_and_branches_are_counted():
    model, batch = guidable(), replace(scene_batch(), positive_prompt=SAID)
    for sampler in runnable(model.generator.process.noise):
        plain = model.forward_infer(batch, 4, sampler=sampler, seed=3)
        off = model.forward_infer(batch, 4, sampler=sampler, seed=3, guidance=guidance())
        on = model.forward_infer(batch, 4, sampler=sampler, seed=3, guidance=guidance(scale=2.0))
        assert_close(off.hand_pose, plain.hand_pose, atol=0, rtol=0)
        assert on.nfe == 2 * plain.nfe
        assert not torch.allclose(on.hand_pose, plain.hand_pose, atol=1e-3)


@pytest.mark.parametrize(
    "path", [CosineProcess(), LinearProcess(beta_min=0.1, beta_max=20.0, zero_terminal_snr=False), FLOW]
)
@pytest.mark.parametrize("prediction", ["eps", "v", "u"])
def test_guiding_x0_is_guiding_any_prediction(path, prediction):
    """x0 is affine in eps, v and u at a given x_t, and the weights s and 1 - s sum to one."""
    x_t, t, scale = torch.randn(2, 3, 5), torch.tensor([0.3, 0.7]), 2.5
    cond, uncond = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    to = lambda output: path.to_x0(prediction, output, x_t, t)  # noqa: E731
    parts = {"conditional": to(cond), "unconditional": to(uncond)}
    assert_close(free(scale=scale).combine(parts), to(uncond + scale * (cond - uncond)), atol=1e-4, rtol=1e-4)


def test_negative_prompts_push_away_from_their_mean():
    model = guidable()
    negatives = (("plate", "jar"), ("jar",), ("cup", "lamp"))
    batch = replace(scene_batch(), positive_prompt=SAID, negative_prompts=negatives)
    guide, scene, index = bound(model, batch, guidance(scale=3.0, drops="prompt", negative_scale=0.5))
    x_t, t = torch.randn(3, 4, 41), torch.full((3,), 0.6)
    with torch.no_grad():
        p = alone(model, scene, index, SAID)(x_t, t)
        u = alone(model, scene, index, SAID, ("prompt",))(x_t, t)
        n = [
            alone(model, scene, index, words)(x_t, t)
            for words in (("plate", "jar", "cup"), ("jar", "jar", "lamp"))
        ]
        guided = guide.wrap(model.predicted_x0)(x_t, t)
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
    model, batch = guidable(), replace(scene_batch(), positive_prompt=SAID)
    sampler = replace(model.sampler, steps=4)
    made = model.forward_infer(batch, 3, sampler=sampler, guidance=guidance(scale=2.0, interval=(0.4, 0.8)))
    assert made.nfe == 4 + 2
    never = model.forward_infer(
        batch, 3, sampler=sampler, guidance=guidance(scale=2.0, interval=(0.01, 0.02))
    )
    assert_close(never.hand_pose, model.forward_infer(batch, 3, sampler=sampler).hand_pose, atol=0, rtol=0)


def test_conditions_are_dropped_independently_and_by_item():
    model = guidable(scene_drop_prob=0.25, conditions={"prompt": prompt(0.5)})
    batch = replace(scene_batch(), positive_prompt=SAID)
    draws = [model.draw(batch, step, 24).dropped for step in range(400)]
    scene = torch.stack([d["scene"] for d in draws]).float()
    words = torch.stack([d["prompt"] for d in draws]).float()
    # 1200 coins each: three standard errors are 0.038 and 0.043.
    assert abs(scene.mean() - 0.25) < 0.038 and abs(words.mean() - 0.5) < 0.043
    assert abs((scene * words).mean() - 0.125) < 0.03
    part = replace(batch.map(lambda x: x[1:2]), item_index=(1,), positive_prompt=SAID[1:2])
    assert model.draw(part, 7, 24).dropped["scene"] == draws[7]["scene"][1]


def test_dropped_scenes_change_what_is_trained():
    model, batch = guidable(), replace(scene_batch(), positive_prompt=SAID)
    draws = model.draw(batch, 0, 24)
    none = {name: torch.zeros(3, dtype=torch.bool) for name in ("scene", "prompt")}
    terms = {}
    for name in ("scene", "prompt"):
        dropped = none | {name: torch.ones(3, dtype=torch.bool)}
        terms[name] = model.losses(batch, replace(draws, dropped=dropped))["joints"]
    plain = model.losses(batch, replace(draws, dropped=none))["joints"]
    assert not torch.allclose(terms["scene"], plain) and not torch.allclose(terms["prompt"], plain)
    sum(terms.values()).backward()
    assert model.denoiser.unseen.grad.abs().sum() > 0
    assert model.denoiser.conditions["prompt"].null.grad.abs().sum() > 0


def test_dropped_colors_leave_their_scenes_alone_without_them():
    model = small_model(encoder=small_encoder(use_color=True), color_drop_prob=0.4)
    batch = replace(
        scene_batch(), scene_rgb=torch.randint(0, 255, scene_batch().scene_pc.shape).to(torch.uint8)
    )
    shares = torch.stack([model.draw(batch, step, 24).dropped["color"] for step in range(400)]).float()
    assert abs(shares.mean() - 0.4) < 0.043  # three standard errors of 1200 coins
    draws = model.draw(batch, 0, 24)
    model.losses(batch, replace(draws, dropped={"color": torch.ones(3, dtype=torch.bool)}))[
        "joints"
    ].backward()
    assert model.denoiser.no_color.grad.abs().sum() > 0
    one = torch.tensor([False, True, False])
    part, seen, blind = (
        model.denoiser.encode(cloud, colorless).tokens.features
        for cloud, colorless in (
            (cloud_of(batch), one),
            (cloud_of(batch), torch.zeros_like(one)),
            (cloud_of(replace(batch, scene_rgb=None)), None),
        )
    )
    assert_close(part[[0, 2]], seen[[0, 2]], atol=0, rtol=0)
    assert_close(part[1], blind[1], atol=0, rtol=0)
    assert not torch.allclose(part[1], seen[1])


def test_colors_that_no_encoder_sees_cannot_be_dropped():
    with pytest.raises(
        ValueError, match=r"color_drop_prob=0.1 drops colors, but model.generator.encoder sees none. Pass mod"
    ):
        small_model(color_drop_prob=0.1)
    with pytest.raises(
        ValueError,
        match=r"model.generator.condition_dropout.color: expected at least 0 and less than 1, got 1",
    ):
        small_model(color_drop_prob=1.0)


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
    ("model", "said", "g", "sentence"),
    [
        (
            {"conditions": {}, "scene_drop_prob": 0.0},
            {},
            {"scale": 2.0},
            "cfg_scale=2 needs a model that was trained",
        ),
        (
            {"scene_drop_prob": 0.0},
            {},
            {"scale": 2.0, "drops": "scene"},
            "trained without its scene now and then",
        ),
        (
            {"conditions": {}},
            {"positive_prompt": SAID},
            {},
            "trained without positive_prompt, so it cannot be told 'a mug'",
        ),
        ({"conditions": {}}, {"negative_prompts": (("a",),) * 3}, {}, "negative_prompts need a model"),
        ({"conditions": {"prompt": prompt(0.0)}}, {}, {}, "always told its prompt in training"),
        ({}, {"negative_prompts": (("a",), (), ("b",))}, {}, "every scene of a batch needs at least one"),
    ],
)
def test_what_a_model_was_not_trained_for_is_refused(model, said, g, sentence):
    with pytest.raises(ValueError, match=sentence):
        guidable(**model).forward_infer(replace(scene_batch(), **said), 2, guidance=guidance(**g))


def test_guidance_is_found_by_name():
    assert chosen_guidance(None).physics is None
    assert chosen_guidance("physics", 3.0).classifier_free.scale == 3.0
    with pytest.raises(ValueError, match="Did you mean 'physics'"):
        chosen_guidance("phisics")
