"""What a synthesis method is: something that proposes grasps of one object of a scene, for physics to try."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from sceneleapultra.hands import Hand
from sceneleapultra.simulation.collision import HandBalls, SceneDistance
from sceneleapultra.simulation.protocols import HandModel
from sceneleapultra.utils.records import Grasps, Scene


@dataclass(frozen=True)
class Target:
    """One object of a scene and the hand that shall grasp it, prepared once for many proposals."""

    hand: Hand
    model: HandModel
    balls: HandBalls
    scene: Scene
    index: int
    distance: SceneDistance


def prepare(hand: Hand, scene: Scene, index: int) -> Target:
    """Prepare one object of a scene for synthesis."""
    return Target(hand, HandModel.from_hand(hand), HandBalls(hand), scene, index, SceneDistance(scene, index))


@dataclass(frozen=True)
class Candidates:
    """Proposed grasps in the world frame, and how many fingers touch the object in each."""

    grasps: Grasps
    fingers: Int[np.ndarray, "g"]


class Proposer(ABC):
    """Proposes grasps of one target."""

    @abstractmethod
    def propose(self, n: int, rng: np.random.Generator) -> Candidates:
        """Return about ``n`` grasps, none where the target is out of reach; they may fail."""


class Synthesis(ABC):
    """A method of synthesis with its settings; built from ``config/synthesis/<name>.yaml``."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Keys of a hand's ``semantics`` that it cannot do without."""
        return ("palm", "fingers", "thumb", "flexion_sign", "rest_qpos")

    @abstractmethod
    def proposer(self, target: Target) -> Proposer:
        """Prepare the method for one target."""
