"""Grasps by optimization: hand poses descend an energy of contact, balance and collision; forces give the squeeze.

Minimizes w_fc E_fc + w_dis E_dis + w_align E_align + r(k) (w_pen E_pen + w_self E_self + w_scene E_scene), with the
terms of ``hands.energies`` and a ramp r of the penalties over the steps k. One contact per finger of a random set
that always has the thumb; which of a pad's candidates it is, is chosen again every few steps.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sceneleapultra.hands import GraspPose, energies
from sceneleapultra.simulation.synthesis.base import Candidates, Proposer, Synthesis, Target
from sceneleapultra.simulation.synthesis.closing import servo_stiffness
from sceneleapultra.simulation.synthesis.grid import DistanceGrid
from sceneleapultra.simulation.synthesis.placement import PlacementSettings, Placer
from sceneleapultra.simulation.synthesis.pregrasp import open_hand
from sceneleapultra.utils.geometry.rotation import matrix_from_rot6d, rot6d_from_matrix
from sceneleapultra.utils.records import Grasps


@dataclass(frozen=True, kw_only=True)
class EnergySettings:
    """Weights of the energy; ``config/synthesis/optimize.yaml`` explains each."""

    force_closure: float
    distance: float
    alignment: float
    penetration: float
    self_penetration: float
    scene: float
    ramp_from: float
    torque_length_m: float


@dataclass(frozen=True, kw_only=True)
class Optimize(Synthesis):
    """Settings of the method; ``config/synthesis/optimize.yaml`` explains each."""

    placement: PlacementSettings
    energy: EnergySettings
    steps: int
    oversampling: float
    reselect_every: int
    lr_translation_m: float
    lr_rotation: float
    lr_joints_rad: float
    max_distance_m: float
    force_n: float
    openings_rad: tuple[float, ...]
    pregrasp_clearance_m: float

    @property
    def needs(self) -> tuple[str, ...]:
        """Contacts and keypoints besides."""
        return (*super().needs, "contacts", "keypoints", "keypoint_radius")

    def proposer(self, target: Target) -> Proposer:
        """Prepare the method for one target."""
        return Descent(self, target)


class Descent(Proposer):
    """Descends the energy of one target."""

    def __init__(self, settings: Optimize, target: Target) -> None:
        self.settings, self.target = settings, target
        self.placer = Placer(target, settings.placement)
        self.near: DistanceGrid = self.placer.near
        hand = target.hand
        self.thumb = hand.finger_names.index(hand.thumb)
        self.num_fingers = len(hand.finger_names)
        T = target.scene.T_world_object[target.index]
        self.center = torch.as_tensor(T[:3, 3], dtype=torch.float32)
        self.stiffness = servo_stiffness(target.model)

    def propose(self, n: int, rng: np.random.Generator) -> Candidates:
        """Descend from start poses, and return those with the least energy."""
        s, hand = self.settings, self.target.hand
        start = self.placer.draw(round(n * s.oversampling), rng)
        pose = GraspPose.from_matrix(start.T_world_base, start.qpos)
        fingers = self.finger_sets(len(start.qpos), rng)
        pose, energy = self.descend(pose, fingers)
        best = torch.argsort(energy, stable=True)[:n]
        pose = GraspPose(pose.translation[best], pose.rotation[best], pose.qpos[best])
        squeeze, reached = self._squeeze(pose, fingers[best])
        grasp = pose.qpos.numpy().astype(np.float64)
        matrix = pose.matrix().numpy().astype(np.float64)
        pregrasp = open_hand(self.target, matrix, grasp, s.openings_rad, s.pregrasp_clearance_m)
        limits = hand.joint_limits.numpy().astype(np.float64)
        grasps = Grasps(
            hand_pose=pose.to_hand_pose().numpy().astype(np.float64),
            pregrasp_qpos=pregrasp,
            squeeze_qpos=squeeze.numpy().astype(np.float64).clip(limits[:, 0], limits[:, 1]),
        )
        return Candidates(grasps, reached.sum(1).numpy())

    def finger_sets(self, b: int, rng: np.random.Generator) -> Bool[Tensor, "b f"]:
        """Draw which fingers shall touch: the thumb and a random set of the others, never empty."""
        others = self.num_fingers - 1
        number = rng.integers(1, 2**others, size=b)
        chosen = (number[:, None] >> np.arange(others)) & 1
        return torch.as_tensor(np.insert(chosen.astype(bool), self.thumb, True, axis=1))

    def descend(self, pose: GraspPose, fingers: Bool[Tensor, "b f"]) -> tuple[GraspPose, Float[Tensor, "b"]]:
        """Minimize the energy; return the final poses and their energies."""
        s, hand = self.settings, self.target.hand
        if not len(fingers):
            return pose, torch.zeros(0)
        t = pose.translation.clone().requires_grad_()
        r = rot6d_from_matrix(pose.rotation).clone().requires_grad_()
        q = pose.qpos.clone().requires_grad_()
        groups = ((t, s.lr_translation_m), (r, s.lr_rotation), (q, s.lr_joints_rad))
        adam = torch.optim.Adam([{"params": [p], "lr": lr} for p, lr in groups], betas=(0.9, 0.99))
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, s.steps, eta_min=0.0)
        selected = self._select(pose)
        for step in range(s.steps):
            now = GraspPose(t, matrix_from_rot6d(r), q)
            if step and step % s.reselect_every == 0:
                selected = self._select(now)
            ramp = s.energy.ramp_from + (1 - s.energy.ramp_from) * step / s.steps
            energy = self._energy(now, selected, fingers, ramp)
            adam.zero_grad()
            energy.sum().backward()
            adam.step()
            cosine.step()
            with torch.no_grad():
                q.clamp_(hand.joint_limits[:, 0], hand.joint_limits[:, 1])
        with torch.no_grad():
            final = GraspPose(t.detach(), matrix_from_rot6d(r.detach()), q.detach())
            return final, self._energy(final, self._select(final), fingers, 1.0)

    @torch.no_grad()
    def _select(self, pose: GraspPose) -> Int[Tensor, "b f"]:
        """Choose on each fingertip the candidate that is nearest to the object and faces it."""
        hand = self.target.hand
        points, normals = hand.contact_candidates(pose)
        distance, towards = self.target.distance.target_with_normal(points)
        cost = distance.abs() + 0.01 * (1 + (normals * towards).sum(-1))
        best = []
        for f in range(self.num_fingers):
            own = torch.nonzero(hand.contact_finger == f)[:, 0]
            best.append(own[cost[:, own].argmin(1)])
        return torch.stack(best, dim=1)

    def _contacts(
        self, pose: GraspPose, selected: Int[Tensor, "b f"]
    ) -> tuple[Float[Tensor, "b f 3"], Float[Tensor, "b f 3"], Float[Tensor, "b f"], Float[Tensor, "b f 3"]]:
        """Return points and normals on the hand, their distance to the object (linearised), and its normals."""
        points, normals = self.target.hand.contact_candidates(pose)
        index = selected[..., None].expand(-1, -1, 3)
        points, normals = points.gather(1, index), normals.gather(1, index)
        at = points.detach()
        distance, towards = self.target.distance.target_with_normal(at)
        return points, normals, distance + ((points - at) * towards).sum(-1), towards

    def _energy(
        self, pose: GraspPose, selected: Int[Tensor, "b f"], fingers: Bool[Tensor, "b f"], ramp: float
    ) -> Float[Tensor, "b"]:
        w, hand = self.settings.energy, self.target.hand
        points, normals, distance, towards = self._contacts(pose, selected)
        weights = energies.contact_weights(torch.arange(self.num_fingers), self.thumb, fingers)
        wrench = energies.force_closure(
            points, towards, weights, origin=self.center, torque_length_m=w.torque_length_m
        )
        centers, radii = hand.spheres(pose)
        scene = energies.sphere_penetration(centers, radii, self.target.distance.neighbors)
        if self.target.distance.table:
            scene = scene + energies.table(centers, radii)
        keypoints = hand.keypoints(pose)
        penalties = (
            w.penetration * energies.sphere_penetration(centers, radii, self.near)
            + w.self_penetration
            * energies.self_penetration(keypoints, hand.keypoint_radius, hand.keypoint_pairs)
            + w.scene * scene
        )
        return (
            w.force_closure * wrench
            + w.distance * energies.distance(distance, weights)
            + w.alignment * energies.misalignment(normals, towards, weights)
            + ramp * penalties
        )

    def _squeeze(
        self, pose: GraspPose, fingers: Bool[Tensor, "b f"]
    ) -> tuple[Float[Tensor, "b j"], Bool[Tensor, "b f"]]:
        """Return the targets at which the servos press: q + J^T f / kp, forces against the object's normals."""
        q = pose.qpos.clone().requires_grad_()
        selected = self._select(pose)
        points, _, distance, towards = self._contacts(GraspPose(pose.translation, pose.rotation, q), selected)
        weights = energies.contact_weights(torch.arange(self.num_fingers), self.thumb, fingers)
        work = -self.settings.force_n * (weights[..., None] * towards * points).sum()
        (torque,) = torch.autograd.grad(work, q)
        reached = fingers & (distance.detach() < self.settings.max_distance_m)
        return pose.qpos + torque / self.stiffness, reached
