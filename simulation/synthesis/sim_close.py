"""Grasps by closing: hands are placed about the object, and a simulation closes their fingers."""

from dataclasses import dataclass

import numpy as np

from sceneleapultra.simulation.protocols.motion import pose_from_matrix
from sceneleapultra.simulation.synthesis.base import Candidates, Proposer, Synthesis, Target
from sceneleapultra.simulation.synthesis.closing import Closer, ClosingSettings
from sceneleapultra.simulation.synthesis.placement import PlacementSettings, Placer
from sceneleapultra.simulation.synthesis.pregrasp import open_hand
from sceneleapultra.utils.records import Grasps


@dataclass(frozen=True, kw_only=True)
class SimClose(Synthesis):
    """Settings of the method; ``config/synthesis/sim_close.yaml`` explains each."""

    placement: PlacementSettings
    closing: ClosingSettings
    openings_rad: tuple[float, ...]
    pregrasp_clearance_m: float

    def proposer(self, target: Target) -> Proposer:
        """Compile the closing of one target."""
        return _Closing(self, target)


class _Closing(Proposer):
    def __init__(self, settings: SimClose, target: Target) -> None:
        self.settings, self.target = settings, target
        self.placer = Placer(target, settings.placement)
        self.closer = Closer(target, settings.closing)

    def propose(self, n: int, rng: np.random.Generator) -> Candidates:
        """Place hands and close them; the grasp is where the fingers stopped, the squeeze what they still aimed at."""
        placed = self.placer.draw(n, rng)
        T, qpos, rates = (x.numpy().astype(np.float64) for x in placed[:3])
        closed = [self.closer.close(*row) for row in zip(T, qpos, rates, strict=True)]
        j = self.target.hand.num_joints
        T_world_base = np.array([c.T_world_base for c in closed]).reshape(-1, 4, 4)
        grasp = np.array([c.qpos for c in closed]).reshape(-1, j)
        poses = np.array([pose_from_matrix(T) for T in T_world_base]).reshape(-1, 7)
        pregrasp = open_hand(
            self.target, T_world_base, grasp, self.settings.openings_rad, self.settings.pregrasp_clearance_m
        )
        grasps = Grasps(
            hand_pose=np.concatenate([poses[:, :3], grasp, poses[:, 3:]], axis=1),
            pregrasp_qpos=pregrasp,
            squeeze_qpos=np.array([c.squeeze_qpos for c in closed]).reshape(-1, j),
        )
        return Candidates(grasps, np.array([c.touching.sum() for c in closed], dtype=int))
