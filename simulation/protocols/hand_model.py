"""A hand as the simulator needs it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sceneleapultra.hands.description import Coupling

if TYPE_CHECKING:
    from sceneleapultra.hands import Hand


@dataclass(frozen=True)
class HandModel:
    """A hand as the simulator needs it: plain data, so that it travels to worker processes."""

    mjcf: str
    assets: Mapping[str, bytes]
    base_body: str  # its frame is what a base pose places; "world" for the frame of the MJCF
    joint_names: tuple[str, ...]  # in the order of a grasp's joints
    contact_bodies: tuple[str, ...]  # links that count as touching
    finger_bodies: Mapping[str, tuple[str, ...]]
    # Unit vector out of the palm, in the base frame; None where the hand's description does not say.
    palm_direction: tuple[float, float, float] | None = None
    thumb: str | None = None  # name of the finger that is the thumb; None likewise
    followers: Mapping[str, Coupling] = field(
        default_factory=dict
    )  # what each other joint of the MJCF follows

    @classmethod
    def from_hand(cls, hand: "Hand") -> "HandModel":
        """Take what is needed of a hand; links that count: the palm, and all but the first of each longer finger."""
        fingers = {finger: tuple(bodies) for finger, bodies in hand.finger_bodies.items()}
        palm = hand.semantics.palm_direction
        return cls(
            mjcf=hand.to_mjcf(),
            assets=dict(hand.mesh_assets),
            base_body=hand.root_body,
            joint_names=tuple(hand.joint_names),
            contact_bodies=(
                *hand.description.palm_bodies(),
                *(body for finger in fingers for body in hand.beyond_base(finger)),
            ),
            finger_bodies=fingers,
            palm_direction=None if palm is None else tuple(palm.tolist()),
            thumb=hand.semantics.thumb,
            followers=hand.description.couplings,
        )
