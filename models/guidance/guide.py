"""What steers one call of sampling: the branches of classifier-free guidance, then corrections, around any denoiser.

Every sampler asks for x0 at (x_t, t). A guide answers through the network, once for all branches (with and without
scene, with other prompts), so each sampler works with each guidance.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sceneleapultra.models.denoiser import Anchored, Denoiser, SceneContext
from sceneleapultra.models.guidance.classifier_free import ClassifierFree
from sceneleapultra.models.guidance.correction import Correction
from sceneleapultra.models.guidance.learned import BoundScorer, ScorerGuidance
from sceneleapultra.models.guidance.physics import BoundPhysics, PhysicsGuidance
from sceneleapultra.models.network.scorer.base import GraspScorer
from sceneleapultra.models.network.tokens import Cloud

PROMPT = "positive_prompt"  # the field of a batch that prompts are read from
Predict = Callable[[Tensor, Tensor, Anchored], Tensor]
Said = dict[str, list[str | None]]


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """How sampling is steered, as ``config/guidance`` names it."""

    classifier_free: ClassifierFree
    scorer: ScorerGuidance | None
    physics: PhysicsGuidance | None


@dataclass(frozen=True)
class Branch:
    """One variant of what the network is told."""

    name: str
    said: Said
    drops: tuple[str, ...] = ()


@dataclass
class Guide:
    """Guidance of one batch: the grasps' anchors, and the way from a network to a guided denoiser.

    Attributes:
        anchored: what the network knows when it knows all that was said.
        corrections: what changes its predictions, in this order.
        nfe: evaluations of the network so far, every branch counted.
    """

    anchored: Anchored
    classifier_free: ClassifierFree | None
    corrections: tuple[Correction, ...]
    _everything: Anchored
    _names: tuple[str, ...]
    nfe: int = field(default=0)

    def wrap(self, predict: Predict) -> Callable[[Tensor, Tensor], Tensor]:
        """Return (x_t, t) -> guided x0 for a network (x_t, t, anchored) -> x0."""

        def guided(x_t: Float[Tensor, "b g d"], t: Float[Tensor, "b"]) -> Float[Tensor, "b g o"]:
            if self.classifier_free is not None and self.classifier_free.acts(t):
                x0 = self.classifier_free.combined(self._branches(predict, x_t, t))
            else:
                self.nfe += 1
                x0 = predict(x_t, t, self.anchored)
            for correction in self.corrections:
                x0 = correction(x0) if correction.acts(t) else x0
            return x0

        return guided

    def finished(self, x0: Float[Tensor, "b g d"]) -> Float[Tensor, "b g d"]:
        """Return a sampler's result, corrected: the last evaluation of a few-step sampler is far from data."""
        for correction in self.corrections:
            x0 = correction(x0)
        return x0

    def _branches(self, predict: Predict, x_t: Tensor, t: Tensor) -> dict[str, Tensor]:
        count = len(self._names)
        self.nfe += count
        x0 = predict(x_t.repeat(count, 1, 1), t.repeat(count), self._everything).unflatten(0, (count, -1))
        negatives = [part for name, part in zip(self._names, x0, strict=True) if name == "negative"]
        parts = dict(zip(self._names, x0, strict=True))
        return parts | ({"negative": torch.stack(negatives).mean(0)} if negatives else {})


def make_guide(
    denoiser: Denoiser,
    scorer: GraspScorer,
    scene: SceneContext,
    index: Int[Tensor, "b k"],
    guidance: Guidance | None,
    *,
    cloud: Cloud,
    said: Mapping[str, Sequence[str]],
    negatives: Sequence[Sequence[str]],
    opening: Float[Tensor, "j"],
    alone: bool = False,
) -> Guide:
    """Bind guidance to a batch.

    Args:
        denoiser: what is steered.
        scorer: what has learned from verdicts.
        scene: the encoded clouds.
        index: anchors of the grasps.
        guidance: None for none.
        cloud: the clouds.
        said: what a batch says, by field; empty where it says nothing.
        negatives: negative prompts of each scene.
        opening: what is taken off the joints from grasp to pre-grasp (rad).
        alone: whether each grasp is a set of its own, which does not see the others.

    Raises:
        ValueError: a prompt, a scale or negative prompts that the model was not trained for.
    """
    free = guidance.classifier_free if guidance is not None else None
    told = spoken(denoiser, said, scene)
    branches = [Branch("conditional", told)]
    if free is not None and free.scale != 1.0:
        branches.append(Branch("unconditional", told, droppable(denoiser, free)))
    if any(negatives):
        branches += negative_branches(denoiser, told, negatives)
        if free is None:
            raise ValueError("Negative prompts need guidance, for example guidance=none, which weighs them.")
    set_id = (
        torch.arange(index.shape[1], device=index.device).expand_as(index)
        if alone
        else torch.zeros_like(index)
    )

    def anchored(some: Sequence[Branch]) -> Anchored:
        repeated = scene.repeated(len(some)) if len(some) > 1 else scene
        joined = {name: [word for branch in some for word in branch.said[name]] for name in told}
        context = denoiser.tell(repeated, joined)
        dropped = {
            name: torch.tensor(
                [name in branch.drops for branch in some for _ in range(len(index))], device=index.device
            )
            for name in {drop for branch in some for drop in branch.drops}
        }
        context = denoiser.forget(context, dropped)
        return denoiser.anchor(context, index.repeat(len(some), 1), set_id.repeat(len(some), 1))

    own = anchored(branches[:1])
    corrections: list[Correction] = []
    if guidance is not None and guidance.scorer is not None:
        corrections.append(BoundScorer(guidance.scorer, scorer, denoiser, own))
    if guidance is not None and guidance.physics is not None:
        corrections.append(BoundPhysics(guidance.physics, denoiser, own, cloud, opening))
    return Guide(
        anchored=own,
        classifier_free=free if len(branches) > 1 else None,
        corrections=tuple(corrections),
        _everything=anchored(branches) if len(branches) > 1 else own,
        _names=tuple(branch.name for branch in branches),
    )


def spoken(denoiser: Denoiser, said: Mapping[str, Sequence[str]], scene: SceneContext) -> Said:
    """Sort what is said by condition.

    Raises:
        ValueError: something is said that no condition listens to, or nothing to one that cannot do without.
    """
    heard = {condition.reads for condition in denoiser.conditions.values()}
    for name, given in said.items():
        if given and name not in heard:
            raise ValueError(
                f"This model was trained without {name}, so it cannot be told {given[0]!r}. Leave it out, or train "
                "one with: python train_lightning.py model/conditions=category data.prompt=category"
            )
    told: Said = {}
    for name, condition in denoiser.conditions.items():
        words: list[str | None] = [*said[condition.reads]] or [None] * len(scene.seen)
        if None in words and condition.drop_prob == 0.0:
            raise ValueError(
                f"This model was always told its {name} in training (drop_prob=0): say it, for example prompt='mug'."
            )
        told[name] = words
    return told


def droppable(denoiser: Denoiser, free: ClassifierFree) -> tuple[str, ...]:
    """Return what the unconditional branch does without.

    Raises:
        ValueError: the model was trained with all of it always.
    """
    able = [name for name, condition in denoiser.conditions.items() if condition.drop_prob > 0.0]
    able += ["scene"] if denoiser.unseen is not None else []
    chosen = able if free.drops == "all" else [name for name in able if name == free.drops]
    if not chosen:
        raise ValueError(
            f"cfg_scale={free.scale:g} needs a model that was trained without its "
            f"{'conditions' if free.drops == 'all' else free.drops} now and then, this one never was. Use cfg_scale=1, "
            "or train with model.scene_drop_prob=0.1 or model/conditions=category."
        )
    return tuple(chosen)


def negative_branches(denoiser: Denoiser, told: Said, negatives: Sequence[Sequence[str]]) -> list[Branch]:
    """Return the branches of negative prompts and of no prompt; scenes with fewer repeat their last.

    Raises:
        ValueError: the model has no prompt, or cannot do without it, or a scene has no negative prompt.
    """
    names = [name for name, condition in denoiser.conditions.items() if condition.reads == PROMPT]
    if not names or denoiser.conditions[names[0]].drop_prob == 0.0:
        raise ValueError(
            "negative_prompts need a model that was trained with prompts, and now and then without. Train one with: "
            "python train_lightning.py model/conditions=category data.prompt=category"
        )
    if not all(negatives):
        raise ValueError("negative_prompts: every scene of a batch needs at least one, or none has any.")
    most = max(map(len, negatives))
    rows = [[*row, *[row[-1]] * (most - len(row))] for row in negatives]
    branches = [Branch("negative", told | {names[0]: [row[i] for row in rows]}) for i in range(most)]
    return [Branch("unprompted", told, (names[0],)), *branches]
