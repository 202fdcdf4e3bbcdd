"""Drawings of what heads predict: a cloud whose target is colored by a value, or all of it by class."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int

from sceneleapultra.reporting.drawing import REST, CloudView, ColoredPoints, Drawing, Rgb

_LOW, _HIGH = np.array([0.80, 0.84, 0.92]), np.array([0.75, 0.07, 0.10])
_SHADES = 8  # colors of a value map
_DOT = 4.0  # size of a point: it stands for the surface around it


def draw_values(
    cloud: CloudView, value: Float[np.ndarray, "n"], *, full: float, caption: str, detail: str
) -> Drawing:
    """Draw a cloud whose target points are colored from pale (0) to red (``full`` and above)."""
    shade = np.clip(value / full * (_SHADES - 1), 0, _SHADES - 1).round().astype(int)
    clouds = [ColoredPoints(cloud.points[~cloud.is_target], REST, _DOT)]
    for k in range(_SHADES):
        red, green, blue = (_LOW + (_HIGH - _LOW) * k / (_SHADES - 1)).tolist()
        clouds.append(ColoredPoints(cloud.points[cloud.is_target & (shade == k)], (red, green, blue), _DOT))
    return _drawing(cloud, clouds, caption, detail)


def draw_classes(
    cloud: CloudView, label: Int[np.ndarray, "n"], colors: Mapping[int, Rgb], *, caption: str, detail: str
) -> Drawing:
    """Draw a cloud colored by class; a class without a color is left out."""
    clouds = [ColoredPoints(cloud.points[label == value], rgb, _DOT) for value, rgb in colors.items()]
    return _drawing(cloud, clouds, caption, detail)


def _drawing(cloud: CloudView, clouds: list[ColoredPoints], caption: str, detail: str) -> Drawing:
    """Center the picture on the target, without a table top: the cloud shows the table itself."""
    target = cloud.points[cloud.is_target]
    middle = (target.min(0) + target.max(0)) / 2
    x, y, z = middle.tolist()
    return Drawing(
        meshes=(),
        clouds=tuple(clouds),
        caption=caption,
        detail=detail,
        table=False,
        azimuth_deg=-60.0,
        center=(x, y, z),
        width_m=float(2.6 * np.linalg.norm(target - middle, axis=-1).max()),
    )
