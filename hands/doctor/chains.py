"""Which bodies are the palm and which chains of bodies are fingers, by the tree of joints and where geometry is.

Bodies that no joint moves against each other are one rigid group. The palm is the first group, from the root on, that
several chains leave; a joint before it is a wrist.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from sceneleapultra.hands.description import Body, HandDescription

_COMPARABLE = 0.6  # of the longest branch: a shorter one is part of a linkage, or a cover
_MIN_REACH_M = 0.015


@dataclass(frozen=True)
class Chain:
    """One finger: its rigid groups of bodies, base to tip; the last has geometry.

    Attributes:
        groups: of each, the bodies with geometry, what reaches farthest last.
        moved: the body of each group that has its joint.
    """

    groups: tuple[tuple[str, ...], ...]
    moved: tuple[str, ...]

    @property
    def bodies(self) -> tuple[str, ...]:
        """All bodies, base to tip."""
        return tuple(body for group in self.groups for body in group)


@dataclass(frozen=True)
class Chains:
    """The parts of a hand: bodies of the palm, and fingers."""

    palm: tuple[str, ...]
    fingers: tuple[Chain, ...]


def moves(body: Body) -> bool:
    """Tell whether a body moves against its parent as the hand does; a joint that is held in place does not."""
    joint = body.joint
    return joint is not None and (joint.coupling is None or joint.coupling.leader is not None)


def find_chains(
    description: HandDescription,
    T_base_body: Float[np.ndarray, "bodies 4 4"],
    points: Mapping[str, Float[np.ndarray, "n 3"]],
) -> Chains:
    """Return palm and fingers.

    Args:
        description: of the hand.
        T_base_body: of its bodies, at a neutral pose.
        points: on the geometry of each body, in its frame; none for one without.
    """
    tree = _Tree(description, T_base_body, points)
    root = description.bodies[0].name
    palm = tree.group(root)
    while len(branches := tree.branches(palm)) == 1 and tree.splits(branches[0]):
        palm = tree.group(branches[0])
    long = [b for b in branches if tree.reach(b) >= _MIN_REACH_M]
    fingers = [chain for b in (long if len(long) > 1 else branches) for chain in tree.chains(b)]
    return Chains(tuple(palm), tuple(fingers))


class _Tree:
    def __init__(
        self,
        description: HandDescription,
        T_base_body: Float[np.ndarray, "bodies 4 4"],
        points: Mapping[str, Float[np.ndarray, "n 3"]],
    ) -> None:
        self._body = {body.name: body for body in description.bodies}
        self._origin = dict(zip(description.body_names, T_base_body[:, :3, 3], strict=True))
        self._placed = {
            name: points[name] @ T[:3, :3].T + T[:3, 3]
            for name, T in zip(description.body_names, T_base_body, strict=True)
        }
        self._children: dict[str, list[str]] = {name: [] for name in self._body}
        for body in description.bodies[1:]:
            assert body.parent is not None
            self._children[body.parent].append(body.name)

    def group(self, body: str) -> list[str]:
        """Return a body and those fixed to it."""
        found = [body]
        for name in found:
            found += [child for child in self._children[name] if not moves(self._body[child])]
        return found

    def branches(self, group: list[str]) -> list[str]:
        """Return the bodies that move against a group and carry geometry."""
        children = [child for name in group for child in self._children[name] if moves(self._body[child])]
        return [child for child in children if any(len(self._placed[name]) for name in self._below(child))]

    def splits(self, body: str) -> bool:
        """Tell whether several chains leave some group from a body on."""
        branches = self.branches(self.group(body))
        return len(branches) > 1 or (len(branches) == 1 and self.splits(branches[0]))

    def reach(self, body: str) -> float:
        """Return how far geometry reaches from the origin of a body that begins a branch."""
        points = np.concatenate([self._placed[name] for name in self._below(body)])
        return float(np.linalg.norm(points - self._origin[body], axis=1).max())

    def chains(self, body: str) -> list[Chain]:
        """Return the fingers that begin with a body: where several long branches leave a group, each is one."""
        groups: list[tuple[str, ...]] = []
        moved: list[str] = []
        while True:
            group = self.group(body)
            moved.append(body)
            branches = self.branches(group)
            groups.append(self._tip_last(group))
            reaches = [self.reach(b) for b in branches]
            long = [
                b for b, reach in zip(branches, reaches, strict=True) if reach >= _COMPARABLE * max(reaches)
            ]
            if len(long) > 1:
                return [chain for b in long for chain in self.chains(b)]
            if not long:
                return [Chain(tuple(groups), tuple(moved))]
            body = long[0]

    def _below(self, body: str) -> list[str]:
        found = [body]
        for name in found:
            found += self._children[name]
        return found

    def _tip_last(self, group: list[str]) -> tuple[str, ...]:
        """Leave frames without geometry out, and order a group so that what reaches farthest is last."""
        solid = [name for name in group if len(self._placed[name])] or group[:1]
        origin = self._origin[group[0]]
        farthest = [np.linalg.norm(self._placed[n] - origin, axis=1).max(initial=0.0) for n in solid]
        last = solid[int(np.argmax(farthest))]
        return (*(name for name in solid if name != last), last)
