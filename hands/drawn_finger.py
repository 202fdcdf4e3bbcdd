"""A finger of a drawn hand, and the bodies that it becomes: a row of capsules, each turned about its +y."""

from collections.abc import Iterator
from dataclasses import dataclass

from sceneleapultra.hands.description import IDENTITY_QUAT, Body, Joint, Primitive, Vector


@dataclass(frozen=True)
class DrawnFinger:
    """A finger before it becomes bodies.

    Attributes:
        pos: of its base in the palm's frame (m).
        quat_wxyz: of its base in the palm's frame.
        lengths: of its links, base to tip (m).
        radius: of its links (m).
        aside: greatest angle of the joint that moves it sideways; None without one.
        limits: of the joints that close it.
        rest: positions of the latter in the resting pose.
    """

    name: str
    pos: Vector
    quat_wxyz: Vector
    lengths: Vector
    radius: float
    aside: float | None
    limits: tuple[tuple[float, float], ...]
    rest: Vector

    @property
    def links(self) -> tuple[str, ...]:
        """Names of the links that close."""
        return tuple(f"{self.name}_{k}" for k in range(len(self.lengths)))

    @property
    def side(self) -> str:
        """Name of the body that moves sideways, and of its joint."""
        return f"{self.name}_side"

    def bodies(self) -> Iterator[Body]:
        """Yield its bodies, base to tip."""
        parent, pos, quat = "palm", self.pos, self.quat_wxyz
        if self.aside is not None:
            joint = Joint(self.side, (1.0, 0.0, 0.0), -self.aside, self.aside)
            knuckle = Primitive("sphere", (self.radius,))
            yield Body(self.side, parent, pos, quat, joint, None, (knuckle,))
            parent, pos, quat = self.side, (0.0, 0.0, 0.0), IDENTITY_QUAT
        for name, length, (low, high) in zip(self.links, self.lengths, self.limits, strict=True):
            capsule = Primitive("capsule", (self.radius, length / 2), (0.0, 0.0, length / 2))
            yield Body(name, parent, pos, quat, Joint(name, (0.0, 1.0, 0.0), low, high), None, (capsule,))
            parent, pos, quat = name, (0.0, 0.0, length), IDENTITY_QUAT
