"""The meaning of a hand's parts as tensors: fingers, palm, flexion, rest, contacts, keypoints."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sceneleapultra.hands.body_points import BodyPoints
from sceneleapultra.hands.description import HandDescription
from sceneleapultra.hands.sampling import contact_set

CONTACTS_PER_TIP = 16
CONTACT_MIN_COS = 0.35  # normals up to about 70 degrees off the pad direction
CONTACT_SEED = 0

# Attribute -> the key under `semantics` that it comes from.
KEY_OF_ATTRIBUTE = {
    **dict.fromkeys(("finger_bodies", "finger_names", "fingertip_bodies"), "fingers"),
    "thumb": "thumb",
    **dict.fromkeys(("palm_center", "palm_direction", "finger_direction"), "palm"),
    "flexion_sign": "flexion_sign",
    "rest_qpos": "rest_qpos",
    **dict.fromkeys(("contact_finger", "contact_body", "contacts", "contact_normals"), "contacts"),
    **dict.fromkeys(("keypoint_radius", "keypoint_pairs", "keypoints"), "keypoints"),
}


class HandSemantics(nn.Module):
    """What a description says of its parts; None where it says nothing.

    Args:
        description: of the hand.
        fix: attaches points or vectors to bodies.
        pairs: of points whose bodies must not overlap.
        dtype: of the tensors.
    """

    finger_bodies: dict[str, tuple[str, ...]] | None
    finger_names: tuple[str, ...] | None
    fingertip_bodies: tuple[str, ...] | None
    thumb: str | None
    palm_center: Float[Tensor, "3"] | None
    palm_direction: Float[Tensor, "3"] | None
    finger_direction: Float[Tensor, "3"] | None
    flexion_sign: Float[Tensor, "j"] | None
    rest_qpos: Float[Tensor, "j"] | None
    contacts: BodyPoints | None
    contact_normals: BodyPoints | None
    contact_body: Int[Tensor, "c"] | None
    contact_finger: Int[Tensor, "c"] | None
    keypoints: BodyPoints | None
    keypoint_radius: Float[Tensor, ""] | None
    keypoint_pairs: Int[Tensor, "2 m"] | None

    def __init__(
        self,
        description: HandDescription,
        fix: Callable[..., BodyPoints],
        pairs: Callable[[Int[np.ndarray, "s"]], Int[np.ndarray, "2 m"]],
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self._dtype = dtype
        source, bodies = description.semantics, description.body_names
        self.thumb = source.thumb
        fingers = source.fingers
        self.finger_bodies = None if fingers is None else dict(fingers)
        self.finger_names = None if fingers is None else tuple(fingers)
        self.fingertip_bodies = None if fingers is None else tuple(each[-1] for each in fingers.values())
        palm = source.palm
        self._constant("palm_center", None if palm is None else palm.center)
        self._constant("palm_direction", None if palm is None else palm.direction)
        self._constant("finger_direction", None if palm is None else palm.finger_direction)
        for name, table in (("flexion_sign", source.flexion_sign), ("rest_qpos", source.rest_qpos)):
            row = None if table is None else [float(table[joint]) for joint in description.joint_names]
            self._constant(name, row)
        self.contacts = self.contact_normals = body = finger = None
        if source.contacts is not None:
            contacts = contact_set(description, CONTACTS_PER_TIP, CONTACT_MIN_COS, CONTACT_SEED)
            body = contacts.body
            self.contacts = fix(contacts.points, body)
            self.contact_normals = fix(contacts.normals, body, vectors=True)
            finger_of = {b: f for f, each in enumerate((fingers or {}).values()) for b in each}
            finger = [finger_of[bodies[i]] for i in body]
        self._constant("contact_body", body, torch.int64)
        self._constant("contact_finger", finger, torch.int64)
        self.keypoints = own_pairs = None
        if source.keypoints is not None:
            body = np.array([bodies.index(b) for b, points in source.keypoints.items() for _ in points])
            self.keypoints = fix(np.concatenate([np.array(p) for p in source.keypoints.values()]), body)
            own_pairs = pairs(body)
        self._constant("keypoint_pairs", own_pairs, torch.int64)
        self._constant("keypoint_radius", source.keypoint_radius)

    def _constant(self, name: str, value: object, dtype: torch.dtype | None = None) -> None:
        tensor = None if value is None else torch.tensor(np.asarray(value), dtype=dtype or self._dtype)
        self.register_buffer(name, tensor, persistent=False)
