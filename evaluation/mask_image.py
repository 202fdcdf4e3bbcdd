"""The mask of a target as an image, made from points of a view that no longer fill its pixels."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

_MARGIN_PX = 40  # about the target: more than a mask grows or moves
_REACH = 3.0  # times the median distance of a point of the target to its nearest: a pixel belongs to a point so near


@dataclass(frozen=True)
class MaskImage:
    """Which pixels show the target; ``corner`` is the pixel of the first."""

    corner: Float[np.ndarray, "2"]
    pixels: Bool[np.ndarray, "h w"]

    @classmethod
    def of_points(cls, uv: Float[np.ndarray, "n 2"], mask: Bool[np.ndarray, "n"]) -> "MaskImage":
        """Give each pixel near a point to the nearest one.

        Args:
            uv: pixels of the points, of the target and of everything else.
            mask: which belong to the target.
        """
        target = uv[mask]
        spacing = float(np.median(cKDTree(target).query(target, k=2)[0][:, 1])) if len(target) > 1 else 1.0
        corner = np.floor(target.min(axis=0)) - _MARGIN_PX
        width, height = (np.ceil(target.max(axis=0)) + _MARGIN_PX - corner).astype(int) + 1
        v, u = np.mgrid[:height, :width]
        grid = np.stack([u, v], axis=-1).reshape(-1, 2) + corner
        distance, nearest = cKDTree(uv).query(grid, distance_upper_bound=_REACH * max(spacing, 1.0))
        belongs = np.isfinite(distance)
        belongs[belongs] = mask[nearest[belongs]]
        return cls(corner, belongs.reshape(height, width))

    def grown(self, by_px: float) -> "MaskImage":
        """Return the mask with every pixel that is at most so far away; below 0 without those so near to its edge."""
        if by_px >= 0:
            return replace(self, pixels=distance_transform_edt(~self.pixels) <= by_px)
        return replace(self, pixels=distance_transform_edt(self.pixels) > -by_px)

    def at(self, uv: Float[np.ndarray, "n 2"]) -> Bool[np.ndarray, "n"]:
        """Tell which places of the image show the target."""
        place = np.round(uv - self.corner)
        height, width = self.pixels.shape
        inside = (place >= 0).all(axis=1) & (place < [width, height]).all(axis=1)
        found = np.zeros(len(uv), dtype=bool)
        u, v = place[inside].astype(int).T
        found[inside] = self.pixels[v, u]
        return found
