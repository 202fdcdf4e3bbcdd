"""A hand as rows of numbers that mean the same for every hand: what a network for many hands knows one by.

All of it is in the *palm's axes*: z out of the grasping side, y along the stretched fingers, the hand at rest and the
origin at the palm's center. Lengths are in decimetres, so that hands are of order one.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sceneleapultra.hands.description import HandDescription
from sceneleapultra.hands.hand import Hand

_UNIT_M = 0.1
KEYS = (
    "fingers",
    "thumb",
    "palm",
    "flexion_sign",
    "rest_qpos",
    "contacts",
    "keypoints",
)  # semantics it needs


class HandRows(nn.Module):
    """What is known of a hand's joints, bodies and points that may touch.

    Args:
        hand: whose description says all of its semantics.

    Attributes:
        kinds: how many numbers a row of each kind has.

    Raises:
        ValueError: the description leaves out what a row says.
    """

    hand: Float[Tensor, "1 f"]
    joint: Float[Tensor, "j f"]
    body: Float[Tensor, "n f"]
    point: Float[Tensor, "p f"]
    steps: Int[Tensor, "m m"]  # from body to body along the tree, for all rows in this order

    kinds: ClassVar[dict[str, int]] = {"hand": 6, "joint": 18, "body": 11, "point": 8}

    def __init__(self, hand: Hand) -> None:
        super().__init__()
        hand.check_semantics(KEYS, "A model for many hands")
        rest = _Rest(hand)
        rows = {"hand": rest.hand_row[None], "joint": rest.joints, "body": rest.bodies, "point": rest.points}
        for kind, row in rows.items():
            self.register_buffer(kind, row.to(torch.float32), persistent=False)
        owner = torch.cat([torch.zeros(1).long(), rest.joint_body, torch.arange(rest.num), rest.point_body])
        steps = _tree_steps(hand.description)
        self.register_buffer("steps", steps[owner][:, owner], persistent=False)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many rows of each kind there are, in the order of ``kinds``."""
        return tuple(len(getattr(self, kind)) for kind in self.kinds)


def palm_axes(hand: Hand) -> Float[Tensor, "3 3"]:
    """Return the palm's axes as columns in the base frame."""
    z = nn.functional.normalize(hand.palm_direction, dim=0)
    y = nn.functional.normalize(hand.finger_direction - (hand.finger_direction @ z) * z, dim=0)
    return torch.stack([torch.linalg.cross(y, z), y, z], dim=-1)


def contact_points(hand: Hand) -> tuple[Float[Tensor, "m p"], Int[Tensor, "p"]]:
    """Return the points at which a network asks for the nearest surface, and the body each is on.

    They are the key points of all links, then the middle of each finger's pad; both are linear in the bodies'
    transforms, see :class:`~sceneleapultra.hands.body_points.BodyPoints`.
    """
    keypoints, contacts = hand.require("keypoints"), hand.require("contacts")
    finger = nn.functional.one_hot(hand.contact_finger, len(hand.finger_names)).to(contacts.stacked)
    stacked = torch.cat([keypoints.stacked, contacts.stacked @ (finger / finger.sum(0))], dim=1)
    tips = [hand.body_names.index(name) for name in hand.fingertip_bodies]
    return stacked, torch.cat([keypoints.body, torch.tensor(tips, device=stacked.device)])


@dataclass
class _Rest:
    """A hand at rest, in its palm's axes."""

    source: Hand

    @cached_property
    def num(self) -> int:
        return len(self.source.body_names)

    @cached_property
    def frames(self) -> Float[Tensor, "n 4 4"]:
        hand = self.source
        T_base_palm = torch.eye(4, dtype=hand.palm_center.dtype)
        T_base_palm[:3, :3], T_base_palm[:3, 3] = palm_axes(hand), hand.palm_center
        return torch.linalg.inv(T_base_palm) @ hand.forward_kinematics(hand.rest_qpos)

    @cached_property
    def of_finger(self) -> dict[int, tuple[str, float]]:
        """Finger of each body that belongs to one, and how far along it the body is."""
        found = {}
        for finger, bodies in self.source.finger_bodies.items():
            for k, name in enumerate(bodies):
                found[self.source.body_names.index(name)] = finger, (k + 1) / len(bodies)
        return found

    @cached_property
    def tips(self) -> dict[str, Float[Tensor, "3"]]:
        """Middle of each finger's pad."""
        middle = self._placed(contact_points(self.source)[0])[-len(self.source.finger_names) :]
        return dict(zip(self.source.finger_names, middle, strict=True))

    def _placed(self, stacked: Float[Tensor, "m p"]) -> Float[Tensor, "p 3"]:
        return (self.frames[:, :3].movedim(1, 0).flatten(1) @ stacked).T / _UNIT_M

    def _flags(self, body: int) -> list[float]:
        """Whether a body is the thumb's, a fingertip, of no finger; how far along its finger."""
        finger, along = self.of_finger.get(body, ("", 0.0))
        return [finger == self.source.thumb, along == 1.0, not finger, along]

    @cached_property
    def extents(self) -> Float[Tensor, "n 2 3"]:
        """Least and greatest coordinates of each body's surface; its origin where it has none."""
        hand = self.source
        surface = hand._surface
        placed = self._placed(surface.stacked)
        origin = self.frames[:, :3, 3] / _UNIT_M
        rows = []
        for i in range(self.num):
            own = placed[surface.body == i] if (surface.body == i).any() else origin[i][None]
            rows.append(torch.stack([own.amin(0), own.amax(0)]))
        return torch.stack(rows)

    @cached_property
    def joint_body(self) -> Int[Tensor, "j"]:
        moved = {b.joint.name: i for i, b in enumerate(self.source.description.bodies) if b.joint is not None}
        return torch.tensor([moved[name] for name in self.source.joint_names])

    @cached_property
    def point_body(self) -> Int[Tensor, "p"]:
        return contact_points(self.source)[1]

    @cached_property
    def joints(self) -> Float[Tensor, "j f"]:
        hand, rows = self.source, []
        for k, (joint, body) in enumerate(
            zip(hand.description.joints, self.joint_body.tolist(), strict=True)
        ):
            T, scale = self.frames[body], hand.joint_scale[k]
            place = (T[:3, :3] @ torch.tensor(joint.pos, dtype=T.dtype) + T[:3, 3]) / _UNIT_M
            axis = nn.functional.normalize(torch.tensor(joint.axis, dtype=T.dtype), dim=0)
            axis = T[:3, :3] @ axis
            finger, _ = self.of_finger.get(body, ("", 0.0))
            tip = self.tips.get(finger, place) - place
            limits = (hand.joint_limits[k] - hand.rest_qpos[k]) / scale
            thumb, _, palm, along = self._flags(body)
            facts = [
                *limits,
                hand.rest_qpos[k] / scale,
                hand.flexion_sign[k],
                joint.slide,
                thumb,
                palm,
                along,
            ]
            rows.append(
                torch.cat([place, axis, tip, tip.norm()[None], torch.tensor([float(x) for x in facts])])
            )
        return torch.stack(rows)

    @cached_property
    def bodies(self) -> Float[Tensor, "n f"]:
        low, high = self.extents.unbind(1)
        flags = torch.tensor([[float(x) for x in self._flags(i)] for i in range(self.num)])
        distance = ((low + high) / 2).norm(dim=-1, keepdim=True)
        return torch.cat([(low + high) / 2, (high - low) / 2, flags, distance], dim=-1)

    @cached_property
    def points(self) -> Float[Tensor, "p f"]:
        stacked, body = contact_points(self.source)
        flags = torch.tensor([[float(x) for x in self._flags(i)] for i in body.tolist()])
        pad = torch.zeros(len(body), 1)
        pad[-len(self.source.finger_names) :] = 1.0
        return torch.cat([self._placed(stacked), flags, pad], dim=-1)

    @cached_property
    def hand_row(self) -> Float[Tensor, "f"]:
        low, high = self.extents[:, 0].amin(0), self.extents[:, 1].amax(0)
        counts = torch.tensor([self.source.num_joints / 16.0, len(self.source.finger_names) / 4.0])
        reach = torch.stack(list(self.tips.values())).norm(dim=-1).amax()
        return torch.cat([counts, reach[None], (high - low) / 2])


def _tree_steps(description: HandDescription) -> Int[Tensor, "n n"]:
    """Return how many joints or fixed links lie between two bodies."""
    names = description.body_names
    n = len(names)
    steps = torch.full((n, n), n)
    steps.fill_diagonal_(0)
    for i, body in enumerate(description.bodies):
        if body.parent is not None:
            above = names.index(body.parent)
            steps[i, above] = steps[above, i] = 1
    for k in range(n):  # Floyd and Warshall's shortest ways
        steps = torch.minimum(steps, steps[:, k, None] + steps[None, k])
    return steps
