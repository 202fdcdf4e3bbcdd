"""What is measured of a grasp at its grasp pose, nothing moving: a metric is one column and one function.

A metric from outside the project is a function that returns a ``Metric``, named by ``_target_`` in the configuration::

    # my_package/metrics.py
    def palm_height() -> Metric:
        column = Column("palm_height_m", "f8", "Height of the palm above the table.", unit="m", shown_unit="mm")
        return Metric(column, lambda state: float(state.world.data.body("hand/palm").xpos[2]))

    python test_lightning.py ... "+metrics.palm={_target_: my_package.metrics.palm_height}"
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from sceneleapultra.simulation.protocols.world import World
from sceneleapultra.utils.columns import COLUMNS, Column
from sceneleapultra.utils.parts import Part, parts_at
from sceneleapultra.utils.records import GraspType


@dataclass(frozen=True, kw_only=True)
class ContactSettings:
    """How contacts are measured; ``config/protocol/contacts`` says what each number means."""

    metric_margin_m: float
    touch_distance_m: float


@dataclass(frozen=True)
class GraspState:
    """A world with the hand at the grasp pose; contacts of the target are reported up to a margin."""

    world: World
    settings: ContactSettings

    @cached_property
    def target_contacts(self) -> tuple[Int[np.ndarray, "c"], Float[np.ndarray, "c"]]:
        """Bodies of the hand near the target, and their distances."""
        return self.world.contacts.with_target(self.world.data)

    @cached_property
    def finger_distance_m(self) -> Float[np.ndarray, "f"]:
        """Distance of each finger to the target, at most the margin, negative inside."""
        bodies, gaps = self.target_contacts
        fingers = map(self.world.contacts.hand_bodies, self.world.hand.finger_bodies.values())
        margin = self.settings.metric_margin_m
        return np.array([gaps[np.isin(bodies, finger)].min(initial=margin) for finger in fingers])

    @cached_property
    def part_contacts(self) -> tuple[Int[np.ndarray, "c"], Float[np.ndarray, "c"], Int[np.ndarray, "c"]]:
        """Links that touch the target, the distances of their contacts, and the part that each contact is on."""
        links, gaps = self.target_contacts
        piece, position = self.world.contacts.places_on_target(self.world.data)
        near = gaps < self.settings.touch_distance_m
        target = self.world.target
        if target.piece_part is None:
            parts = np.zeros(int(near.sum()), dtype=int)
        else:
            parts = parts_at(target.piece_part, target.pieces, piece[near], position[near]).astype(int)
        return links[near], gaps[near], parts


@dataclass(frozen=True)
class Metric:
    """One column and what measures it."""

    column: Column
    measure: Callable[[GraspState], float]


def penetration_m(state: GraspState) -> float:
    """Return the depth of the deepest point of the hand in the target, 0 outside."""
    return max(0.0, -state.world.hand_distance("target"))


def self_penetration_m(state: GraspState) -> float:
    """Return the depth of the deepest point of the hand in itself."""
    return max(0.0, -state.world.hand_distance("hand"))


def contact_links(state: GraspState) -> int:
    """Count the links that touch the target."""
    bodies, gaps = state.target_contacts
    near = bodies[np.abs(gaps) < state.settings.touch_distance_m]
    return int(np.isin(state.world.contacts.hand_bodies(state.world.hand.contact_bodies), near).sum())


def contact_distance_m(state: GraspState) -> float:
    """Return the mean over fingers of their distance, at most the margin."""
    return float(np.maximum(state.finger_distance_m, 0).mean())


def contact_consistency_m(state: GraspState) -> float:
    """Return the largest less least distance of a finger; 0 is best."""
    return float(state.finger_distance_m.max() - state.finger_distance_m.min())


def grasp_type(state: GraspState) -> GraspType:
    """Return the coarse class of the grasp, by which links touch the target at the grasp.

    ``PRECISION``: only last links of at least two fingers. ``LATERAL``: of the thumb only the last link, of the rest
    inner links of one finger, not its last, and no palm. ``POWER``: all else that touches. Source: Feix et al. 2016,
    "The GRASP Taxonomy of Human Grasp Types": power, precision and intermediate, by what opposes: palm, pads or sides.
    """
    bodies, gaps = state.target_contacts
    near = set(bodies[gaps < state.settings.touch_distance_m].tolist())
    hand, contacts = state.world.hand, state.world.contacts
    last, inner = {}, {}
    for finger, names in hand.finger_bodies.items():
        *before, end = contacts.hand_bodies(names).tolist()
        last[finger], inner[finger] = end in near, bool(near & set(before))
    others = [finger for finger in last if finger != hand.thumb]
    palm = bool(near - set(contacts.hand_bodies([n for names in hand.finger_bodies.values() for n in names])))
    if not near:
        return GraspType.UNKNOWN
    if not palm and not any(inner.values()) and sum(last.values()) >= 2:
        return GraspType.PRECISION
    sides = [finger for finger in others if inner[finger]]
    thumb = hand.thumb is not None and last[hand.thumb] and not inner[hand.thumb]
    if not palm and thumb and len(sides) == 1 and not any(last[finger] for finger in others):
        return GraspType.LATERAL
    return GraspType.POWER


def held_part(state: GraspState) -> Part:
    """Return the part that most of the touching links are on, each by its deepest contact.

    Of parts with equally many links, the one that is touched deepest; unnamed where nothing touches.
    """
    links, gaps, parts = state.part_contacts
    votes: dict[int, tuple[int, float]] = {}
    for link in np.unique(links):
        own = np.flatnonzero(links == link)
        deepest = own[gaps[own].argmin()]
        part = int(parts[deepest])
        count, depth = votes.get(part, (0, -np.inf))
        votes[part] = (count + 1, max(depth, -gaps[deepest]))
    return Part(max(votes, key=lambda part: votes[part], default=Part.UNNAMED))


def touched_parts(state: GraspState) -> int:
    """Return the parts with a contact, a bit for each that has a name."""
    return sum(Part(part).bit for part in np.unique(state.part_contacts[2]).tolist() if part)


# Source: DexGraspBench: PD, SPD, CLN, contact distance and contact distance consistency.
CONTACT_METRICS = tuple(
    Metric(COLUMNS[measure.__name__], measure)
    for measure in (
        penetration_m,
        self_penetration_m,
        contact_links,
        contact_distance_m,
        contact_consistency_m,
    )
)

# Not among what every evaluation measures: labels of grasps that are kept.
GRASP_TYPE = Metric(COLUMNS["grasp_type"], grasp_type)
PARTS = (Metric(COLUMNS["held_part"], held_part), Metric(COLUMNS["touched_parts"], touched_parts))
GRASP_LABELS = (GRASP_TYPE, *PARTS)
