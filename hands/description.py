"""What a hand is made of: bodies in a tree, one joint each at most, primitive geometry, and the meaning of its parts.

Every source (our YAML, a URDF, an MJCF) becomes one ``HandDescription``; kinematics, distances, energies and the
simulated model all read it, so they cannot disagree.
"""

import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from sceneleapultra.utils.core.names import unknown_name

Vector = tuple[float, ...]
Shape = Literal["box", "capsule", "cylinder", "sphere", "convex"]
SHAPES: tuple[Shape, ...] = ("box", "capsule", "cylinder", "sphere", "convex")
IDENTITY_QUAT: Vector = (1.0, 0.0, 0.0, 0.0)
SLIDE_M_PER_RAD = (
    0.05  # how far a slide moves where a hinge would turn by one radian: the arm of a short finger
)


def tuples(raw: Mapping[Any, Any]) -> dict[str, Any]:
    """Turn what YAML gives into field values: lists into tuples, their whole numbers into floats."""

    def convert(value: Any, in_list: bool = False) -> Any:
        if isinstance(value, list | tuple):
            return tuple(convert(v, in_list=True) for v in value)
        if isinstance(value, Mapping):
            return {str(k): convert(v) for k, v in value.items()}
        return float(value) if in_list and isinstance(value, int) else value

    return {str(k): convert(v) for k, v in raw.items()}


@dataclass(frozen=True)
class Primitive:
    """A solid in its body's frame. ``size`` as in MuJoCo: box half extents; capsule and cylinder (radius, half
    length, along z); sphere (radius,). A convex piece has vertices in the primitive's frame instead.
    """

    shape: Shape
    size: Vector
    pos: Vector = (0.0, 0.0, 0.0)
    quat_wxyz: Vector = IDENTITY_QUAT
    vertices: tuple[Vector, ...] = ()
    friction: Vector = ()  # empty: the hand's default


@dataclass(frozen=True)
class Coupling:
    """How a joint follows another one: by a piecewise polynomial of the other's position.

    From each knot on (the first also below it), ``q = sum_i coefficients[knot][i] * (q_leader - knot)^i``. Without a
    leader, ``q`` is the one constant.
    """

    leader: str | None
    knots: Vector
    coefficients: tuple[Vector, ...]


@dataclass(frozen=True)
class Joint:
    """A hinge or a slide: ``axis`` through ``pos`` in the child body's frame, where it was placed at ``ref``.

    Positions and limits are in radians, those of a slide in metres. A joint with a coupling is no number of a pose: it
    follows.
    """

    name: str
    axis: Vector
    lower: float
    upper: float
    pos: Vector = (0.0, 0.0, 0.0)
    ref: float = 0.0
    slide: bool = False
    coupling: Coupling | None = None


@dataclass(frozen=True)
class Inertial:
    """Mass properties: principal moments in a frame at the center of mass."""

    mass: float
    pos: Vector
    quat_wxyz: Vector
    moments: Vector


@dataclass(frozen=True)
class Body:
    """A rigid body, placed in its parent's frame at zero joint angle. The root has no parent."""

    name: str
    parent: str | None
    pos: Vector
    quat_wxyz: Vector
    joint: Joint | None
    inertial: Inertial | None
    primitives: tuple[Primitive, ...]


@dataclass(frozen=True)
class Actuation:
    """Position servos and contact parameters that the simulated model gets unless a protocol overrides them."""

    kp: float
    kv: float
    damping: float
    frictionloss: float
    armature: float
    friction: Vector
    solref: Vector
    solimp: Vector


@dataclass(frozen=True)
class Palm:
    """Where the hand grasps, in the base frame; ``center`` lies on the palm's surface."""

    center: Vector
    direction: Vector  # out of the grasping side
    finger_direction: Vector  # along the stretched fingers


@dataclass(frozen=True)
class ContactPatch:
    """Which part of a fingertip may touch: surface of one primitive, by the direction of its normal."""

    body: str
    primitive: int  # index among the body's primitives
    pad_direction: Vector  # body frame, out of the pad
    distal_direction: Vector  # body frame, towards the tip


@dataclass(frozen=True)
class Semantics:
    """What no URDF or MJCF says; None means not known."""

    palm: Palm | None = None
    fingers: dict[str, tuple[str, ...]] | None = None  # finger -> its bodies, base to tip
    thumb: str | None = None  # key of ``fingers``
    flexion_sign: dict[str, int] | None = None
    rest_qpos: dict[str, float] | None = None
    contacts: tuple[ContactPatch, ...] | None = None
    keypoint_radius: float | None = None
    keypoints: dict[str, tuple[Vector, ...]] | None = None


@dataclass(frozen=True)
class HandDescription:
    """A complete hand. ``bodies`` are ordered parents first; joints are numbered in that order."""

    name: str
    bodies: tuple[Body, ...]
    actuation: Actuation
    semantics: Semantics
    excludes: tuple[tuple[str, str], ...] = ()  # body pairs that never collide, besides parent and child
    source_mjcf: str | None = None  # the model's own text, where the hand came as MJCF
    mesh_assets: dict[str, bytes] = field(default_factory=dict)
    T_world_root: tuple[Vector, ...] = tuple(
        tuple(row) for row in np.eye(4).tolist()
    )  # root in its source's world

    def __post_init__(self) -> None:
        known: set[str] = set()
        for body in self.bodies:
            if (body.parent is None) == bool(known) or (body.parent is not None and body.parent not in known):
                raise ValueError(
                    f"Hand '{self.name}': body '{body.name}' has parent {body.parent!r}, but a body's parent must "
                    "stand before it, and only the first body has none. Reorder `bodies`."
                )
            if body.name in known:
                raise ValueError(f"Hand '{self.name}': two bodies are named '{body.name}'. Rename one.")
            known.add(body.name)
        if not self.joints:
            raise ValueError(
                f"Hand '{self.name}' has no joint that moves by itself. Expected at least one `joint` in `bodies`."
            )
        for follower, coupling in self.couplings.items():
            if (leader := coupling.leader) not in (None, *self.joint_names):
                raise ValueError(
                    f"Hand '{self.name}': joint '{follower}' follows '{leader}', which is no joint that moves by "
                    f"itself. Those are: {', '.join(self.joint_names)}."
                )
        for pair in self.excludes:
            self._known_bodies("excluded body", pair)
        semantics = self.semantics
        for finger in (semantics.fingers or {}).values():
            self._known_bodies("finger body", finger)
        self._known_bodies("keypoint body", semantics.keypoints or {})
        self._known_bodies("contact body", [patch.body for patch in semantics.contacts or ()])
        if semantics.thumb is not None and semantics.thumb not in (semantics.fingers or {}):
            raise unknown_name("finger as thumb", semantics.thumb, semantics.fingers or {})
        if (semantics.keypoints is None) != (semantics.keypoint_radius is None):
            raise ValueError(
                f"Hand '{self.name}': give `keypoints` and `keypoint_radius` together, or neither."
            )
        if semantics.contacts is not None and semantics.fingers is None:
            raise ValueError(
                f"Hand '{self.name}': `contacts` need `fingers`, to say which finger each belongs to."
            )
        for label, table in (("flexion_sign", semantics.flexion_sign), ("rest_qpos", semantics.rest_qpos)):
            if table is not None and set(table) != set(self.joint_names):
                odd = sorted(set(table) ^ set(self.joint_names))
                raise ValueError(
                    f"Hand '{self.name}': `{label}` must name every joint once; check {', '.join(odd)}. "
                    f"Joints: {', '.join(self.joint_names)}."
                )

    @property
    def joints(self) -> tuple[Joint, ...]:
        """Joints that move by themselves, in the order of their bodies: the numbers of a pose."""
        return tuple(joint for joint in self._every_joint if joint.coupling is None)

    @property
    def followers(self) -> tuple[Joint, ...]:
        """Joints that follow others, in the order of their bodies."""
        return tuple(joint for joint in self._every_joint if joint.coupling is not None)

    @property
    def couplings(self) -> dict[str, Coupling]:
        """What each follower does, in the order of ``followers``."""
        return {joint.name: joint.coupling for joint in self.followers if joint.coupling is not None}

    @property
    def _every_joint(self) -> tuple[Joint, ...]:
        return tuple(body.joint for body in self.bodies if body.joint is not None)

    @property
    def joint_names(self) -> tuple[str, ...]:
        """The joint order of every pose vector of this hand."""
        return tuple(joint.name for joint in self.joints)

    @property
    def body_names(self) -> tuple[str, ...]:
        """Bodies, the root first."""
        return tuple(body.name for body in self.bodies)

    def palm_bodies(self) -> tuple[str, ...]:
        """Return the root and the bodies that are joined to it without a joint."""
        palm: list[str] = []
        for body in self.bodies:
            if body.parent is None or (body.joint is None and body.parent in palm):
                palm.append(body.name)
        return tuple(palm)

    def non_colliding(self) -> list[tuple[str, str]]:
        """Pairs of bodies whose overlap is no collision, in body order: the excluded ones, and neighbors in the tree.

        Bodies joined without a hinge count as one link; a link, its own bodies and its parent link are neighbors.
        """
        link: dict[str, str] = {}
        parent_link: dict[str, str | None] = {}
        for body in self.bodies:
            fixed = body.parent is not None and body.joint is None
            link[body.name] = link[body.parent] if fixed and body.parent else body.name
            if not fixed:
                parent_link[body.name] = link[body.parent] if body.parent else None
        excluded = {frozenset(pair) for pair in self.excludes}
        pairs = []
        for first, second in itertools.combinations(self.body_names, 2):
            a, b = link[first], link[second]
            if a == b or parent_link[a] == b or parent_link[b] == a or frozenset((first, second)) in excluded:
                pairs.append((first, second))
        return pairs

    def table_hash(self) -> str:
        """Digest of what gives a pose vector its meaning: tree, transforms, axes, limits and geometry."""
        table: list[Any] = [asdict(body) for body in self.bodies]
        for body in table:
            body["inertial"] = None
            for key in (
                "slide",
                "coupling",
            ):  # not in the table where a joint is a hinge that moves by itself
                if body["joint"] is not None and not body["joint"][key]:
                    del body["joint"][key]
        text = json.dumps(table, sort_keys=True, default=float)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _known_bodies(self, kind: str, names: Any) -> None:
        for name in names:
            if name not in self.body_names:
                raise unknown_name(kind, name, self.body_names)
