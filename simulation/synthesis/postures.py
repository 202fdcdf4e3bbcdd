"""How a hand can hold its fingertips against its thumb: postures drawn once, from which every pinch starts."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sceneleapultra.hands import GraspPose, Hand, energies
from sceneleapultra.hands.fingertips import Fingertips


@dataclass(frozen=True, kw_only=True)
class PostureSettings:
    """How postures are drawn; ``config/synthesis/fingertips.yaml`` says what each number means."""

    drawn: int
    range_rad: float
    idle_rad: tuple[float, float]
    min_opposition: float
    min_palm_m: float


class Postures(NamedTuple):
    """Hands in their base frame, whose thumb opposes one or more fingers."""

    used: Bool[Tensor, "f"]  # which fingers take part
    rank: Float[Tensor, "f"]  # their places side by side, to the left of the axis as seen from the palm
    qpos: Float[Tensor, "p j"]
    middle: Float[Tensor, "p 3"]  # between the tip of the thumb and those of the fingers
    axis: Float[Tensor, "p 3"]  # unit vector from the former to the latter
    up: Float[Tensor, "p 3"]  # unit vector across it, towards the palm
    width_m: Float[Tensor, "p"]  # between the surfaces of their balls


def finger_sets(hand: Hand, counts: tuple[int, ...]) -> Bool[Tensor, "k f"]:
    """Return which fingers may take part: the thumb with one other, or with two neighbors.

    Raises:
        ValueError: the hand has no other finger, or a count of other fingers that is neither 1 nor 2.
    """
    others = [f for f, name in enumerate(hand.finger_names) if name != hand.thumb]
    if not set(counts) <= {1, 2} or not counts or not others:
        raise ValueError(
            f"fingers: expected [1], [2] or [1, 2] fingers against the thumb of a hand that has others, got "
            f"{list(counts)} for hand '{hand.name}' with fingers {', '.join(hand.finger_names)}."
        )
    chosen: list[tuple[int, ...]] = [(f,) for f in others] if 1 in counts else []
    chosen += list(pairwise(others)) if 2 in counts else []
    used = torch.zeros(len(chosen), len(hand.finger_names), dtype=torch.bool)
    for row, fingers in zip(used, chosen, strict=True):
        row[[*fingers, hand.finger_names.index(hand.thumb)]] = True
    return used


@lru_cache(maxsize=2)
def all_postures(hand: Hand, counts: tuple[int, ...], settings: PostureSettings) -> tuple[Postures, ...]:
    """Return the postures of each set of fingers that has some: the same for every object."""
    tips, rng = Fingertips(hand), np.random.default_rng(0)
    drawn = [draw_postures(tips, used, settings, rng) for used in finger_sets(hand, counts)]
    return tuple(postures for postures in drawn if len(postures.qpos))


@torch.no_grad()
def draw_postures(
    tips: Fingertips, used: Bool[Tensor, "f"], settings: PostureSettings, rng: np.random.Generator
) -> Postures:
    """Draw postures in which the pads of thumb and fingers look at each other, and the palm is well behind them."""
    s, hand = settings, tips.hand
    limits, rest = hand.joint_limits.numpy(), hand.rest_qpos.numpy()
    span = s.range_rad * hand.joint_scale.numpy()
    low, high = np.maximum(limits[:, 0], rest - span), np.minimum(limits[:, 1], rest + span)
    qpos = rng.uniform(low, high, size=(s.drawn, len(rest)))
    # Fingers that take no part are stretched out of the way, or curled, all of a hand alike.
    idle = np.asarray(s.idle_rad)[rng.integers(0, 2, size=(s.drawn, 1))]
    put_away = (rest + idle * hand.closing.numpy()).clip(limits[:, 0], limits[:, 1])
    qpos = np.where(_moves(hand, used), qpos, put_away)
    q = torch.as_tensor(qpos, dtype=torch.float32)
    centers, pads = tips.place(torch.eye(4).expand(len(q), 4, 4), q)
    thumb = hand.finger_names.index(hand.thumb)
    fingers = used.clone()
    fingers[thumb] = False
    ends = centers[:, fingers].mean(1)
    axis = ends - centers[:, thumb]
    distance = axis.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    axis = axis / distance
    opposed = torch.minimum(
        (pads[:, thumb] * axis).sum(-1), -(pads[:, fingers] * axis[:, None]).sum(-1).amax(-1)
    )
    middle = (ends + centers[:, thumb]) / 2
    up = hand.palm_center - middle
    up = up - (up * axis).sum(-1, keepdim=True) * axis
    height = up.norm(dim=-1, keepdim=True)
    width = distance[:, 0] - tips.radii[thumb] - tips.radii[fingers].mean()
    good = (opposed > s.min_opposition) & (height[:, 0] > s.min_palm_m) & (width > 0)
    rows = torch.nonzero(good)[:, 0]
    base = GraspPose.from_matrix(torch.eye(4).expand(len(rows), 4, 4), q[rows])
    rows = rows[energies.self_penetration(*hand.spheres(base), hand.sphere_pairs) == 0]
    up = (up / height)[rows]
    left = (centers[rows] * torch.linalg.cross(up, axis[rows])[:, None]).sum(-1)
    order = left.mean(0)[fingers].argsort().argsort() if len(rows) else torch.arange(int(fingers.sum()))
    rank = torch.zeros(len(used))
    rank[fingers] = order - (len(order) - 1) / 2
    return Postures(used, rank, q[rows], middle[rows], axis[rows], up, width[rows])


def _moves(hand: Hand, used: Bool[Tensor, "f"]) -> Bool[np.ndarray, "j"]:
    """Return the joints of the fingers that take part."""
    taking = {
        body
        for name, on in zip(hand.finger_names, used, strict=True)
        if on
        for body in hand.finger_bodies[name]
    }
    joints = {b.joint.name for b in hand.description.bodies if b.joint is not None and b.name in taking}
    return np.isin(hand.joint_names, sorted(joints))
