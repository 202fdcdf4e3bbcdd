"""Grasps of one hand carried over to another by fingertips: what one does without a model of the other hand.

The other hand's palm starts where the first one's is, axis by axis; then palm and joints move until each fingertip's
pad is where the first hand has one, looks the same way, and the hand stays out of what is seen. Thumb goes to thumb,
other fingers to the places between the first hand's, from side to side. With the palm left there, joints alone follow
the fingertips of the pre-grasp and of the squeeze.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from sceneleapultra.hands.hand import Hand
from sceneleapultra.hands.pose import GraspPose
from sceneleapultra.hands.rows import palm_axes
from sceneleapultra.utils.geometry.rotation import so3_exp
from sceneleapultra.utils.records import Grasps

_STEPS, _RATE = 80, 0.05
_UNIT_M = 0.01  # a fingertip this far off costs one
_TURNED_WEIGHT = 0.3  # of one minus the cosine between two pads' directions
_REST_WEIGHT = 0.01  # cost of a joint a whole range from rest
_PALM_M, _PALM_RAD, _PALM_WEIGHT = 0.02, 0.3, 0.05  # cost of a palm so far from where the first hand has it
_INSIDE_WEIGHT = 3.0  # cost of a point a unit deep in the hand

Tips = tuple[Float[Tensor, "g f 3"], Float[Tensor, "g f 3"]]  # positions, and where they look


@dataclass(frozen=True)
class Around:
    """What a hand must stay out of.

    Attributes:
        points: surface points, in the frame of the grasps (m).
        apart: how far the hand's surface stays from each (m); negative: it may be that deep inside.
    """

    points: Float[Tensor, "n 3"]
    apart: Float[Tensor, "n"]


@dataclass(frozen=True)
class Retargeting:
    """Carries grasps of one hand over to another.

    Attributes:
        source: whose grasps they are.
        target: who is to grasp.

    Raises:
        ValueError: from any method, a hand whose card names no ``contacts``.
    """

    source: Hand
    target: Hand

    def __call__(self, grasps: Grasps, around: Around | None) -> tuple[Grasps, Float[np.ndarray, "g"]]:
        """Return the grasps of the other hand in the same frame, and how far its fingertips are off.

        Args:
            grasps: of the source.
            around: what the other hand stays out of; None where it does not matter.

        Returns:
            The grasps, and for each the sum of its fingertips' squared distances from where they should be (cm²).
        """
        hand_pose, opened, squeezed = (
            torch.as_tensor(np.asarray(x), dtype=torch.float32)
            for x in (grasps.hand_pose, grasps.pregrasp_qpos, grasps.squeeze_qpos)
        )
        with torch.inference_mode(False), torch.enable_grad():
            pose = GraspPose.from_hand_pose(hand_pose)
            R = pose.rotation @ palm_axes(self.source) @ palm_axes(self.target).T
            center = pose.translation + pose.rotation @ self.source.palm_center
            rest = self.target.rest_qpos.expand(len(R), -1)
            start = GraspPose(center - R @ self.target.palm_center, R, rest)
            wanted = self._wanted(pose)
            made = self._fit(start, wanted, around, palm=True)
            before = self._fit(made, self._wanted(_with(pose, opened)), around, palm=False)
            after = self._fit(made, self._wanted(_with(pose, squeezed)), None, palm=False)
        off = (_tips(self.target, made)[0] - wanted[0]) / _UNIT_M
        carried = Grasps(made.to_hand_pose().numpy(), before.qpos.numpy(), after.qpos.numpy())
        return carried, off.square().sum((1, 2)).numpy()

    @cached_property
    def shares(self) -> Float[Tensor, "t s"]:
        """Of which fingers' places of the source each finger of the target takes how much."""
        target, source = self.target.finger_names, self.source.finger_names
        shares = torch.zeros(len(target), len(source))
        shares[target.index(self.target.thumb), source.index(self.source.thumb)] = 1.0
        own, theirs = _from_side_to_side(self.target), _from_side_to_side(self.source)
        for place, finger in enumerate(own):
            share = 0.5 if len(own) == 1 else place / (len(own) - 1)
            left, part = divmod(share * (len(theirs) - 1), 1.0)
            right = min(int(left) + 1, len(theirs) - 1)
            shares[finger, theirs[int(left)]] += 1.0 - part
            shares[finger, theirs[right]] += part
        return shares

    def _wanted(self, pose: GraspPose) -> Tips:
        """Return where the other hand's fingertips should be, and look."""
        position, direction = (
            torch.einsum("ts,gsx->gtx", self.shares, each) for each in _tips(self.source, pose)
        )
        return position, functional.normalize(direction, dim=-1)

    def _fit(self, start: GraspPose, wanted: Tips, around: Around | None, *, palm: bool) -> GraspPose:
        """Move joints, and the palm where asked to, until fingertips are where they should be."""
        hand = self.target
        low, high = hand.joint_limits.unbind(-1)
        share = ((start.qpos - low) / (high - low)).clamp(0.02, 0.98).logit().requires_grad_()
        moved = torch.zeros(len(share), 6, requires_grad=palm)
        optimizer = torch.optim.Adam([share, moved] if palm else [share], lr=_RATE)
        rest = (hand.rest_qpos - low) / (high - low)

        def placed() -> GraspPose:
            R = start.rotation @ so3_exp(_PALM_RAD * moved[:, 3:])
            qpos = low + (high - low) * share.sigmoid()
            return GraspPose(start.translation + _PALM_M * moved[:, :3], R, qpos)

        for _ in range(_STEPS):
            pose = placed()
            position, direction = _tips(hand, pose)
            off = (position - wanted[0]) / _UNIT_M
            turned = 1.0 - (direction * wanted[1]).sum(-1)
            strain = share.sigmoid() - rest
            cost = off.square().sum((1, 2)) + _TURNED_WEIGHT * turned.sum(-1)
            cost = cost + _REST_WEIGHT * strain.square().sum(-1) + _PALM_WEIGHT * moved.square().sum(-1)
            if around is not None:
                deep = (around.apart - hand.signed_distance(around.points[None], pose)) / _UNIT_M
                cost = cost + _INSIDE_WEIGHT * deep.clamp(min=0.0).square().sum(-1)
            cost.sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
        with torch.no_grad():
            return placed()


def _with(pose: GraspPose, qpos: Float[Tensor, "g j"]) -> GraspPose:
    return GraspPose(pose.translation, pose.rotation, qpos)


def _tips(hand: Hand, pose: GraspPose) -> Tips:
    """Return the middle of each finger's pad and the way it looks, in the frame of the poses."""
    points, normals = hand.contact_candidates(pose)
    finger = functional.one_hot(hand.contact_finger, len(hand.finger_names)).to(points)
    mean = finger / finger.sum(0)
    direction = functional.normalize(torch.einsum("gcx,cf->gfx", normals, mean), dim=-1)
    return torch.einsum("gcx,cf->gfx", points, mean), direction


def _from_side_to_side(hand: Hand) -> list[int]:
    """Return the fingers beside the thumb, from side to side of the palm."""
    rest = GraspPose(torch.zeros(1, 3), torch.eye(3)[None], hand.rest_qpos[None])
    side = _tips(hand, rest)[0][0] @ palm_axes(hand)[:, 0]
    others = [k for k, name in enumerate(hand.finger_names) if name != hand.thumb]
    return sorted(others, key=lambda k: float(side[k]))
