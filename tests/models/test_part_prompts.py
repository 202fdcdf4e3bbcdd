"""Prompts that say where to grasp: the words of a list, and anchors that follow them and guidance."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from factories.models import scene_batch, small_generator, small_module, small_objective, small_score
from sceneleapultra.models.guidance.anchors import prompt_anchors
from sceneleapultra.models.guidance.classifier_free import ClassifierFree
from sceneleapultra.models.network.conditions.base import Condition
from sceneleapultra.models.network.conditions.words import VocabularyEncoder
from sceneleapultra.models.network.heads.anchors import PromptedAnchorHeadConfig
from sceneleapultra.models.network.tokens import Cloud
from sceneleapultra.utils.core.config import build, load_group
from sceneleapultra.utils.parts import NAMED_PARTS

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
WORDS = ("handle", "rim", "lid")
PROMPTS = ("by the handle", "by the rim", None)


def encoder() -> VocabularyEncoder:
    return VocabularyEncoder(words=WORDS, ignored=("by", "the"))


def prompted():
    condition = Condition(encoder=encoder(), reads="positive_prompt", dim=32, drop_prob=0.3)
    heads = {"anchors": PromptedAnchorHeadConfig(), "score": small_score()}
    return small_generator(conditions={"prompt": condition}, heads=heads)


def free(**changes) -> ClassifierFree:
    settings = {"scale": 1.0, "drops": "all", "rescale": 0.0, "interval": (0.0, 1.0), "negative_scale": 1.0}
    return ClassifierFree(**{**settings, **changes})


def test_a_word_of_the_list_is_a_unit_vector_and_another_is_refused() -> None:
    words = encoder()
    assert_close(words("By the rim!"), torch.tensor([[0.0, 1.0, 0.0]]), atol=0, rtol=0)
    assert_close(words("lid handle"), torch.eye(3)[[2, 0]], atol=0, rtol=0)
    assert_close(words(words.example), torch.eye(3)[:1], atol=0, rtol=0)
    with pytest.raises(ValueError, match="Did you mean 'handle'"):
        words("by the handel")
    with pytest.raises(ValueError, match=r"Unknown word of the prompt 'by the'. Available: handle, lid, rim"):
        words("by the")
    with pytest.raises(ValueError, match="VocabularyEncoder needs different words, got rim, rim"):
        VocabularyEncoder(words=("rim", "rim"), ignored=())


def test_the_shipped_list_names_every_part() -> None:
    shipped = build(load_group("model/generator/conditions", "part").prompt.encoder)
    assert shipped.words == tuple(part.word for part in NAMED_PARTS)


def test_anchors_follow_prompts_as_guidance_weighs_them() -> None:
    generator = prompted()
    scene = generator.encode(Cloud.of(scene_batch()))
    plain, target = scene.outputs["anchors"], scene.tokens.target

    def logits(prompts=PROMPTS, negatives=(), **changes):
        fields = {"positive_prompt": prompts}
        return prompt_anchors(generator, scene, free(**changes), fields, negatives)["anchors"]

    with torch.no_grad():
        assert_close(logits((None,) * 3), plain, atol=0, rtol=0)
        shift = (logits() - plain)[target]
        assert shift.abs().max() > 1e-3
        assert_close(logits()[2], plain[2], atol=0, rtol=0)  # nothing is said of the third
        assert_close((logits(scale=3.0) - plain)[target], 3.0 * shift, atol=1e-5, rtol=1e-4)
        assert_close((logits(scale=3.0, drops="scene") - plain)[target], shift, atol=1e-5, rtol=1e-4)
        one, other = (logits((word,) * 3) - plain for word in ("rim", "lid"))
        both = logits((None,) * 3, negatives=(("rim", "lid"),) * 3, negative_scale=0.5) - plain
        assert_close(both[target], (-0.25 * (one + other))[target], atol=1e-5, rtol=1e-4)
        assert torch.isneginf(logits()[~target]).all()
    with pytest.raises(ValueError, match="Did you mean 'handle'"):
        logits(("by the handel",) * 3)


def test_anchors_learn_where_each_prompt_is_grasped() -> None:
    """One cloud twice, its grasps at the left side by one prompt and at the right by the other."""
    one = scene_batch(1, num_grasps=6)
    pose = one.hand_pose.clone()
    pose[..., :3] = torch.tensor([0.06, 0.0, 0.05])
    moved = pose.clone()
    moved[..., 0] = -0.12
    batch = replace(
        type(one).join([one, one]), hand_pose=torch.cat([pose, moved]), positive_prompt=("rim", "lid")
    )
    module = small_module(prompted(), small_objective())
    generator = module.generator
    head, condition = generator.heads["anchors"], generator.conditioning.conditions["prompt"]
    optimizer = torch.optim.Adam([*head.parameters(), *condition.parameters()], lr=1e-2)
    for step in range(60):
        context = module.objective.context(generator, batch, step=step, training=True)
        loss = head.loss(context)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    scene = generator.encode(Cloud.of(batch))
    with torch.no_grad():
        found = prompt_anchors(generator, scene, free(), {"positive_prompt": ("rim", "lid")}, ())["anchors"]
    right, left = (found.softmax(-1) * scene.tokens.xyz[..., 0]).sum(-1)
    assert right > left + 0.03  # of a patch 8 cm wide


def test_a_head_that_reads_prompts_needs_some() -> None:
    with pytest.raises(ValueError, match=r"anchors=prompted reads prompts, and this model has none"):
        small_generator(heads={"anchors": PromptedAnchorHeadConfig(), "score": small_score()})
