"""Grasps of one hand carried over to another by fingertips: what one does without a model of the other hand.

The other hand's palm starts where the first one's is, axis by axis; then palm and joints move until each fingertip's
pad is where the first hand has one. Thumb goes to thumb, other fingers to the places between the first hand's, from
side to side. With the palm left there, joints alone follow the fingertips of the pre-grasp and of the squeeze.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sceneleapultra.hands import GraspPose, Hand
from sceneleapultra.hands.rows import palm_axes
from sceneleapultra.utils.geometry.rotation import so3_exp
from sceneleapultra.utils.records import Grasps

_STEPS, _RATE = 150, 0.05
_UNIT_M = 0.01  # a fingertip this far off costs one
_REST_WEIGHT = 0.01  # cost of a joint a whole range from rest
_PALM_M, _PALM_RAD, _PALM_WEIGHT = 0.02, 0.3, 0.05  # cost of a palm so far from where the first hand has it


@dataclass(frozen=True)
class Carrier:
    """Carries grasps of one hand over to another.

    Attributes:
        source: whose grasps they are.
        target: who is to grasp.
    """

    source: Hand
    target: Hand

    def carry(self, grasps: Grasps) -> Grasps:
        """Return the grasps of the other hand, in the same frame."""
        pose = GraspPose.from_hand_pose(torch.as_tensor(np.asarray(grasps.hand_pose), dtype=torch.float32))
        opened, squeezed = (
            torch.as_tensor(np.asarray(q), dtype=torch.float32)
            for q in (grasps.pregrasp_qpos, grasps.squeeze_qpos)
        )
        R = pose.rotation @ palm_axes(self.source) @ palm_axes(self.target).T
        center = pose.translation + pose.rotation @ self.source.palm_center
        start = GraspPose(center - R @ self.target.palm_center, R, self.target.rest_qpos.expand(len(R), -1))
        made = self._fit(start, self._wanted(pose), palm=True)
        before, after = (
            self._fit(made, self._wanted(GraspPose(pose.translation, pose.rotation, q)), palm=False)
            for q in (opened, squeezed)
        )
        return Grasps(made.to_hand_pose().numpy(), before.qpos.numpy(), after.qpos.numpy())

    def _wanted(self, pose: GraspPose) -> Float[Tensor, "g f 3"]:
        """Return where the other hand's fingertips should be."""
        tips = fingertips(self.source, pose)
        theirs, own = from_side_to_side(self.source), from_side_to_side(self.target)
        wanted = torch.empty(len(tips), len(self.target.finger_names), 3)
        wanted[:, self.target.finger_names.index(self.target.thumb)] = tips[
            :, self.source.finger_names.index(self.source.thumb)
        ]
        for place, finger in enumerate(own):
            share = 0.5 if len(own) == 1 else place / (len(own) - 1)
            left, part = divmod(share * (len(theirs) - 1), 1.0)
            right = min(int(left) + 1, len(theirs) - 1)
            wanted[:, finger] = (1 - part) * tips[:, theirs[int(left)]] + part * tips[:, theirs[right]]
        return wanted

    def _fit(self, start: GraspPose, wanted: Float[Tensor, "g f 3"], *, palm: bool) -> GraspPose:
        """Move joints, and the palm where asked to, until fingertips are where they should be."""
        hand, count = self.target, len(wanted)
        low, high = hand.joint_limits.unbind(-1)
        share = ((start.qpos - low) / (high - low)).clamp(0.02, 0.98).logit().requires_grad_()
        moved = torch.zeros(count, 6, requires_grad=palm)
        optimizer = torch.optim.Adam([share, moved] if palm else [share], lr=_RATE)

        def placed() -> GraspPose:
            R = start.rotation @ so3_exp(_PALM_RAD * moved[:, 3:])
            return GraspPose(
                start.translation + _PALM_M * moved[:, :3], R, low + (high - low) * share.sigmoid()
            )

        rest = (hand.rest_qpos - low) / (high - low)
        for _ in range(_STEPS):
            off = (fingertips(hand, placed()) - wanted) / _UNIT_M
            strain = share.sigmoid() - rest
            cost = off.square().sum((1, 2)) + _REST_WEIGHT * strain.square().sum(-1)
            (cost + _PALM_WEIGHT * moved.square().sum(-1)).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        with torch.no_grad():
            return placed()


def fingertips(hand: Hand, pose: GraspPose) -> Float[Tensor, "g f 3"]:
    """Return the middle of each finger's pad, in the frame of the poses."""
    points, _ = hand.contact_candidates(pose)
    finger = torch.nn.functional.one_hot(hand.contact_finger, len(hand.finger_names)).to(points)
    return torch.einsum("gcx,cf->gfx", points, finger / finger.sum(0))


def from_side_to_side(hand: Hand) -> list[int]:
    """Return the fingers beside the thumb, from side to side of the palm."""
    rest = GraspPose(torch.zeros(1, 3), torch.eye(3)[None], hand.rest_qpos[None])
    side = fingertips(hand, rest)[0] @ palm_axes(hand)[:, 0]
    others = [k for k, name in enumerate(hand.finger_names) if name != hand.thumb]
    return sorted(others, key=lambda k: float(side[k]))
