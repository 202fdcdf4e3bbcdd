"""Precision grasps: two or three fingertips about a line through the object, the palm high, nails down to the table.

Places for the tips come from :mod:`.pinch`, postures that oppose thumb and fingers from :mod:`.postures`; inverse
kinematics of the whole hand joins them. The pre-grasp moves the tips apart, the squeeze presses them together: J^T f.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sceneleapultra.hands import GraspPose, energies
from sceneleapultra.hands.fingertips import Fingertips, Reached, TipGoals
from sceneleapultra.simulation.collision import Balls
from sceneleapultra.simulation.synthesis.base import Candidates, Proposer, Synthesis, Target
from sceneleapultra.simulation.synthesis.closing import servo_stiffness
from sceneleapultra.simulation.synthesis.pinch import Pinches, PinchFinder, PinchSettings
from sceneleapultra.simulation.synthesis.postures import (
    Postures,
    PostureSettings,
    all_postures,
)
from sceneleapultra.utils.records import Grasps

_STEPS = 20
_UP = torch.tensor([0.0, 0.0, 1.0])


@dataclass(frozen=True, kw_only=True)
class ReachSettings:
    """How a hand brings its fingertips to a pinch; ``config/synthesis/fingertips.yaml`` says what each number means."""

    pad_rise_deg: tuple[float, float]
    pad_weight_m: float
    rest_weight_m: float
    max_error_m: float
    max_depth_m: float
    openings_m: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class FingertipGrasps(Synthesis):
    """Settings of the method; ``config/synthesis/fingertips.yaml`` explains each."""

    fingers: tuple[int, ...]
    pinch: PinchSettings
    postures: PostureSettings
    oversampling: int
    posture_tries: int
    max_tilt_deg: float
    reach: ReachSettings
    force_n: tuple[float, float]
    ample_margin: float

    @property
    def needs(self) -> tuple[str, ...]:
        """Contacts besides: where the pads look."""
        return (*super().needs, "contacts")

    def proposer(self, target: Target) -> Proposer:
        """Prepare the method for one target."""
        return _Pinching(self, target)


class _Pinching(Proposer):
    def __init__(self, settings: FingertipGrasps, target: Target) -> None:
        self.settings, self.target, hand = settings, target, target.hand
        self.tips = Fingertips(hand)
        self.thumb = hand.finger_names.index(hand.thumb)
        self.finder = PinchFinder(target, self.tips.radii, self.thumb, settings.pinch)
        self._postures = all_postures(hand, settings.fingers, settings.postures)
        self._stiffness = servo_stiffness(target.model)

    @torch.no_grad()
    def propose(self, n: int, rng: np.random.Generator) -> Candidates:
        """Return up to ``n`` pinches that the hand reaches without touching anything but the object."""
        tries = -(-n * self.settings.oversampling // max(1, len(self._postures)))
        parts = [part for p in self._postures if (part := self._of_set(p, tries, rng)) is not None]
        if not parts:
            return Candidates(self._none(), np.zeros(0, dtype=int))
        grasps = Grasps.concatenate([candidates.grasps for candidates, _ in parts])
        fingers, margin = (np.concatenate(x) for x in zip(*((c.fingers, m) for c, m in parts), strict=True))
        # Those that friction holds amply come first, in random order; then the others, the surest first.
        order = np.lexsort((rng.random(len(margin)), -margin.clip(max=self.settings.ample_margin)))[:n]
        return Candidates(grasps[order], fingers[order])

    def _of_set(
        self, postures: Postures, tries: int, rng: np.random.Generator
    ) -> tuple[Candidates, Float[np.ndarray, "b"]] | None:
        """Return the grasps by one set of fingers that some tries give, and their margins; None for none."""
        s, used = self.settings, postures.used
        pinches = self.finder.draw(used, postures.rank, tries, rng)
        if not len(pinches.axis):
            return None
        start, qpos = self._start(pinches, postures, rng)
        goals = TipGoals(pinches.centers, self._pads(pinches, rng), used.expand(len(qpos), -1))
        reached = self._solve(start, qpos, goals, move_base=True)
        kept = torch.nonzero((reached.error_m < s.reach.max_error_m) & self._is_free(reached, touching=True))[
            :, 0
        ]
        reached, pinches = Reached(*(x[kept] for x in reached)), pinches[kept]
        pregrasp, opened = self._open(reached, pinches, used)
        kept = torch.nonzero(opened)[:, 0]
        if not len(kept):
            return None
        reached, pinches, pregrasp = Reached(*(x[kept] for x in reached)), pinches[kept], pregrasp[kept]
        pose = GraspPose.from_matrix(reached.T_world_base, reached.qpos)
        grasps = Grasps(
            hand_pose=pose.to_hand_pose().numpy().astype(np.float64),
            pregrasp_qpos=pregrasp.numpy().astype(np.float64),
            squeeze_qpos=self._squeeze(reached, pinches, used).numpy().astype(np.float64),
        )
        return Candidates(grasps, np.full(len(grasps), int(used.sum()))), pinches.margin.numpy()

    def _start(
        self, pinches: Pinches, postures: Postures, rng: np.random.Generator
    ) -> tuple[Float[Tensor, "b 4 4"], Float[Tensor, "b j"]]:
        """Return hands in a posture with its axis on the pinch's and the palm above, tilted about the axis.

        Of several drawn for each pinch it is the one that is nearest in width and least in the table.
        """
        s, b, m = self.settings, len(pinches.axis), self.settings.posture_tries
        fingers = postures.used & (torch.arange(len(postures.used)) != self.thumb)
        from_thumb = pinches.centers[:, fingers].mean(1) - pinches.centers[:, self.thumb]
        width = from_thumb.norm(dim=-1) - self.tips.radii[self.thumb] - self.tips.radii[fingers].mean()
        drawn = torch.as_tensor(rng.integers(0, len(postures.qpos), size=b * m))
        tilt = torch.as_tensor(
            np.deg2rad(s.max_tilt_deg) * rng.uniform(-1, 1, size=b * m), dtype=torch.float32
        )
        axis = pinches.axis.repeat_interleave(m, 0)
        middle = (pinches.centers[:, self.thumb] + from_thumb / 2).repeat_interleave(m, 0)
        up = tilt.cos()[:, None] * _UP + tilt.sin()[:, None] * torch.linalg.cross(_UP.expand_as(axis), axis)
        R = _frame(axis, up) @ _frame(postures.axis[drawn], postures.up[drawn]).mT
        T = torch.eye(4).repeat(b * m, 1, 1)
        T[:, :3, :3] = R
        T[:, :3, 3] = middle - (R @ postures.middle[drawn][..., None]).squeeze(-1)
        qpos = postures.qpos[drawn]
        cost = (postures.width_m[drawn] - width.repeat_interleave(m)).abs()
        if self.target.distance.table:
            centers, radii = self.target.hand.spheres(GraspPose.from_matrix(T, qpos))
            cost = cost - (centers[..., 2] - radii).amin(-1).clamp_max(0.0)
        best = cost.reshape(b, m).argmin(1) + m * torch.arange(b)
        return T[best], qpos[best]

    def _pads(self, pinches: Pinches, rng: np.random.Generator) -> Float[Tensor, "b f 3"]:
        """Draw where the pads look: along the line, upward by one angle, so that fingers come in like a tent."""
        low, high = np.deg2rad(self.settings.reach.pad_rise_deg)
        rise = torch.as_tensor(rng.uniform(low, high, size=(len(pinches.axis), 1, 1)), dtype=torch.float32)
        is_thumb = torch.arange(len(self.tips.radii)) == self.thumb
        towards = torch.where(is_thumb, 1.0, -1.0)[:, None] * pinches.axis[:, None]
        return rise.cos() * towards + rise.sin() * _UP

    def _solve(self, T: Tensor, qpos: Tensor, goals: TipGoals, *, move_base: bool) -> Reached:
        s = self.settings.reach
        return self.tips.solve(
            T,
            qpos,
            goals,
            move_base=move_base,
            pad_weight_m=s.pad_weight_m,
            rest_weight_m=s.rest_weight_m,
            iterations=_STEPS if move_base else _STEPS // 2,
        )

    def _is_free(self, reached: Reached, *, touching: bool) -> Bool[Tensor, "b"]:
        """Tell which hands are free of table, neighbors and themselves, and of the object but for a touch."""
        s, hand = self.settings.reach, self.target.hand
        pose = GraspPose.from_matrix(reached.T_world_base, reached.qpos)
        centers, radii = hand.spheres(pose)
        free = self.target.distance.clearance(self.target.balls.world(pose)) >= 0.0
        least = -s.max_depth_m if touching else 0.0
        free[free.clone()] = self.target.distance.target_clearance(Balls(centers[free], radii)) > least
        overlap = energies.self_penetration(centers[free], radii, hand.sphere_pairs)
        free[free.clone()] = overlap < s.max_depth_m
        return free

    def _open(
        self, reached: Reached, pinches: Pinches, used: Bool[Tensor, "f"]
    ) -> tuple[Float[Tensor, "b j"], Bool[Tensor, "b"]]:
        """Return joints with the tips apart, the first of the openings at which the hand is free, and where it is."""
        pregrasp, opened = reached.qpos.clone(), torch.zeros(len(reached.qpos), dtype=torch.bool)
        outward = pinches.normals * torch.tensor([1.0, 1.0, 0.0])
        outward = outward / outward.norm(dim=-1, keepdim=True).clamp_min(1e-6)
        for opening in self.settings.reach.openings_m:
            left = torch.nonzero(~opened)[:, 0]
            if not len(left):
                break
            _, pads = self.tips.place(reached.T_world_base[left], reached.qpos[left])
            centers = pinches.centers[left] + opening * outward[left]
            found = self._solve(
                reached.T_world_base[left],
                reached.qpos[left],
                TipGoals(centers, pads, used.expand(len(left), -1)),
                move_base=False,
            )
            free = self._is_free(found, touching=False)
            pregrasp[left[free]], opened[left[free]] = found.qpos[free], True
        return pregrasp, opened

    def _squeeze(self, reached: Reached, pinches: Pinches, used: Bool[Tensor, "f"]) -> Float[Tensor, "b j"]:
        """Return the targets at which the servos press thumb and fingers together: q + J^T f / kp."""
        is_thumb = torch.arange(len(used)) == self.thumb
        share = torch.where(is_thumb, 1.0, -1.0 / (int(used.sum()) - 1)) * used
        gentle, firm = self.settings.force_n
        force_n = (gentle / pinches.margin.clamp_min(1e-3)).clamp_max(firm)[:, None, None]
        forces = force_n * share[:, None] * pinches.axis[:, None]
        torque = self.tips.joint_torques(reached.T_world_base, reached.qpos, forces)
        limits = self.target.hand.joint_limits
        return (reached.qpos + torque / self._stiffness).clamp(limits[:, 0], limits[:, 1])

    def _none(self) -> Grasps:
        qpos = np.zeros((0, self.target.hand.num_joints))
        return Grasps(np.zeros((0, 7 + qpos.shape[1])), qpos, qpos)


def _frame(axis: Float[Tensor, "b 3"], up: Float[Tensor, "b 3"]) -> Float[Tensor, "b 3 3"]:
    """Return the rotations whose columns are the axis, up, and what is normal to both."""
    return torch.stack((axis, up, torch.linalg.cross(axis, up)), dim=-1)
