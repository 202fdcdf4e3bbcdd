"""Drawings as pixels, without a display: a small z-buffer, and panels in one PNG."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sceneleapultra.reporting.drawing import ColoredMesh, Drawing, Rgb
from sceneleapultra.utils.core.files import write_atomically

_LIGHT = np.array([0.35, -0.45, 0.82]) / np.linalg.norm([0.35, -0.45, 0.82])
_BACKGROUND = np.array([1.0, 1.0, 1.0])
_TABLE: Rgb = (0.93, 0.92, 0.90)
_SHADOW: Rgb = (0.80, 0.79, 0.77)
_SUPERSAMPLING = 3
_LIFT = 5e-4  # of the shadow above the table (m), so that the table does not hide it


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
    """A square picture with depth, orthographic; drawn triangle by triangle and point by point."""

    def __init__(self, size: int, viewpoint: Viewpoint) -> None:
        self.size = size * _SUPERSAMPLING
        self.axes, self.center = viewpoint.axes(), np.array(viewpoint.center)
        self.scale = self.size / viewpoint.width
        self.color = np.tile(_BACKGROUND, (self.size, self.size, 1))
        self.depth = np.full((self.size, self.size), -np.inf)

    def project(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Return column, row and depth (towards the viewer) of points."""
        local = (points - self.center) @ self.axes.T
        half = self.size / 2
        return np.stack(
            [half + self.scale * local[:, 0], half - self.scale * local[:, 1], local[:, 2]], axis=-1
        )

    def mesh(self, mesh: ColoredMesh, *, shaded: bool = True) -> None:
        """Draw a mesh, flat-shaded from both sides."""
        corners = mesh.vertices[mesh.faces]
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        length = np.linalg.norm(normal, axis=-1, keepdims=True)
        normal = normal / np.maximum(length, 1e-12)
        normal = normal * np.where(normal @ self.axes[2] < 0, -1.0, 1.0)[:, None]
        light = 0.50 + 0.38 * np.clip(normal @ _LIGHT, 0, 1) + 0.16 * np.clip(normal @ self.axes[2], 0, 1)
        if not shaded:
            light = np.ones_like(light)
        rgb = np.clip(light[:, None] * np.array(mesh.rgb), 0, 1)
        screen = self.project(mesh.vertices)[mesh.faces]
        for triangle, color in zip(screen, rgb, strict=True):
            self._triangle(triangle, color)

    def points(self, points: Float[np.ndarray, "n 3"], rgb: Rgb, radius_px: float) -> None:
        """Draw points as discs that face the viewer, a hair in front of the surface they lie on."""
        radius = radius_px * _SUPERSAMPLING
        reach = int(np.ceil(radius))
        dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        disc = dx**2 + dy**2 <= radius**2
        for x, y, z in self.project(points).tolist():
            columns, rows = round(x) + dx[disc], round(y) + dy[disc]
            inside = (columns >= 0) & (columns < self.size) & (rows >= 0) & (rows < self.size)
            self._put(rows[inside], columns[inside], np.full(int(inside.sum()), z + 2e-3), np.array(rgb))

    def image(self) -> Float[np.ndarray, "size size 3"]:
        """Return the picture at its final size."""
        s = _SUPERSAMPLING
        n = self.size // s
        return self.color.reshape(n, s, n, s, 3).mean(axis=(1, 3))

    def _triangle(self, corners: Float[np.ndarray, "3 3"], rgb: Float[np.ndarray, "3"]) -> None:
        low = np.maximum(np.floor(corners[:, :2].min(0)).astype(int), 0)
        high = np.minimum(np.ceil(corners[:, :2].max(0)).astype(int) + 1, self.size)
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
        depth = z0 + b1[rows, columns] * (z1 - z0) + b2[rows, columns] * (z2 - z0)
        self._put(rows + low[1], columns + low[0], depth, rgb)

    def _put(
        self, rows: np.ndarray, columns: np.ndarray, depth: np.ndarray, rgb: Float[np.ndarray, "3"]
    ) -> None:
        nearer = depth > self.depth[rows, columns]
        self.depth[rows[nearer], columns[nearer]] = depth[nearer]
        self.color[rows[nearer], columns[nearer]] = rgb


def render(drawing: Drawing, size: int, viewpoint: Viewpoint) -> Float[np.ndarray, "size size 3"]:
    """Return a drawing as an RGB image in [0, 1], with the shadow on its table."""
    raster = Raster(size, viewpoint)
    if drawing.table:
        raster.mesh(table_top(), shaded=False)
        for mesh in drawing.meshes:
            raster.mesh(_shadow(mesh), shaded=False)
    for mesh in drawing.meshes:
        raster.mesh(mesh)
    for cloud in drawing.clouds:
        raster.points(cloud.points, cloud.rgb, radius_px=cloud.size * size / 400)
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
    figure = Figure(figsize=(columns * inch, rows * (inch + 0.42) + (0.45 if title else 0)), dpi=100)
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, drawing in zip(grid.flat, drawings, strict=False):
        axes.imshow(render(drawing, size, Viewpoint.of(drawing)), interpolation="antialiased")
        axes.set_title(f"{drawing.caption}\n{drawing.detail}", fontsize=8, color="#333333")
    if title:
        figure.suptitle(title, fontsize=12, color="#222222")
    figure.tight_layout(pad=0.4)
    return figure


def table_top(radius: float = 0.32) -> ColoredMesh:
    """Return a round table top about the origin."""
    angle = np.linspace(0, 2 * np.pi, 97)[:-1]
    rim = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.full(96, -1e-3)], axis=-1)
    faces = np.stack([np.full(96, 96), np.arange(96), (np.arange(96) + 1) % 96], axis=-1)
    return ColoredMesh(np.vstack([rim, [[0.0, 0.0, -1e-3]]]), faces, _TABLE, "table")


def _shadow(mesh: ColoredMesh) -> ColoredMesh:
    """Return the shadow of a mesh on the table; parts below the table cast none."""
    above = np.maximum(mesh.vertices[:, 2:], 0.0)
    on_table = mesh.vertices - above * _LIGHT / _LIGHT[2]
    on_table[:, 2] = _LIFT
    return ColoredMesh(on_table, mesh.faces, _SHADOW, mesh.role)
