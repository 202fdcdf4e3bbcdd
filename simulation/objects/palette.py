"""Which color an object has in every picture: drawn from its name, so that it never changes."""

import colorsys
import zlib

import numpy as np
from jaxtyping import UInt8


def object_color(name: str) -> UInt8[np.ndarray, "3"]:
    """Return the color (red, green, blue) of an object; saturated, so that it stands out from a gray table."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    hue, saturation, value = rng.uniform([0.0, 0.45, 0.65], [1.0, 0.85, 0.95])
    return np.round(255 * np.array(colorsys.hsv_to_rgb(hue, saturation, value))).astype(np.uint8)
