"""Drawings as pixels, without a display: a small z-buffer, and panels in one PNG."""

import copy
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Bool, Float, Int, UInt8
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sceneleapultra.reporting.drawing import ColoredMesh, Drawing, Rgb
from sceneleapultra.utils.core.files import write_atomically

_LIGHT = np.array([0.35, -0.45, 0.82]) / np.linalg.norm([0.35, -0.45, 0.82])
_BACKGROUND = np.array([1.0, 1.0, 1.0])
_TABLE: Rgb = (0.93, 0.92, 0.90)
_SHADOW = 0.22  # of the table's light that a full shadow takes
_SOFT_M = 0.004  # standard deviation of a shadow's edge, as it lies on the table
# What lies so far behind something beside it is darkened by up to this share.
_NEAR_M, _NEAR_DARK = 0.012, 0.20
_SHARP_RAD = np.radians(35.0)  # edges between faces at a larger angle are drawn as edges
_SUPERSAMPLING = 3


@dataclass(frozen=True)
class Viewpoint:
    """An orthographic camera: angles in degrees about ``center``, ``width`` metres across."""

    azimuth_deg: float
    elevation_deg: float
    width: float
    center: tuple[float, float, float]

    @classmethod
    def of(cls, drawing: Drawing) -> "Viewpoint":
        """Return the viewpoint of a drawing."""
        return cls(drawing.azimuth_deg, 25.0, drawing.width_m, drawing.center)

    def axes(self) -> Float[np.ndarray, "3 3"]:
        """Return right, up and towards-the-viewer as rows."""
        azimuth, elevation = np.radians([self.azimuth_deg, self.elevation_deg])
        towards = np.array(
            [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
        )
        right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
        return np.stack([right, np.cross(towards, right), towards])


class Raster:
    """A picture with depth, orthographic; drawn triangle by triangle and point by point.

    Args:
        size: columns, or columns and rows; the viewpoint's width is that of the columns.
        viewpoint: from where.
    """

    def __init__(self, size: int | tuple[int, int], viewpoint: Viewpoint) -> None:
        columns, rows = (size, size) if isinstance(size, int) else size
        self.shape = rows * _SUPERSAMPLING, columns * _SUPERSAMPLING
        self.axes, self.center = viewpoint.axes(), np.array(viewpoint.center)
        self.scale = self.shape[1] / viewpoint.width
        self.color = np.tile(_BACKGROUND, (*self.shape, 1))
        self.depth = np.full(self.shape, -np.inf)

    def project(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Return column, row and depth (towards the viewer) of points."""
        local = (points - self.center) @ self.axes.T
        rows, columns = self.shape
        return np.stack(
            [columns / 2 + self.scale * local[:, 0], rows / 2 - self.scale * local[:, 1], local[:, 2]],
            axis=-1,
        )

    def mesh(self, mesh: ColoredMesh, *, shaded: bool = True) -> None:
        """Draw a mesh from both sides; faces that meet at a small angle are shaded as one smooth surface."""
        vertices, faces = np.asarray(mesh.vertices, dtype=float), np.asarray(mesh.faces)
        light = np.ones((len(faces), 3))
        if shaded:
            normal = corner_normals(vertices, faces)
            normal *= np.where(normal @ self.axes[2] < 0, -1.0, 1.0)[..., None]
            light = 0.55 + 0.37 * np.clip(normal @ _LIGHT, 0, 1) + 0.14 * np.clip(normal @ self.axes[2], 0, 1)
        screen = self.project(vertices)[faces]
        for triangle, corners in zip(screen, light, strict=True):
            self._triangle(triangle, corners, np.array(mesh.rgb))

    def points(self, points: Float[np.ndarray, "n 3"], rgb: Rgb, radius_px: float) -> None:
        """Draw points as discs that face the viewer, a hair in front of the surface they lie on."""
        radius = radius_px * _SUPERSAMPLING
        reach = int(np.ceil(radius))
        dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        disc = dx**2 + dy**2 <= radius**2
        for x, y, z in self.project(points).tolist():
            columns, rows = round(x) + dx[disc], round(y) + dy[disc]
            inside = (columns >= 0) & (columns < self.shape[1]) & (rows >= 0) & (rows < self.shape[0])
            count = int(inside.sum())
            self._put(rows[inside], columns[inside], np.full(count, z + 2e-3), np.tile(rgb, (count, 1)))

    def darken_behind(self, where: Bool[np.ndarray, "rows columns"]) -> None:
        """Darken pixels that lie closely behind something beside them, as light that comes from everywhere would."""
        drawn = np.isfinite(self.depth)
        depth = np.where(drawn, self.depth, self.depth[drawn].min() if drawn.any() else 0.0)
        around = gaussian_filter(depth, 0.5 * _NEAR_M * self.scale)
        behind = np.clip((around - depth) / _NEAR_M, 0.0, 1.0) * where
        self.color *= 1.0 - _NEAR_DARK * behind[..., None]

    def shade(self, meshes: Sequence[ColoredMesh]) -> None:
        """Darken what is drawn so far, a table at z = 0, by the shadows of meshes; parts below it cast none."""
        mask = copy.copy(self)
        mask.color, mask.depth = np.zeros((*self.shape, 1)), np.full(self.shape, -np.inf)
        for mesh in meshes:
            vertices = np.asarray(mesh.vertices, dtype=float)
            on_table = vertices - np.maximum(vertices[:, 2:], 0.0) * _LIGHT / _LIGHT[2]
            on_table[:, 2] = 0.0
            for triangle in mask.project(on_table)[mesh.faces]:
                mask._triangle(triangle, np.ones(3), np.ones(1))
        softness = _SOFT_M * self.scale * np.array([self.axes[2, 2], 1.0])
        shadow = gaussian_filter(mask.color[..., 0], softness)
        self.color *= 1.0 - _SHADOW * (shadow * np.isfinite(self.depth))[..., None]

    def image(self) -> Float[np.ndarray, "rows columns 3"]:
        """Return the picture at its final size."""
        s = _SUPERSAMPLING
        rows, columns = (n // s for n in self.shape)
        return np.clip(self.color, 0.0, 1.0).reshape(rows, s, columns, s, 3).mean(axis=(1, 3))

    def _triangle(
        self, corners: Float[np.ndarray, "3 3"], light: Float[np.ndarray, "3"], rgb: Float[np.ndarray, "c"]
    ) -> None:
        """Draw a triangle; light at its corners times the color."""
        low = np.maximum(np.floor(corners[:, :2].min(0)).astype(int), 0)
        high = np.minimum(np.ceil(corners[:, :2].max(0)).astype(int) + 1, self.shape[::-1])
        if (low >= high).any():
            return
        (x0, y0, z0), (x1, y1, z1), (x2, y2, z2) = corners
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if abs(area) < 1e-9:
            return
        x = np.arange(low[0], high[0]) + 0.5
        y = (np.arange(low[1], high[1]) + 0.5)[:, None]
        b1 = ((x - x0) * (y2 - y0) - (x2 - x0) * (y - y0)) / area
        b2 = ((x1 - x0) * (y - y0) - (x - x0) * (y1 - y0)) / area
        rows, columns = np.nonzero((b1 >= 0) & (b2 >= 0) & (b1 + b2 <= 1))
        b1, b2 = b1[rows, columns], b2[rows, columns]
        depth = z0 + b1 * (z1 - z0) + b2 * (z2 - z0)
        brightness = light[0] + b1 * (light[1] - light[0]) + b2 * (light[2] - light[0])
        self._put(rows + low[1], columns + low[0], depth, brightness[:, None] * rgb)

    def _put(
        self, rows: np.ndarray, columns: np.ndarray, depth: np.ndarray, rgb: Float[np.ndarray, "n c"]
    ) -> None:
        nearer = depth > self.depth[rows, columns]
        self.depth[rows[nearer], columns[nearer]] = depth[nearer]
        self.color[rows[nearer], columns[nearer]] = rgb[nearer]


def corner_normals(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> Float[np.ndarray, "f 3 3"]:
    """Return unit normals at the corners of faces, the mean over the faces that meet smoothly there."""
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    smooth = mesh.face_adjacency[mesh.face_adjacency_angles < _SHARP_RAD]
    edges = coo_array((np.ones(len(smooth)), smooth.T), shape=(len(faces), len(faces)))
    patch = connected_components(edges, directed=False)[1].astype(np.int64)
    _, corner = np.unique(patch[:, None] * len(vertices) + faces, return_inverse=True)
    corner = corner.reshape(faces.shape)
    a, b, c = vertices[faces].swapaxes(0, 1)
    weighted = np.cross(b - a, c - a)  # twice the area long
    total = np.zeros((corner.max(initial=-1) + 1, 3))
    np.add.at(total, corner, weighted[:, None])
    normal = total[corner]
    return normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-20)


def render(
    drawing: Drawing, size: int | tuple[int, int], viewpoint: Viewpoint
) -> Float[np.ndarray, "rows columns 3"]:
    """Return a drawing as an RGB image in [0, 1], with the shadow on its table."""
    raster = Raster(size, viewpoint)
    if drawing.table:
        raster.mesh(table_top(), shaded=False)
        raster.shade(drawing.meshes)
    table = raster.depth.copy()
    for mesh in drawing.meshes:
        raster.mesh(mesh)
    raster.darken_behind(raster.depth > table)
    for cloud in drawing.clouds:
        raster.points(cloud.points, cloud.rgb, radius_px=cloud.size * raster.shape[1] / _SUPERSAMPLING / 400)
    return raster.image()


def render_png(drawings: Sequence[Drawing], path: str | Path, *, columns: int, size: int, title: str) -> None:
    """Write drawings as captioned panels of one PNG."""
    figure = _panels(drawings, columns, size, title)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_atomically(Path(path), figure.savefig)


def render_panels(drawings: Sequence[Drawing], *, columns: int, size: int) -> UInt8[np.ndarray, "h w 3"]:
    """Return drawings as captioned panels of one picture."""
    figure = _panels(drawings, columns, size, "")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _panels(drawings: Sequence[Drawing], columns: int, size: int, title: str) -> Figure:
    rows = -(-len(drawings) // columns)
    inch = size / 100
    details = ["\n".join(textwrap.wrap(drawing.detail, width=size // 7)) for drawing in drawings]
    above = 0.28 + 0.17 * max(1, *(detail.count("\n") + 1 for detail in details))
    heading = 0.4 if title else 0.0
    height = heading + rows * (inch + above)
    figure = Figure(figsize=(columns * inch, height), dpi=100)
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, drawing, detail in zip(grid.flat, drawings, details, strict=False):
        axes.imshow(render(drawing, size, Viewpoint.of(drawing)), interpolation="antialiased")
        axes.set_title(f"{drawing.caption}\n{detail}", fontsize=8, color="#333333")
    if title:
        figure.suptitle(title, fontsize=12, color="#222222", y=1.0 - 0.1 / height, va="top")
    figure.subplots_adjust(0.0, 0.0, 1.0, 1.0 - (heading + above) / height, 0.01, above / inch)
    return figure


def table_top(radius: float = 0.32) -> ColoredMesh:
    """Return a round table top about the origin."""
    angle = np.linspace(0, 2 * np.pi, 97)[:-1]
    rim = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.full(96, -1e-3)], axis=-1)
    faces = np.stack([np.full(96, 96), np.arange(96), (np.arange(96) + 1) % 96], axis=-1)
    return ColoredMesh(np.vstack([rim, [[0.0, 0.0, -1e-3]]]), faces, _TABLE, "table")
