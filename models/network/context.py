"""What the network holds between its calls: an encoded scene, the scene seen from each grasp's anchor, decoded grasps.

An *anchor* is a visible token of the target that carries a grasp: the grasp's state is expressed in its frame.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from jaxtyping import Bool, Float, Int
from torch import Tensor

from sceneleapultra.hands import GraspPose
from sceneleapultra.models.network.conditions.base import PromptTokens
from sceneleapultra.models.network.decoder.base import GraspContext, KeysValues
from sceneleapultra.models.network.hand_encoder import HandTokens
from sceneleapultra.models.network.surface import Surface
from sceneleapultra.models.network.tokens import SceneTokens


@dataclass(frozen=True)
class SceneContext:
    """An encoded scene with its prompts: constant over grasps and steps, computed once per scene."""

    tokens: SceneTokens
    surface: Surface
    keys_values: KeysValues
    up: Float[Tensor, "b 3"]  # against gravity
    outputs: dict[str, Tensor]  # of the scene heads, by name; "anchors": logits (b s), -inf beside the target
    scene_kept: Bool[Tensor, "b"]  # false where the decoder must do without the scene
    prompts: dict[str, PromptTokens]  # by condition
    hand: HandTokens | None  # None for a model of one hand
    completion: SceneTokens | None  # what a completion says of the scene; None for a model without

    def repeat(self, times: int) -> "SceneContext":
        """Return the scenes several times over, one whole batch after the other."""
        return self._map(lambda x: x.repeat(times, *[1] * (x.dim() - 1)))

    def select(self, rows: Int[Tensor, "n"]) -> "SceneContext":
        """Return some of the scenes."""
        return self._map(lambda x: x[rows])

    def _map(self, change: Callable[[Tensor], Tensor]) -> "SceneContext":
        def each(part: Any) -> dict[str, Tensor]:
            return {f.name: change(getattr(part, f.name)) for f in fields(part)}

        return SceneContext(
            tokens=SceneTokens(**each(self.tokens)),
            surface=Surface(**each(self.surface)),
            keys_values=tuple((change(k), change(v)) for k, v in self.keys_values),
            up=change(self.up),
            outputs={name: change(x) for name, x in self.outputs.items()},
            scene_kept=change(self.scene_kept),
            prompts={name: PromptTokens(**each(p)) for name, p in self.prompts.items()},
            hand=self.hand,
            completion=None if self.completion is None else SceneTokens(**each(self.completion)),
        )


@dataclass(frozen=True)
class AnchoredScene:
    """A scene as seen from the anchor of each grasp: reference frames, geometry and the decoder's context."""

    scene: SceneContext
    index: Int[Tensor, "b g"]  # token that carries each grasp
    origins: Float[Tensor, "b g 3"]
    frames: Float[Tensor, "b g 3 3"]
    prompt: PromptTokens | None  # of all conditions, side by side; None for a network without any
    context: GraspContext


class NoiseLevel(NamedTuple):
    """What a network takes of times: of one per scene, or of one for all scenes."""

    embedded: Float[Tensor, "n *m"]  # of the decoder
    share: Float[Tensor, "n 1 1"]  # of x0 in the state
    width: Float[Tensor, "n 1 d"]  # of its numbers, where a hand is to be read from it

    def rows(self) -> list["NoiseLevel"]:
        """Return those of each time by itself."""
        return [NoiseLevel(*row) for row in zip(*(part.split(1) for part in self), strict=True)]


@dataclass(frozen=True)
class DecodedGrasps:
    """Grasps that states stand for, in the frame of the cloud."""

    states: Float[Tensor, "b g d"]  # normalized
    pose: GraspPose
    squeeze_qpos: Float[Tensor, "b g j"]
    point: Float[Tensor, "b g 3"]  # reference point in front of each palm
    index: Int[Tensor, "b g"]  # token that each grasp is anchored at
    code: Float[Tensor, "b g z"] | None  # normalized; None for a model that denoises states

    @property
    def clean(self) -> Float[Tensor, "b g o"]:
        """What is denoised of them: states, or their codes."""
        return self.states if self.code is None else self.code


@dataclass(frozen=True)
class GeneratedGrasps:
    """Grasps of a batch of scenes, in the frame of each cloud."""

    hand_pose: Float[Tensor, "b k p"]  # [translation, joints, quaternion wxyz]
    pred_pose: Float[Tensor, "b k d"]  # [translation, joints, rot6d]
    pregrasp_qpos: Float[Tensor, "b k j"]
    squeeze_qpos: Float[Tensor, "b k j"]
    score: Float[Tensor, "b k"]  # what the grasps are ranked by; higher is better
    log_odds: Float[Tensor, "b k 2"] | None  # of being stable and collision-free; None without a score head
    nfe: int  # evaluations of the network, every branch of guidance counted
    trajectory: Float[Tensor, "n b k p"] | None  # hand poses after every step, if asked for
