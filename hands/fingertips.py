"""The balls at the ends of the fingers, and which joints bring them where: inverse kinematics of a whole hand at once.

A fingertip is the ball that the end of its finger's pad is part of, and the direction in which the pad looks. All
fingers, and the base if it may move, are solved for together (damped Gauss-Newton steps, batched).
Axes: f fingers in ``finger_names`` order, v = 6 + j unknowns: motion of the base, then joints.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sceneleapultra.hands.body_points import BodyPoints
from sceneleapultra.hands.hand import Hand
from sceneleapultra.hands.sampling import SurfaceSet, contact_set
from sceneleapultra.hands.semantics import CONTACT_MIN_COS, CONTACT_SEED
from sceneleapultra.utils.geometry.rotation import skew, so3_exp

_PER_PAD = 64
_DISTAL = 0.2  # least cosine of a normal with the distal direction, of what counts as the end
_ROUND_M = 0.002
_DAMPING = 1e-4
_MAX_STEP = 0.3  # rad, of a joint or of the base in one step (m for its shift and for slides)


@dataclass(frozen=True)
class TipGoals:
    """Where fingertips shall be, in the world frame.

    Attributes:
        centers: of the balls.
        pads: unit directions in which the pads shall look.
        used: which fingers have a goal; what the others do is free.
    """

    centers: Float[Tensor, "b f 3"]
    pads: Float[Tensor, "b f 3"]
    used: Bool[Tensor, "b f"]


class Reached(NamedTuple):
    """Hands that were solved for."""

    T_world_base: Float[Tensor, "b 4 4"]
    qpos: Float[Tensor, "b j"]
    error_m: Float[Tensor, "b"]  # largest distance of a ball that has a goal to it


class _End(NamedTuple):
    """The ball at the end of a finger, in the frame of the body that carries it."""

    body: int
    center: Float[np.ndarray, "3"]
    radius: float
    pad: Float[np.ndarray, "3"]


class Fingertips:
    """The fingertips of one hand.

    Attributes:
        radii: of the balls.

    Raises:
        ValueError: a finger whose pad is not known, or whose end is no ball.
    """

    def __init__(self, hand: Hand) -> None:
        self.hand = hand
        bodies, number = hand.description.bodies, len(hand.body_names)
        pads = contact_set(hand.description, _PER_PAD, CONTACT_MIN_COS, CONTACT_SEED)
        ends = [self._end(name, pads) for name in hand.finger_names]
        tips = np.array([end.body for end in ends])
        self.radii: Float[Tensor, "f"] = torch.tensor([end.radius for end in ends], dtype=torch.float32)
        self._centers = BodyPoints(
            np.array([end.center for end in ends]),
            tips,
            num_bodies=number,
            vectors=False,
            dtype=torch.float32,
        )
        self._pads = BodyPoints(
            np.array([end.pad for end in ends]), tips, num_bodies=number, vectors=True, dtype=torch.float32
        )
        body_of = {body.joint.name: i for i, body in enumerate(bodies) if body.joint is not None}
        self._joint_body = torch.tensor([body_of[name] for name in hand.all_joint_names])
        every = {body.joint.name: body.joint for body in bodies if body.joint is not None}
        joints = [every[name] for name in hand.all_joint_names]
        axes = torch.tensor([joint.axis for joint in joints], dtype=torch.float32)
        self._axes = axes / axes.norm(dim=-1, keepdim=True)
        self._origins = torch.tensor([joint.pos for joint in joints], dtype=torch.float32)
        self._slides = torch.tensor([joint.slide for joint in joints])[:, None]
        self._moves = torch.tensor(
            [[self._is_above(int(body), int(tip)) for body in self._joint_body] for tip in tips]
        )

    def place(
        self, T_world_base: Float[Tensor, "b 4 4"], qpos: Float[Tensor, "b j"]
    ) -> tuple[Float[Tensor, "b f 3"], Float[Tensor, "b f 3"]]:
        """Return the centers of the balls and the directions of the pads, in the frame of the base poses."""
        T = T_world_base[:, None] @ self.hand.forward_kinematics(qpos)
        return self._centers(T), self._pads(T)

    def jacobian(
        self, T_world_base: Float[Tensor, "b 4 4"], qpos: Float[Tensor, "b j"]
    ) -> tuple[Float[Tensor, "b f 3 v"], Float[Tensor, "b f 3 v"]]:
        """Return how balls and pads move: with the base (shifted, turned about its origin; world axes), with joints."""
        hand = self.hand
        T = T_world_base[:, None] @ hand.forward_kinematics(qpos)
        centers, pads = self._centers(T), self._pads(T)
        own = T[:, self._joint_body]
        axes = (own[..., :3, :3] @ self._axes[:, :, None]).squeeze(-1)
        origins = (own[..., :3, :3] @ self._origins[:, :, None]).squeeze(-1) + own[..., :3, 3]
        arms = centers[:, :, None] - origins[:, None]  # (b f j 3)
        moves = self._moves[None, :, :, None]
        axes = axes[:, None].expand_as(arms)
        of_joints = torch.where(self._slides, axes, torch.linalg.cross(axes, arms)) * moves
        pads_of_joints = torch.linalg.cross(axes, pads[:, :, None].expand_as(arms)) * (moves & ~self._slides)
        if len(hand.all_joint_names) > hand.num_joints:
            couplings = hand.kinematics.couplings
            slopes = couplings.slopes(qpos)[:, None, :, None]
            own = of_joints.new_zeros(*of_joints.shape[:2], hand.num_joints, 3)
            of_joints, pads_of_joints = (
                own.index_add(2, couplings.source, slopes * column) for column in (of_joints, pads_of_joints)
            )
        eye = torch.eye(3).expand(*centers.shape[:2], 3, 3)
        turned = skew(centers - T_world_base[:, None, :3, 3]).mT  # w x arm
        base = torch.cat((eye, turned), dim=-1)
        pads_base = torch.cat((torch.zeros_like(eye), skew(pads).mT), dim=-1)
        return torch.cat((base, of_joints.mT), dim=-1), torch.cat((pads_base, pads_of_joints.mT), dim=-1)

    @torch.no_grad()
    def solve(
        self,
        T_world_base: Float[Tensor, "b 4 4"],
        qpos: Float[Tensor, "b j"],
        goals: TipGoals,
        *,
        move_base: bool,
        pad_weight_m: float,
        rest_weight_m: float,
        iterations: int,
    ) -> Reached:
        """Bring the balls to their goals from a start, joints within their limits.

        Args:
            T_world_base: start of the base.
            qpos: start of the joints, to which they are drawn.
            goals: of the balls.
            move_base: false leaves the base where it is.
            pad_weight_m: distance (m) that weighs as much as a pad one radian off.
            rest_weight_m: distance (m) that weighs as much as a joint one radian from its start.
            iterations: steps.
        """
        start, limits, used = qpos, self.hand.joint_limits, goals.used[..., None].float()
        free = torch.ones(6 + qpos.shape[1])
        free[:6] = float(move_base)
        draw = torch.full_like(free, rest_weight_m**2)
        draw[:6] = 0.0
        for _ in range(iterations):
            centers, pads = self.place(T_world_base, qpos)
            of_centers, of_pads = self.jacobian(T_world_base, qpos)
            off = torch.cat(
                (used * (goals.centers - centers), used * pad_weight_m * (goals.pads - pads)), dim=1
            ).flatten(1)
            J = torch.cat((used[..., None] * of_centers, used[..., None] * pad_weight_m * of_pads), dim=1)
            J = J.flatten(1, 2) * free
            pull = (J.mT @ off[..., None]).squeeze(-1)
            pull[:, 6:] += rest_weight_m**2 * (start - qpos)
            H = J.mT @ J + torch.diag(draw + _DAMPING * 0.01 + (1 - free))
            step = torch.linalg.solve(H, pull).clamp(-_MAX_STEP, _MAX_STEP) * free
            T_world_base = T_world_base.clone()
            T_world_base[:, :3, 3] += step[:, :3]
            T_world_base[:, :3, :3] = so3_exp(step[:, 3:6]) @ T_world_base[:, :3, :3]
            qpos = (qpos + step[:, 6:]).clamp(limits[:, 0], limits[:, 1])
        centers, _ = self.place(T_world_base, qpos)
        error = (goals.used * (goals.centers - centers).norm(dim=-1)).amax(-1)
        return Reached(T_world_base, qpos, error)

    def joint_torques(
        self,
        T_world_base: Float[Tensor, "b 4 4"],
        qpos: Float[Tensor, "b j"],
        forces_n: Float[Tensor, "b f 3"],
    ) -> Float[Tensor, "b j"]:
        """Return the torques with which the joints press the balls by these forces (N, world frame): J^T f."""
        of_centers, _ = self.jacobian(T_world_base, qpos)
        return torch.einsum("bfkv,bfk->bv", of_centers, forces_n)[:, 6:]

    def _end(self, finger: str, pads: SurfaceSet) -> "_End":
        """Fit a ball to the surface of a finger's pad that looks away from the hand.

        Raises:
            ValueError: the hand's card names no pad for the finger, or its end is no ball.
        """
        hand = self.hand
        patches = [
            p for p in hand.description.semantics.contacts or () if p.body in hand.finger_bodies[finger]
        ]
        if not patches:
            raise ValueError(
                f"Hand '{hand.name}': finger '{finger}' has no contact patch, so nothing is known of its tip. Add one "
                "under semantics.contacts, or generate without fingertips: synthesis=sim_close."
            )
        patch = patches[-1]
        body = hand.body_names.index(patch.body)
        own = pads.body == body
        points, normals = pads.points[own], pads.normals[own]
        distal = normals @ np.asarray(patch.distal_direction) > _DISTAL
        # p = c + r n for all points of the end: linear in center and radius.
        end, outward = points[distal], normals[distal]
        A = np.concatenate([np.tile(np.eye(3), (len(end), 1)), outward.reshape(-1, 1)], axis=1)
        *center, radius = np.linalg.lstsq(A, end.reshape(-1), rcond=None)[0]
        off = np.abs(np.linalg.norm(end - center, axis=1) - radius).max(initial=0.0)
        if len(end) < 4 or off > _ROUND_M:
            raise ValueError(
                f"Hand '{hand.name}': the end of '{patch.body}' is no ball (off by {1e3 * off:.1f} mm), which "
                "synthesis=fingertips takes it for. Generate with synthesis=sim_close."
            )
        pad = normals.mean(axis=0)
        return _End(body, np.array(center), float(radius), pad / np.linalg.norm(pad))

    def _is_above(self, body: int, tip: int) -> bool:
        """Tell whether a body is the tip or carries it."""
        names = self.hand.body_names
        at: str | None = names[tip]
        while at is not None:
            if at == names[body]:
                return True
            at = self.hand.description.bodies[names.index(at)].parent
        return False
