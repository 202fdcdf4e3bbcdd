"""A model of one hand that serves any other: its grasps are carried over by fingertips, clear of what is seen."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from sceneleapultra.hands import Hand
from sceneleapultra.hands.retargeting import Around, Retargeting
from sceneleapultra.models.beside import points_beside
from sceneleapultra.models.clearance import observed_clearance
from sceneleapultra.models.inference import GraspModel
from sceneleapultra.models.other_hand import OtherHandModel
from sceneleapultra.models.sampled_grasps import SampledGrasps
from sceneleapultra.utils.requests import GraspRequest

_REACH_M = 0.15  # about the object's middle: what the hand may meet
_BESIDE, _TARGET = 160, 96  # points of either that it stays out of
_APART_M, _INSIDE_M = 0.003, 0.001  # from table and neighbors; how deep a fingertip may press the object
_MISFIT_WEIGHT = 0.5  # by which a cm² of fingertips' distances from where they should be lowers a score


@dataclass(frozen=True)
class RetargetedModel(OtherHandModel):
    """A model whose grasps another hand takes over, see :mod:`sceneleapultra.hands.retargeting`.

    Nothing was learned of the other hand: probabilities of success are unknown, and a grasp's score is that of the
    grasp which it came from, lowered by how far fingertips are from that one's.

    Example:
        >>> model = RetargetedModel.of(load_grasp_model("leap_table"), load_hand("hands/my_hand"))
        >>> grasps = model.sample(points, 64, object_mask=mask, up=up)
    """

    @staticmethod
    def check_hand(model: GraspModel, hand: Hand) -> None:
        """Refuse a hand whose card names no ``contacts``, and a model with a completion."""
        hand.require("contacts")
        if model.completion is not None:
            raise ValueError(
                f"A completion counts in how grasps of '{model.hand.name}' are made, and hand '{hand.name}' takes over "
                "finished ones. Load the model without completion=."
            )

    @cached_property
    def retargeting(self) -> Retargeting:
        """What carries grasps over, on the CPU."""
        return Retargeting(Hand(self.own.hand.description), Hand(self.hand.description))

    @property
    def has_score_head(self) -> bool:
        """Whether it says how likely grasps succeed: not for a hand that it never learned of."""
        return False

    def convert(self, request: GraspRequest, made: SampledGrasps, sampling: Any) -> SampledGrasps:
        """Return the grasps carried over, best first where the rank sorts.

        Raises:
            ValueError: a trajectory was asked for.
        """
        if made.trajectory is not None:
            raise ValueError(
                f"The steps of the solver are grasps of '{self.own.hand.name}', none of '{self.hand.name}': ask for "
                "no trajectory."
            )
        beside, moved = points_beside(request, made.hand_pose)
        middle = request.target_points.mean(0, dtype=np.float64)
        centered = replace(made, hand_pose=moved)
        observed = _around(beside, request.target_points - middle)
        grasps, misfit = self.retargeting(centered.grasps, observed)
        hand_pose = grasps.hand_pose.astype(np.float64)
        hand_pose[:, :3] += middle
        score = (made.score - _MISFIT_WEIGHT * misfit).astype(made.score.dtype)
        order = np.argsort(-score, kind="stable")
        if not self._chosen(sampling).rank.sort:
            order = np.arange(len(score))
        return replace(
            made,
            hand_pose=hand_pose[order],
            pregrasp_qpos=grasps.pregrasp_qpos[order],
            squeeze_qpos=grasps.squeeze_qpos[order],
            score=score[order],
            p_stable=None,
            p_collision_free=None,
            clearance_m=observed_clearance(self.hand, hand_pose, request)[order],
            joint_names=tuple(self.hand.joint_names),
            hand=self.hand.name,
        )


def _around(beside: Float[np.ndarray, "n 3"], target: Float[np.ndarray, "m 3"]) -> Around:
    """Return what the hand stays out of: a few points of table and neighbors, and of the object."""
    near = beside[np.square(beside).sum(-1) <= _REACH_M**2]
    parts = [_every_few(near, _BESIDE), _every_few(target, _TARGET)]
    apart = np.repeat([_APART_M, -_INSIDE_M], [len(part) for part in parts])
    return Around(
        torch.from_numpy(np.concatenate(parts).astype(np.float32)), torch.from_numpy(apart.astype(np.float32))
    )


def _every_few(points: Float[np.ndarray, "n 3"], number: int) -> Float[np.ndarray, "k 3"]:
    return points[np.linspace(0, len(points) - 1, min(number, len(points))).astype(np.int64)]
