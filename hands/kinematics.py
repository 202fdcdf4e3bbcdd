"""Where the bodies are: batched differentiable forward kinematics of a tree of joints, one step per tree level.

The local transform of a body is affine in (sin q, cos q) of its hinge's angle (Rodrigues):
``L(q) = C0 + sin(q) C1 + cos(q) C2``, with constant 4x4 matrices, C1 = C2 = 0 for fixed bodies. That of a slide is
``C0 + q C1``.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sceneleapultra.hands.couplings import Couplings
from sceneleapultra.hands.description import Body, HandDescription, Vector


class KinematicTree(nn.Module):
    """Forward kinematics of one hand; bodies in the description's order."""

    C0: Tensor
    C12: Tensor
    phases: Tensor
    joint_of_body: Tensor
    slides: Tensor
    from_levels: Tensor  # where each body is, level after level

    def __init__(self, description: HandDescription, dtype: torch.dtype) -> None:
        super().__init__()
        names = description.body_names
        parents = [-1 if b.parent is None else names.index(b.parent) for b in description.bodies]
        depth: list[int] = []
        for parent in parents:
            depth.append(0 if parent < 0 else depth[parent] + 1)
        levels = [[i for i, d in enumerate(depth) if d == level] for level in range(max(depth) + 1)]
        order = [i for level in levels for i in level]
        self.couplings = Couplings(description.joint_names, description.couplings, dtype)
        ref = {joint.name: joint.ref for joint in (*description.joints, *description.followers)}
        joint_of_body = [
            0 if (joint := description.bodies[i].joint) is None else self.couplings.names.index(joint.name)
            for i in order
        ]
        slides = [(joint := description.bodies[i].joint) is not None and joint.slide for i in order]
        constants = np.stack([_local_constants(description.bodies[i], ref) for i in order])
        flat = torch.tensor(constants.reshape(len(order), 3, 16), dtype=dtype)
        self.register_buffer("C0", flat[:, :1].contiguous(), persistent=False)
        self.register_buffer("C12", flat[:, 1:].contiguous(), persistent=False)
        # A cosine is the sine of a quarter of a turn further.
        self.register_buffer("phases", torch.tensor([0.0, math.pi / 2], dtype=dtype), persistent=False)
        self.register_buffer("slides", torch.tensor(slides)[:, None, None], persistent=False)
        self._any_slides = any(slides)
        self.register_buffer("joint_of_body", torch.tensor(joint_of_body), persistent=False)
        self.register_buffer("from_levels", torch.tensor(np.argsort(order)), persistent=False)
        self._sizes = [len(level) for level in levels]
        # A root without a joint is the base frame itself: what it carries is where its own transform puts it.
        self._first = 1 if any(description.bodies[i].joint is not None for i in levels[0]) else 2
        for number, level in enumerate(levels[1:], start=1):
            above = {body: k for k, body in enumerate(levels[number - 1])}
            index = [above[parents[i]] for i in level]
            in_order = index == list(range(len(above)))  # as in chains: nothing has to be moved
            held = None if in_order else torch.tensor(index)
            self.register_buffer(f"_parent_{number}", held, persistent=False)

    def forward(self, qpos: Float[Tensor, "*b j"]) -> Float[Tensor, "*b bodies 4 4"]:
        """Return ``T_base_body`` for joint angles in the hand's joint order."""
        T_base_body = torch.cat(self.levels(qpos)).index_select(0, self.from_levels).transpose(0, 1)
        return T_base_body.reshape(*qpos.shape[:-1], len(self.from_levels), 4, 4)

    def levels(self, qpos: Float[Tensor, "*b j"]) -> list[Float[Tensor, "n m 16"]]:
        """Return the transforms of the n bodies of each level of the tree, for all m poses; see ``from_levels``."""
        # Bodies first, so that those of a level are contiguous, and their products one batch.
        motion = self.couplings(qpos).reshape(-1, len(self.couplings.names)).T
        motion = motion.index_select(0, self.joint_of_body)[..., None] + self.phases
        waves = motion.sin()
        if self._any_slides:
            waves = torch.where(self.slides, motion, waves)
        local = torch.baddbmm(self.C0, waves, self.C12)
        levels = list(local.split(self._sizes))
        for number in range(self._first, len(levels)):
            above, index = levels[number - 1], getattr(self, f"_parent_{number}")
            parent = above if index is None else above.index_select(0, index)
            product = torch.bmm(parent.reshape(-1, 4, 4), levels[number].reshape(-1, 4, 4))
            levels[number] = product.view_as(levels[number])
        return levels


def rotation_matrix(quat_wxyz: Vector) -> Float[np.ndarray, "3 3"]:
    """Turn one quaternion, normalized here, into a matrix, in double precision."""
    w, *xyz = np.asarray(quat_wxyz, dtype=np.float64) / np.linalg.norm(quat_wxyz)
    K = _skew(np.array(xyz))
    return np.eye(3) + 2 * w * K + 2 * K @ K


def homogeneous(pos: Vector, quat_wxyz: Vector) -> Float[np.ndarray, "4 4"]:
    """Join a position and an orientation, in double precision."""
    T = np.eye(4)
    T[:3, :3] = rotation_matrix(quat_wxyz)
    T[:3, 3] = pos
    return T


def _local_constants(body: Body, ref: Mapping[str, float]) -> Float[np.ndarray, "3 4 4"]:
    # The root is the base frame itself, wherever its source put it.
    T = np.eye(4) if body.parent is None else homogeneous(body.pos, body.quat_wxyz)
    constants = np.zeros((3, 4, 4))
    constants[0] = T
    if body.joint is None:
        return constants
    axis = np.asarray(body.joint.axis, dtype=np.float64) / np.linalg.norm(body.joint.axis)
    rest = ref[body.joint.name]
    if body.joint.slide:
        constants[1, :3, 3] = T[:3, :3] @ axis
        constants[0] -= rest * constants[1]
        return constants
    # T + sin(a) by_sin + (1 - cos(a)) by_cos with a = q - ref, sorted by sin(q) and cos(q).
    by_sin, by_cos = np.zeros((2, 4, 4))
    K = _skew(axis)
    for by, part in ((by_sin, K), (by_cos, K @ K)):
        by[:3, :3] = T[:3, :3] @ part
        by[:3, 3] = -T[:3, :3] @ part @ np.asarray(body.joint.pos)
    sin, cos = np.sin(rest), np.cos(rest)
    return np.stack([T + by_cos, cos * by_sin - sin * by_cos, -sin * by_sin - cos * by_cos])


def _skew(v: np.ndarray) -> Float[np.ndarray, "3 3"]:
    return np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
