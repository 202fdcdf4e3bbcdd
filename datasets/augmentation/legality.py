"""Which changes are true in which coordinate mode, and why the others are not."""

from collections.abc import Mapping

from sceneleapultra.utils.geometry.frames import CAMERA_MODES, MODES

# What no mode allows. Names that people try count as known, so that the answer is the reason.
_SCALE = "the hand does not grow with the object, so the grasps would no longer touch it"
_MIRROR = "the mirror image of a right hand is a left hand, which this hand is not"
NEVER: Mapping[str, str] = {
    **dict.fromkeys(("scale", "scaling", "rescale"), _SCALE),
    **dict.fromkeys(("mirror", "mirroring", "flip", "reflection"), _MIRROR),
}

_NO_YAW = (
    "turned about gravity, the scene would lie where the camera at the origin cannot have seen it; use tilt"
)
_NO_TILT = "the frame stands on gravity or on the object, not on the camera; use yaw"
_OWN_ORIGIN = "the origin is the object's own, so a shift would contradict the frame"
_NO_TABLE = "a distractor stands on the table, and only the frame tabletop has it at z = 0"
_ILLEGAL: Mapping[tuple[str, str], str] = {
    **{(mode, "yaw"): _NO_YAW for mode in CAMERA_MODES},
    **{(mode, "tilt"): _NO_TILT for mode in MODES if mode not in CAMERA_MODES},
    ("object_centric", "translation"): _OWN_ORIGIN,
    **{(mode, "clutter"): _NO_TABLE for mode in MODES if mode != "tabletop"},
}


def why_not(name: str, mode: str) -> str | None:
    """Return why a change is not true in a coordinate mode; None where it is.

    ``translation`` is horizontal in the mode ``tabletop``, where the height above the table is part of the frame.
    """
    return NEVER.get(name) or _ILLEGAL.get((mode, name))
