"""Where prompts send grasps: classifier-free guidance of the anchors' logits, as ``ClassifierFree`` guides x0.

The logits of a prompt less those without are log p(anchor | prompt) - log p(anchor) up to a constant, so the formula
multiplies probabilities by powers of the likelihood of the prompt.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sceneleapultra.models.guidance.classifier_free import ClassifierFree
from sceneleapultra.models.guidance.guide import Prompts, negative_branches, resolve_prompts
from sceneleapultra.models.network.context import SceneContext
from sceneleapultra.models.network.heads.anchors import PromptedAnchorHead

if TYPE_CHECKING:
    from sceneleapultra.models.generator import GraspGenerator


def prompt_anchors(
    generator: "GraspGenerator",
    scene: SceneContext,
    free: ClassifierFree,
    prompts: Mapping[str, Sequence[str | None]],
    negatives: Sequence[Sequence[str]],
) -> dict[str, Tensor]:
    """Return the outputs of the heads with the anchors' logits as prompts and negative prompts change them.

    Args:
        generator: whose head ``anchors`` may read prompts; the logits of one that does not stay as they are.
        scene: the encoded clouds.
        free: scales.
        prompts: of the clouds, by field of the batch; empty where there are none.
        negatives: negative prompts of each cloud.

    Raises:
        ValueError: prompts that the model was not trained for.
    """
    head, conditioning = generator.heads["anchors"], generator.conditioning
    if not isinstance(head, PromptedAnchorHead):
        return scene.outputs
    null = conditioning.null_prompt(scene)

    def shift(texts: Prompts) -> Tensor:
        prompt = conditioning.prompt(conditioning.encode_prompts(scene, texts))
        assert prompt is not None
        return head.shift(scene.tokens, prompt, null)

    resolved = resolve_prompts(generator, prompts, scene)
    scale = 1.0 if free.drops == "scene" else free.scale
    logits = scene.outputs["anchors"] + scale * shift(resolved)
    if any(negatives):
        _, *branches = negative_branches(generator, resolved, negatives)
        away = torch.stack([shift(branch.prompts) for branch in branches]).mean(0)
        logits = logits - free.negative_scale * away
    return {**scene.outputs, "anchors": logits}
