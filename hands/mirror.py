"""The mirror image of a hand: of a right one, the left.

The mirror is the plane y = 0 of the base frame, ``S = diag(1, -1, 1)``. Joints keep their names, limits and positions:
with the same positions, every body of the image is where the original's is, mirrored (``S T S``).
"""

from dataclasses import replace

import numpy as np

from sceneleapultra.hands.description import (
    Body,
    ContactPatch,
    HandDescription,
    Joint,
    Palm,
    Primitive,
    Semantics,
    Vector,
)

MIRROR = np.diag([1.0, -1.0, 1.0])


def mirrored(description: HandDescription, name: str) -> HandDescription:
    """Return the mirror image of a hand.

    Raises:
        ValueError: the hand came as MJCF, whose own text is what is simulated.
    """
    if description.source_mjcf is not None:
        raise ValueError(
            f"mirror: hand '{description.name}' is an MJCF, which is simulated as it stands. Take the left hand's own "
            "file, or the URDF of the right one."
        )
    semantics = description.semantics
    return replace(
        description,
        name=name,
        bodies=tuple(_body(body) for body in description.bodies),
        semantics=replace(
            semantics,
            palm=None if semantics.palm is None else _palm(semantics.palm),
            contacts=None if semantics.contacts is None else tuple(map(_patch, semantics.contacts)),
            keypoints=_keypoints(semantics),
        ),
        T_world_root=tuple(map(tuple, (_S4 @ np.array(description.T_world_root) @ _S4).tolist())),
    )


_S4 = np.diag([1.0, -1.0, 1.0, 1.0])


def _body(body: Body) -> Body:
    inertial = body.inertial
    return replace(
        body,
        pos=_point(body.pos),
        quat_wxyz=_turn(body.quat_wxyz),
        joint=None if body.joint is None else _joint(body.joint),
        inertial=None
        if inertial is None
        else replace(inertial, pos=_point(inertial.pos), quat_wxyz=_turn(inertial.quat_wxyz)),
        primitives=tuple(map(_primitive, body.primitives)),
    )


def _joint(joint: Joint) -> Joint:
    """A slide's axis is mirrored as a direction; a hinge's as an axis of rotation, which turns round as well."""
    axis = _point(joint.axis)
    return replace(joint, axis=axis if joint.slide else tuple(-x + 0.0 for x in axis), pos=_point(joint.pos))


def _primitive(primitive: Primitive) -> Primitive:
    """Boxes, capsules, cylinders and spheres are their own images; a convex piece is given by its corners."""
    return replace(
        primitive,
        pos=_point(primitive.pos),
        quat_wxyz=_turn(primitive.quat_wxyz),
        vertices=tuple(map(_point, primitive.vertices)),
    )


def _palm(palm: Palm) -> Palm:
    return Palm(_point(palm.center), _point(palm.direction), _point(palm.finger_direction))


def _patch(patch: ContactPatch) -> ContactPatch:
    return replace(
        patch, pad_direction=_point(patch.pad_direction), distal_direction=_point(patch.distal_direction)
    )


def _keypoints(semantics: Semantics) -> dict[str, tuple[Vector, ...]] | None:
    if semantics.keypoints is None:
        return None
    return {body: tuple(map(_point, points)) for body, points in semantics.keypoints.items()}


def _point(vector: Vector) -> Vector:
    x, y, z = vector
    return (x, -y + 0.0, z)


def _turn(quat_wxyz: Vector) -> Vector:
    """S R S: the axis of rotation is mirrored and turned round."""
    w, x, y, z = quat_wxyz
    return (w, -x + 0.0, y, -z + 0.0)
