"""What steers one call of sampling: the branches of classifier-free guidance, then corrections, around any denoiser.

Every solver evaluates x0 at (x_t, t). A guide evaluates the network once for all branches (with and without scene, with
other prompts), so each solver works with each guidance.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sceneleapultra.models.guidance.classifier_free import ClassifierFree
from sceneleapultra.models.guidance.correction import Correction
from sceneleapultra.models.guidance.learned import WEIGHTS, BoundScore, ScoreGuidance
from sceneleapultra.models.guidance.physics import BoundPhysics, PhysicsGuidance
from sceneleapultra.models.network.context import AnchoredScene, SceneContext
from sceneleapultra.models.network.tokens import Cloud
from sceneleapultra.utils.geometry.voxels.field import SceneField

if TYPE_CHECKING:
    from sceneleapultra.models.generator import GraspGenerator

PROMPT = "positive_prompt"  # the field of a batch that prompts are read from
Predict = Callable[[Tensor, Tensor, AnchoredScene], Tensor]
Prompts = dict[str, list[str | None]]  # by condition, one per scene


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """How sampling is steered, as ``config/sampling/guidance`` names it."""

    classifier_free: ClassifierFree
    scorer: ScoreGuidance | None
    physics: PhysicsGuidance | None

    def describe(self) -> str:
        """Say what corrects the grasps: each energy that counts, with its weight."""
        weights: dict[str, dict[str, float]] = {}
        if self.scorer is not None:
            weights["scorer"] = {name: getattr(self.scorer, name) for name in (*WEIGHTS, "anchors")}
        if self.physics is not None:
            weights["physics"] = vars(self.physics.weights)
        described = [
            f"{part} ({', '.join(f'{name} {weight:g}' for name, weight in energies.items() if weight > 0.0)})"
            for part, energies in weights.items()
        ]
        return ", ".join(described) or "none"


@dataclass(frozen=True)
class Branch:
    """One variant of the conditions that the network gets."""

    name: str
    prompts: Prompts
    drops: tuple[str, ...] = ()


@dataclass
class Guide:
    """Guidance of one batch: the grasps' anchors, and the way from a network to a guided denoiser.

    Attributes:
        anchored: the scene with all its conditions, as the grasps' anchors see it.
        corrections: what changes predictions, in this order.
        nfe: evaluations of the network so far, every branch counted.
    """

    anchored: AnchoredScene
    classifier_free: ClassifierFree | None
    corrections: tuple[Correction, ...]
    _branches: AnchoredScene
    _names: tuple[str, ...]
    nfe: int = field(default=0)

    def wrap(self, predict: Predict) -> Callable[[Tensor, Tensor], Tensor]:
        """Return (x_t, t) -> guided x0 for a network (x_t, t, anchored) -> x0."""

        def guided(x_t: Float[Tensor, "b g d"], t: Float[Tensor, "b"]) -> Float[Tensor, "b g o"]:
            if self.classifier_free is not None and self.classifier_free.acts(t):
                x0 = self.classifier_free.combine(self._predict_branches(predict, x_t, t))
            else:
                self.nfe += 1
                x0 = predict(x_t, t, self.anchored)
            for correction in self.corrections:
                x0 = correction(x0) if correction.acts(t) else x0
            return x0

        return guided

    def correct(self, x0: Float[Tensor, "b g d"]) -> Float[Tensor, "b g d"]:
        """Return a solver's result, corrected: the last evaluation of a few-step solver is far from data."""
        for correction in self.corrections:
            x0 = correction(x0)
        return x0

    def _predict_branches(self, predict: Predict, x_t: Tensor, t: Tensor) -> dict[str, Tensor]:
        count = len(self._names)
        self.nfe += count
        x0 = predict(x_t.repeat(count, 1, 1), t.repeat(count), self._branches).unflatten(0, (count, -1))
        negatives = [part for name, part in zip(self._names, x0, strict=True) if name == "negative"]
        parts = dict(zip(self._names, x0, strict=True))
        return parts | ({"negative": torch.stack(negatives).mean(0)} if negatives else {})


def build_guide(
    generator: "GraspGenerator",
    scene: SceneContext,
    index: Int[Tensor, "b k"],
    guidance: Guidance,
    *,
    cloud: Cloud,
    prompts: Mapping[str, Sequence[str | None]],
    negatives: Sequence[Sequence[str]],
    opening: Float[Tensor, "j"],
    fields: Sequence[SceneField] | None = None,
    set_id: Int[Tensor, "b k"] | None = None,
) -> Guide:
    """Bind guidance to a batch.

    Args:
        generator: what is steered.
        scene: the encoded clouds.
        index: anchors of the grasps.
        guidance: how it is steered.
        cloud: the clouds.
        prompts: of a batch, by field; empty where it has none.
        negatives: negative prompts of each scene.
        opening: what is taken off the joints from grasp to pre-grasp (rad).
        fields: completed scenes, which guidance by physics reads instead of the clouds; None where there are none.
        set_id: grasps of equal number attend to one another; None for all of a scene.

    Raises:
        ValueError: a prompt, a scale or negative prompts that the model was not trained for.
    """
    free = guidance.classifier_free
    resolved = resolve_prompts(generator, prompts, scene)
    branches = [Branch("conditional", resolved)]
    if free.scale != 1.0:
        branches.append(Branch("unconditional", resolved, droppable(generator, free)))
    if any(negatives):
        branches += negative_branches(generator, resolved, negatives)
    own_set = torch.zeros_like(index) if set_id is None else set_id
    conditioning = generator.conditioning

    def anchored(some: Sequence[Branch]) -> AnchoredScene:
        repeated = scene.repeat(len(some)) if len(some) > 1 else scene
        joined = {name: [text for branch in some for text in branch.prompts[name]] for name in resolved}
        context = conditioning.encode_prompts(repeated, joined)
        dropped = {
            name: torch.tensor(
                [name in branch.drops for branch in some for _ in range(len(index))], device=index.device
            )
            for name in {drop for branch in some for drop in branch.drops}
        }
        context = conditioning.drop(context, dropped, generator.decoder)
        rows = (x.repeat(len(some), 1) if len(some) > 1 else x for x in (index, own_set))
        return generator.anchor(context, *rows)

    own = anchored(branches[:1])
    corrections: list[Correction] = []
    if guidance.scorer is not None:
        corrections.append(BoundScore(guidance.scorer, generator, own))
    if guidance.physics is not None:
        corrections.append(BoundPhysics(guidance.physics, generator, own, cloud, opening, fields))
    return Guide(
        anchored=own,
        classifier_free=free if len(branches) > 1 else None,
        corrections=tuple(corrections),
        _branches=anchored(branches) if len(branches) > 1 else own,
        _names=tuple(branch.name for branch in branches),
    )


def check_prompts(generator: "GraspGenerator", prompts: Mapping[str, Sequence[str | None]]) -> None:
    """Refuse a prompt that no condition of the model reads.

    Raises:
        ValueError: there is one.
    """
    read = {condition.reads for condition in generator.conditioning.conditions.values()}
    for name, texts in prompts.items():
        if texts and name not in read:
            raise ValueError(
                f"This model was trained without {name}, so it cannot take {texts[0]!r}. Leave it out, or train "
                "one with: python train_lightning.py model/generator/conditions=category data.prompt=category"
            )


def resolve_prompts(
    generator: "GraspGenerator", prompts: Mapping[str, Sequence[str | None]], scene: SceneContext
) -> Prompts:
    """Sort prompts by condition.

    Raises:
        ValueError: a prompt that no condition reads, or none for a condition that cannot do without.
    """
    check_prompts(generator, prompts)
    conditions = generator.conditioning.conditions
    resolved: Prompts = {}
    for name, condition in conditions.items():
        row: list[str | None] = [*prompts[condition.reads]] or [None] * len(scene.scene_kept)
        if None in row and condition.drop_prob == 0.0:
            raise ValueError(
                f"This model always had its {name} in training (drop_prob=0): pass it, for example prompt='mug'."
            )
        resolved[name] = row
    return resolved


def droppable(generator: "GraspGenerator", free: ClassifierFree) -> tuple[str, ...]:
    """Return what the unconditional branch does without.

    Raises:
        ValueError: the model was never trained without it.
    """
    conditioning = generator.conditioning
    able = [name for name, condition in conditioning.conditions.items() if condition.drop_prob > 0.0]
    able += ["scene"] if conditioning.null_scene is not None else []
    chosen = able if free.drops == "all" else [name for name in able if name == free.drops]
    if not chosen:
        raise ValueError(
            f"cfg_scale={free.scale:g} needs a model that was trained without its "
            f"{'conditions' if free.drops == 'all' else free.drops} now and then, this one never was. Use cfg_scale=1, "
            "or train with model.generator.condition_dropout.scene=0.1 or model/generator/conditions=category."
        )
    return tuple(chosen)


def check_negatives(negatives: Sequence[Sequence[str]]) -> None:
    """Refuse a batch of which some scenes have negative prompts and others none.

    Raises:
        ValueError: such a batch.
    """
    if any(negatives) and not all(negatives):
        raise ValueError("negative_prompts: every scene of a batch needs at least one, or none has any.")


def negative_branches(
    generator: "GraspGenerator", prompts: Prompts, negatives: Sequence[Sequence[str]]
) -> list[Branch]:
    """Return the branches of negative prompts and of no prompt; scenes with fewer repeat their last.

    Raises:
        ValueError: the model has no prompt, or cannot do without it.
    """
    conditions = generator.conditioning.conditions
    names = [name for name, condition in conditions.items() if condition.reads == PROMPT]
    if not names or conditions[names[0]].drop_prob == 0.0:
        raise ValueError(
            "negative_prompts need a model that was trained with prompts, and now and then without. Train one with: "
            "python train_lightning.py model/generator/conditions=category data.prompt=category"
        )
    most = max(map(len, negatives))
    rows = [[*row, *[row[-1]] * (most - len(row))] for row in negatives]
    branches = [Branch("negative", prompts | {names[0]: [row[i] for row in rows]}) for i in range(most)]
    return [Branch("unprompted", prompts, (names[0],)), *branches]
