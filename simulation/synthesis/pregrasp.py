"""How a hand opens before a grasp: all closing joints by one angle, as wide as there is room."""

import numpy as np
import torch
from jaxtyping import Float

from sceneleapultra.hands import GraspPose
from sceneleapultra.simulation.synthesis.base import Target


@torch.no_grad()
def open_hand(
    target: Target,
    T_world_base: Float[np.ndarray, "g 4 4"],
    qpos: Float[np.ndarray, "g j"],
    openings_rad: tuple[float, ...],
    clearance_m: float,
) -> Float[np.ndarray, "g j"]:
    """Return the pre-grasp of each grasp: the first opening that leaves the hand clear, else the last.

    Clear: nowhere nearer than ``clearance_m`` to the object, the table and the neighbors.
    """
    hand = target.hand
    limits, closing = hand.joint_limits.numpy(), hand.closing.numpy()
    pose = torch.as_tensor(T_world_base, dtype=torch.float32)
    chosen, open_yet = np.array(qpos, dtype=float), np.zeros(len(qpos), dtype=bool)
    for opening in openings_rad:
        left = np.flatnonzero(~open_yet)
        if not len(left):
            break
        candidate = np.clip(qpos[left] - opening * closing, limits[:, 0], limits[:, 1])
        joints = torch.as_tensor(candidate, dtype=torch.float32)
        balls = target.balls.world(GraspPose.from_matrix(pose[left], joints))
        gap = (target.distance.target(balls.centers) - balls.radii).amin(-1)
        gap = torch.minimum(gap, target.distance.clearance(balls))
        chosen[left] = candidate
        open_yet[left] = gap.numpy() >= clearance_m
    return chosen
