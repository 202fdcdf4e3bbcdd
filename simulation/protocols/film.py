"""What happens in a trial, frame by frame: where every body is, and what touches the hand with which force."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, get_args

import mujoco
import numpy as np
from jaxtyping import Float, Int

from sceneleapultra.simulation.protocols.contacts import Group
from sceneleapultra.simulation.protocols.hand_model import HandModel
from sceneleapultra.simulation.protocols.protocol import Protocol
from sceneleapultra.simulation.protocols.spec import Attempt, Physics, WorldSpec
from sceneleapultra.simulation.protocols.trials.base import Verdict
from sceneleapultra.simulation.protocols.world import World
from sceneleapultra.utils.records import Grasps, Scene

if TYPE_CHECKING:
    from sceneleapultra.hands import Hand

FRAME_S = 0.02
TOUCHED: tuple[Group, ...] = tuple(group for group in get_args(Group) if group not in ("hand", "scene"))


@dataclass(frozen=True)
class Frame:
    """One moment of a trial.

    Attributes:
        run: which of the trial's runs it belongs to, for example the direction of a force.
        time_s: since that run began.
        poses: of the bodies of the world, [position 3, quaternion wxyz 4].
        points: where the hand touches something (m).
        forces: of the hand on it there (N), world frame.
        touched: what it is, as a number in ``TOUCHED``.
    """

    run: int
    time_s: float
    poses: Float[np.ndarray, "bodies 7"]
    points: Float[np.ndarray, "c 3"]
    forces: Float[np.ndarray, "c 3"]
    touched: Int[np.ndarray, "c"]

    def force_on(self, group: Group) -> float:
        """Return the sum of the hand's forces on something (N)."""
        chosen = self.touched == TOUCHED.index(group)
        return float(np.linalg.norm(self.forces[chosen], axis=1).sum())


@dataclass(frozen=True)
class Film:
    """A trial of one grasp: the bodies of its world, their frames, and how it ended."""

    model: mujoco.MjModel
    frames: Sequence[Frame]
    verdict: Verdict


@dataclass
class _Reel:
    """Frames of the world that is filmed; ``on`` while the trial itself is at work."""

    on: bool = True
    run: int = -1
    frames: list[Frame] = field(default_factory=list)


class FilmedWorld(World):
    """A world that keeps frames of what is tried in it; the steps, and so the verdicts, are those of any world."""

    def __init__(self, hand: HandModel, spec: WorldSpec, physics: Physics) -> None:
        super().__init__(hand, spec, physics)
        self.reel = _Reel()

    def reset(self, stage: Float[np.ndarray, "h"], object_poses: Float[np.ndarray, "k 7"]) -> None:
        """Begin another run."""
        super().reset(stage, object_poses)
        self.reel.run += 1

    def restore(self) -> None:
        """Go back, and begin another run from there."""
        super().restore()
        self.reel.run += 1

    def settle(self, object_poses: Float[np.ndarray, "k 7"], steps: int) -> Float[np.ndarray, "k 7"] | None:
        """Let the objects come to rest; the hand is not there yet."""
        self.reel.on = False
        rest = super().settle(object_poses, steps)
        self.reel.on = True
        return rest

    def step(self, steps: int) -> None:
        """Let time pass; keep a frame after every ``FRAME_S``, and at the end."""
        most = max(1, round(FRAME_S / self.timestep_s))
        while steps > 0:
            super().step(min(most, steps))
            steps -= most
            if self.reel.on:
                self.reel.frames.append(self._frame())

    def _frame(self) -> Frame:
        data, contacts = self.data, self.contacts
        points, forces, touched = [], [], []
        for number, group in enumerate(TOUCHED):
            for point, force in contacts.of_hand(data, group):
                points.append(point)
                forces.append(force)
                touched.append(number)
        return Frame(
            self.reel.run,
            float(data.time),
            np.concatenate([data.xpos, data.xquat], axis=1),
            np.array(points).reshape(-1, 3),
            np.array(forces).reshape(-1, 3),
            np.array(touched, dtype=int),
        )


def film(
    hand: "Hand | HandModel", scene: Scene, target: int, grasps: Grasps, number: int, protocol: Protocol
) -> Film:
    """Try one grasp again and keep what happens.

    Args:
        hand: that grasps.
        scene: as it lies.
        target: which object is grasped.
        grasps: in the world frame; with the approach that was chosen, if one was.
        number: which of them.
        protocol: how it is tried.

    Raises:
        ValueError: the protocol does not fit the scene, or the grasps the hand.
    """
    model = hand if isinstance(hand, HandModel) else HandModel.from_hand(hand)
    spec = protocol.trial.world(scene, target)
    world = FilmedWorld(model, spec, protocol.physics)
    attempt = world.prepare(Attempt.of(grasps, number, spec.poses(scene)))
    verdict = protocol.trial.run(world, attempt, stop_at_failure=False)
    return Film(world.model, world.reel.frames, verdict)
