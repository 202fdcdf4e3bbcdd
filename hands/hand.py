"""What a hand is to the rest of the project: kinematics, distances, surface, contacts, spheres, and its MJCF.

Frames: ``base`` is the root body's frame. Methods that take a ``GraspPose`` answer in the frame the pose is given in.
Axes beyond the usual ones: c contact candidates, k keypoints, s spheres.
"""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sceneleapultra.hands.body_points import BodyPoints
from sceneleapultra.hands.description import SLIDE_M_PER_RAD, HandDescription
from sceneleapultra.hands.geometry import PrimitiveSet
from sceneleapultra.hands.kinematics import KinematicTree
from sceneleapultra.hands.mjcf import to_mjcf
from sceneleapultra.hands.pose import GraspPose
from sceneleapultra.hands.sampling import primitive_mesh, sphere_set, surface_set
from sceneleapultra.hands.semantics import KEY_OF_ATTRIBUTE, HandSemantics

SURFACE_POINTS = 1024  # stored; any prefix of them is evenly spread
SURFACE_SEED = 0


class CollisionSpheres(NamedTuple):
    """Spheres that fill the hand, in body frames: a fast stand-in where exact distance is not needed."""

    centers: Float[Tensor, "s 3"]
    bodies: Int[Tensor, "s"]
    radii: Float[Tensor, "s"]


T = TypeVar("T")


class Known(Generic[T]):
    """An attribute of a hand that its source may not say; reading it then is refused with the key to add."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, hand: "Hand | None", owner: type | None = None) -> T:
        if hand is None:
            return self  # type: ignore[return-value]
        value: T = hand.require(self._name)
        return value


class Hand(nn.Module):
    """A hand, made from its description; everything it knows is a buffer, nothing is learned or saved.

    Example:
        >>> hand = load_hand("leap_right")
        >>> pose = GraspPose.from_hand_pose(torch.zeros(8, 3 + hand.num_joints + 4))
        >>> hand.signed_distance(torch.rand(8, 100, 3), pose).shape
        torch.Size([8, 100])
    """

    name: str
    joint_limits: Float[Tensor, "j 2"]
    joint_scale: Float[Tensor, "j"]  # what counts as one radian: 1 for a hinge, metres for a slide
    sphere_radii: Float[Tensor, "s"]
    sphere_pairs: Int[Tensor, "2 m"]  # spheres of bodies that must not overlap
    # Known by our own descriptions, and by foreign hands as far as their config/hand file says it:
    finger_bodies = Known[dict[str, tuple[str, ...]]]()  # base to tip
    finger_names = Known[tuple[str, ...]]()  # ``contact_finger`` counts in this order
    fingertip_bodies = Known[tuple[str, ...]]()
    thumb = Known[str]()
    palm_center = Known[Float[Tensor, "3"]]()
    palm_direction = Known[Float[Tensor, "3"]]()
    finger_direction = Known[Float[Tensor, "3"]]()
    flexion_sign = Known[Float[Tensor, "j"]]()
    rest_qpos = Known[Float[Tensor, "j"]]()
    contact_body = Known[Int[Tensor, "c"]]()
    contact_finger = Known[Int[Tensor, "c"]]()
    keypoint_radius = Known[Float[Tensor, ""]]()
    keypoint_pairs = Known[Int[Tensor, "2 m"]]()

    def __init__(self, description: HandDescription, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        if not any(body.primitives for body in description.bodies):
            raise ValueError(
                f"Hand '{description.name}' has no collision geometry. Expected primitives on its bodies: add "
                "`geometry` (YAML), <collision> (URDF) or colliding geoms (MJCF)."
            )
        self.description = description
        self.name = description.name
        self.joint_names = description.joint_names
        self.body_names = description.body_names
        self.root_body = self.body_names[0]
        self.num_joints = len(self.joint_names)
        self.all_joint_names = (*self.joint_names, *description.couplings)
        self.table_hash = description.table_hash()
        self.mesh_assets = dict(description.mesh_assets)
        self._dtype = dtype

        self.kinematics = KinematicTree(description, dtype)
        owned = [(i, p) for i, b in enumerate(description.bodies) for p in b.primitives]
        self.geometry = PrimitiveSet(owned, dtype)
        self._constant("joint_limits", [[j.lower, j.upper] for j in description.joints])
        self._constant("joint_scale", [SLIDE_M_PER_RAD if j.slide else 1.0 for j in description.joints])
        surface = surface_set(description, SURFACE_POINTS, SURFACE_SEED)
        self._surface = self._fixed(surface.points, surface.body)
        self._surface_normals = self._fixed(surface.normals, surface.body, vectors=True)
        spheres = sphere_set(description)
        self._spheres = self._fixed(spheres.centers, spheres.body)
        self._constant("sphere_radii", spheres.radii)
        self._constant("sphere_pairs", self._colliding_pairs(spheres.body), torch.int64)
        self.semantics = HandSemantics(description, self._fixed, self._colliding_pairs, dtype)

    @property
    def closing(self) -> Float[Tensor, "j"]:
        """How the joints move when the hand closes by one radian; a slide moves by ``joint_scale``."""
        return self.flexion_sign * self.joint_scale

    def beyond_base(self, finger: str) -> tuple[str, ...]:
        """Return the bodies of a finger that touch on purpose: without its first one, unless there is no other."""
        bodies = self.finger_bodies[finger]
        return bodies[1:] or bodies

    # Kinematics.

    def all_joints(self, qpos: Float[Tensor, "*b j"]) -> Float[Tensor, "*b q"]:
        """Return the positions of all joints, those that follow last: ``all_joint_names``."""
        return self.kinematics.couplings(qpos)

    def forward_kinematics(self, qpos: Float[Tensor, "*b j"]) -> Float[Tensor, "*b bodies 4 4"]:
        """Return ``T_base_body`` of every body, in ``body_names`` order; differentiable."""
        if qpos.shape[-1] != self.num_joints:
            raise ValueError(
                f"Hand '{self.name}' has {self.num_joints} joints ({self.joint_names[0]} … {self.joint_names[-1]}), "
                f"qpos has {qpos.shape[-1]} on its last axis."
            )
        return self.kinematics(qpos)

    def body_poses(self, pose: GraspPose) -> Float[Tensor, "*b bodies 4 4"]:
        """Return the pose of every body in the frame of ``pose``."""
        return pose.matrix()[..., None, :, :] @ self.forward_kinematics(pose.qpos)

    def at(self, pose: GraspPose) -> "PlacedHand":
        """Compute the kinematics of a pose once, for all that is then asked of it."""
        return PlacedHand(self, self.body_poses(pose))

    # Geometry.

    def signed_distance(self, points: Float[Tensor, "*b n 3"], pose: GraspPose) -> Float[Tensor, "... n"]:
        """Return the distance of points to the hand's surface, negative inside.

        Points are in the frame of ``pose``; batch axes broadcast, so one cloud serves a batch of poses.
        """
        return self.at(pose).signed_distance(points)

    def link_distances(
        self, points: Float[Tensor, "*b n 3"], pose: GraspPose
    ) -> Float[Tensor, "... bodies n"]:
        """Return the signed distance of points to each body, in ``body_names`` order; infinite for one without
        geometry.
        """
        return self.geometry.by_body(points, self.body_poses(pose))

    def surface_points(
        self, pose: GraspPose, n: int = SURFACE_POINTS
    ) -> tuple[Float[Tensor, "*b n 3"], Float[Tensor, "*b n 3"]]:
        """Return n evenly spread surface points and their outward normals (a prefix of one fixed set)."""
        return self.at(pose).surface_points(n)

    def contact_candidates(self, pose: GraspPose) -> tuple[Float[Tensor, "*b c 3"], Float[Tensor, "*b c 3"]]:
        """Return where the fingertips may touch, and the outward normals there; fingers in ``contact_finger``."""
        return self.at(pose).contact_candidates()

    def keypoints(self, pose: GraspPose) -> Float[Tensor, "*b k 3"]:
        """Return the self-penetration keypoints: spheres of ``keypoint_radius``; pairs in ``keypoint_pairs``."""
        return self.at(pose).keypoints()

    def spheres(self, pose: GraspPose) -> tuple[Float[Tensor, "*b s 3"], Float[Tensor, "s"]]:
        """Return centers and radii of the collision spheres in the frame of ``pose``."""
        return self.at(pose).spheres()

    @property
    def collision_spheres(self) -> CollisionSpheres:
        """The same spheres in body frames."""
        return CollisionSpheres(self._spheres.points, self._spheres.body, self.sphere_radii)

    def mesh(self, qpos: Float[Tensor, "j"]) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
        """Return the primitives as one triangle mesh in the base frame, for pictures."""
        T_base_body = self.forward_kinematics(qpos.detach()).cpu().numpy()
        vertices, faces, start = [], [], 0
        for T, body in zip(T_base_body, self.description.bodies, strict=True):
            for primitive in body.primitives:
                part = primitive_mesh(primitive)
                vertices.append(part.vertices @ T[:3, :3].T + T[:3, 3])
                faces.append(part.faces + start)
                start += len(part.vertices)
        return np.concatenate(vertices), np.concatenate(faces)

    # The simulated model.

    def to_mjcf(self) -> str:
        """Return the model MuJoCo simulates: compile it with ``assets=hand.mesh_assets``."""
        return to_mjcf(self.description)

    @property
    def T_world_root(self) -> Float[np.ndarray, "4 4"]:
        """Where the MJCF places the root body in its world: identity, except in foreign MJCF files."""
        return np.asarray(self.description.T_world_root)

    # What the parts mean.

    def knows(self, name: str) -> bool:
        """Tell whether the hand's source says this of it, for example ``flexion_sign``."""
        return getattr(self.semantics, name) is not None

    def require(self, name: str) -> Any:
        """Return what the hand's source says of it, for example ``flexion_sign``.

        Raises:
            ValueError: it does not say it; names the key to add.
        """
        value = getattr(self.semantics, name)
        if value is None:
            raise ValueError(
                f"Hand '{self.name}' does not know its `{name}`: it came from a file that cannot say it. Add "
                f"`semantics.{KEY_OF_ATTRIBUTE[name]}` to a config/hand/<name>.yaml and load the hand by that name (or "
                "its file with semantics=<name>)."
            )
        return value

    def check_semantics(self, keys: Sequence[str], purpose: str) -> None:
        """Refuse a hand whose source does not say what something needs, before that begins.

        Args:
            keys: under ``semantics`` that are needed.
            purpose: what needs them, for the message.

        Raises:
            ValueError: some are missing; names all of them.
        """
        known = self.description.semantics
        missing = [key for key in keys if getattr(known, key) is None]
        if not missing:
            return
        later = [f.name for f in fields(known) if getattr(known, f.name) is None and f.name not in missing]
        more = f"; a model that learns the hand needs {', '.join(later)} too" if later else ""
        raise ValueError(
            f"{purpose} needs to know of hand '{self.name}': {', '.join(missing)}. Add them under `semantics` in a "
            "config/hand/<name>.yaml whose `description` is its file, as config/hand/allegro_right.yaml does, and pass "
            "hand=<name>"
            f"{more}."
        )

    def _colliding_pairs(self, body: Int[np.ndarray, "s"]) -> Int[np.ndarray, "2 m"]:
        """Pairs of points whose bodies must not overlap."""
        may = ~np.eye(len(self.body_names), dtype=bool)
        for a, b in self.description.non_colliding():
            i, k = self.body_names.index(a), self.body_names.index(b)
            may[i, k] = may[k, i] = False
        first, second = np.triu_indices(len(body), k=1)
        keep = may[body[first], body[second]]
        return np.stack((first[keep], second[keep]))

    def _fixed(self, points: np.ndarray, body: np.ndarray, *, vectors: bool = False) -> BodyPoints:
        num_bodies = len(self.body_names)
        return BodyPoints(points, body, num_bodies=num_bodies, vectors=vectors, dtype=self._dtype)

    def _constant(self, name: str, value: object, dtype: torch.dtype | None = None) -> None:
        self.register_buffer(
            name, torch.tensor(np.asarray(value), dtype=dtype or self._dtype), persistent=False
        )


class PlacedHand:
    """A hand whose bodies are where some poses put them; answers in the frame of those poses.

    Attributes:
        hand: whose bodies they are.
        T_frame_body: their poses, in ``body_names`` order.
    """

    def __init__(self, hand: Hand, T_frame_body: Float[Tensor, "*b bodies 4 4"]) -> None:
        self.hand, self.T_frame_body = hand, T_frame_body

    def signed_distance(self, points: Float[Tensor, "*b n 3"]) -> Float[Tensor, "... n"]:
        """Return the distance of points to the hand's surface, negative inside; batch axes broadcast."""
        return self.hand.geometry(points, self.T_frame_body)

    def surface_points(
        self, n: int = SURFACE_POINTS
    ) -> tuple[Float[Tensor, "*b n 3"], Float[Tensor, "*b n 3"]]:
        """Return n evenly spread surface points and their outward normals (a prefix of one fixed set)."""
        points, normals = self.hand._surface, self.hand._surface_normals
        if not 1 <= n <= len(points):
            raise ValueError(
                f"Hand '{self.hand.name}' stores {len(points)} surface points; n must be 1 to {len(points)}, got {n}."
            )
        return points(self.T_frame_body, n), normals(self.T_frame_body, n)

    def contact_candidates(self) -> tuple[Float[Tensor, "*b c 3"], Float[Tensor, "*b c 3"]]:
        """Return where the fingertips may touch, and the outward normals there; fingers in ``contact_finger``."""
        points, normals = self.hand.require("contacts"), self.hand.require("contact_normals")
        return points(self.T_frame_body), normals(self.T_frame_body)

    def keypoints(self) -> Float[Tensor, "*b k 3"]:
        """Return the self-penetration keypoints: spheres of ``keypoint_radius``; pairs in ``keypoint_pairs``."""
        return self.hand.require("keypoints")(self.T_frame_body)

    def spheres(self) -> tuple[Float[Tensor, "*b s 3"], Float[Tensor, "s"]]:
        """Return centers and radii of the collision spheres."""
        return self.hand._spheres(self.T_frame_body), self.hand.sphere_radii
