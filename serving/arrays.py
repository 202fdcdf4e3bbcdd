"""Arrays on the wire: nested lists in JSON, and the binary form, one .npz file with the settings as a JSON text."""

import io
import json
from typing import Any

import numpy as np

from sceneleapultra.serving.schema import ARRAYS
from sceneleapultra.utils.core.names import unknown_name
from sceneleapultra.utils.core.npz import read_npz_bytes

SETTINGS = "settings"
# Names that the files of predict.py have: what they hold is a setting here.
_AS_SETTINGS = {"K": "intrinsics", "depth_scale": "depth_scale"}


def from_lists(name: str, value: Any) -> np.ndarray:
    """Return nested lists of numbers, or of booleans, as an array; null is no number.

    Raises:
        ValueError: lists of other lengths, or something else in them.
    """
    try:
        array = np.asarray(value)
        if array.dtype == object and _is_numeric(value):
            array = np.array(value, dtype=np.float64)
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        raise ValueError(f"{name}: expected nested lists of equal lengths ({error}).") from error
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name}: expected nested lists of numbers, got {_first_odd(value)} in them.")
    # A cloud of whole numbers is one all the same.
    return array.astype(np.float64) if name == "points" and array.dtype.kind in "iu" else array


def _is_numeric(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_numeric(one) for one in value)
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _first_odd(value: Any) -> str:
    if isinstance(value, list):
        return next((odd for odd in map(_first_odd, value) if odd), "")
    plain = value is None or isinstance(value, int | float)
    return "" if plain else f"{str(value)[:40]!r}"


def unpack(content: bytes, max_bytes: int) -> tuple[str, dict[str, np.ndarray]]:
    """Return the settings, as a JSON text, and the arrays of a request in the binary form.

    Raises:
        ValueError: no such file, arrays of other names, or settings that are no text.
    """
    found = read_npz_bytes(content, "the body", max_bytes)
    for name in found:
        if name not in (*ARRAYS, *_AS_SETTINGS, SETTINGS):
            raise unknown_name("array", name[:80], (*ARRAYS, *_AS_SETTINGS, SETTINGS))
        if name != SETTINGS and found[name].dtype.kind not in "fiub":
            raise ValueError(f"{name}: expected numbers or booleans, got an array of {found[name].dtype}.")
    text = found.get(SETTINGS, np.array("{}"))
    if text.dtype.kind != "U" or text.ndim:
        raise ValueError(f"{SETTINGS}: expected one text, JSON, got {text.dtype} of shape {text.shape}.")
    settings = read_json(str(text))
    for name, key in _AS_SETTINGS.items():
        if name in found and key not in settings:
            settings[key] = found[name].tolist()
    return json.dumps(settings), {name: found[name] for name in ARRAYS if name in found}


def read_json(text: str) -> dict[str, Any]:
    """Return the object in a JSON text.

    Raises:
        ValueError: it is none.
    """
    try:
        settings = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{SETTINGS}: expected JSON ({error}).") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{SETTINGS}: expected a JSON object, got a {type(settings).__name__}.")
    return settings


def pack(arrays: dict[str, np.ndarray]) -> bytes:
    """Return arrays as one .npz file; none of them may hold objects."""
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()
