"""How one object of a scene gets its grasps: propose and label in batches until there are enough."""

from dataclasses import dataclass

import numpy as np

from sceneleapultra.hands import Hand
from sceneleapultra.simulation.protocols import get_protocol
from sceneleapultra.simulation.synthesis.base import Synthesis, prepare
from sceneleapultra.simulation.synthesis.labeling import GraspLabeler, QualitySettings, RobustnessSettings
from sceneleapultra.utils.records import LabeledGrasps, Scene


@dataclass(frozen=True, kw_only=True)
class GraspSettings:
    """How many grasps an object gets and how they are labeled; ``config/generate.yaml`` explains each number."""

    successes: int
    max_attempts: int
    batch: int
    protocol: str
    max_failures_per_success: float | None
    quality: QualitySettings
    robustness: RobustnessSettings


@dataclass(frozen=True)
class SynthesisResult:
    """The labeled grasps of one object, and what they cost."""

    labeled: LabeledGrasps
    attempts: int  # grasps proposed, those dropped as unfit included
    unfit: int
    successes: int  # repetitions with a displaced hand not counted


def synthesize(
    hand: Hand,
    scene: Scene,
    index: int,
    method: Synthesis,
    settings: GraspSettings,
    rng: np.random.Generator,
) -> SynthesisResult:
    """Make and label grasps of one object of a scene until enough succeed or the attempts are used up."""
    protocol = get_protocol(settings.protocol)
    if settings.max_attempts == 0:
        return SynthesisResult(LabeledGrasps.none(hand.num_joints, protocol.trial.num_directions), 0, 0, 0)
    target = prepare(hand, scene, index)
    labeler = GraspLabeler(target, protocol, settings.quality)
    proposer = method.proposer(target)
    parts: list[LabeledGrasps] = []
    requested = attempts = unfit = successes = 0
    while successes < settings.successes and requested < settings.max_attempts:
        batch = min(settings.batch, settings.max_attempts - requested)
        requested += batch
        candidates = proposer.propose(batch, rng)
        fit = labeler.drop_unfit(candidates)
        attempts += len(candidates.grasps)
        unfit += len(candidates.grasps) - len(fit.grasps)
        labeled = labeler.label_grasps(fit.grasps)
        successes += int(labeled.success.sum())
        parts.append(labeler.with_robustness(labeled, settings.robustness, rng))
    labeled = _cap_failures(LabeledGrasps.concatenate(parts), settings.max_failures_per_success, rng)
    return SynthesisResult(labeled, attempts, unfit, successes)


def _cap_failures(labeled: LabeledGrasps, ratio: float | None, rng: np.random.Generator) -> LabeledGrasps:
    """Drop random failures beyond a number per success; an object without success keeps as many as one would allow."""
    if ratio is None:
        return labeled
    failures = np.flatnonzero(~labeled.success)
    most = round(ratio * max(1, int(labeled.success.sum())))
    if len(failures) <= most:
        return labeled
    kept = np.concatenate([np.flatnonzero(labeled.success), rng.permutation(failures)[:most]])
    return labeled[np.sort(kept)]
