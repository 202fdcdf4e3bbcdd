"""Draws docs/pictures/leap_mount.png, the hand on an arm's flange: PYTHONPATH=. python docs/draw_mount.py."""

from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Float

from sceneleapultra.hands import load_hand
from sceneleapultra.hands.adapters import load_adapter
from sceneleapultra.reporting.drawing import ColoredMesh, Drawing, Rgb
from sceneleapultra.reporting.pictures import render_png

PICTURE = Path(__file__).parent / "pictures" / "leap_mount.png"
AXES: tuple[Rgb, ...] = ((0.80, 0.15, 0.15), (0.15, 0.60, 0.20), (0.15, 0.30, 0.80))
HAND: Rgb = (0.72, 0.74, 0.77)
FLANGE: Rgb = (0.35, 0.38, 0.42)


def axes(T: Float[np.ndarray, "4 4"], length_m: float) -> list[ColoredMesh]:
    """Return the axes of a frame as rods: x red, y green, z blue."""
    rods = []
    for column, rgb in enumerate(AXES):
        end = T[:3, 3] + length_m * T[:3, column]
        rod = trimesh.creation.cylinder(0.0025, segment=np.stack([T[:3, 3], end]), sections=12)
        rods.append(ColoredMesh(np.asarray(rod.vertices), np.asarray(rod.faces), rgb, "axis"))
    return rods


def draw(azimuth_deg: float, caption: str) -> Drawing:
    """Draw hand, flange and both frames, z of the flange up."""
    hand = load_hand("leap_right")
    T = load_adapter(hand).mount.T_flange_base
    vertices, faces = hand.mesh(hand.rest_qpos)
    disc = trimesh.creation.cylinder(0.0315, 0.01, sections=48)
    disc.apply_translation([0.0, 0.0, -0.005])
    meshes = [
        ColoredMesh(vertices @ T[:3, :3].T + T[:3, 3], faces, HAND, "hand"),
        ColoredMesh(np.asarray(disc.vertices), np.asarray(disc.faces), FLANGE, "flange"),
        *axes(np.eye(4), 0.24),
        *axes(T, 0.14),
    ]
    return Drawing(
        meshes=tuple(meshes),
        clouds=(),
        caption=caption,
        detail="x red, y green, z blue; long: flange, short: base of the hand",
        table=False,
        azimuth_deg=azimuth_deg,
        center=(0.04, 0.03, 0.11),
        width_m=0.42,
    )


if __name__ == "__main__":
    views = [
        draw(20.0, "the palm looks along x of the flange, fingers along z"),
        draw(110.0, "from the thumb's side"),
    ]
    render_png(views, PICTURE, columns=2, size=420, title="LEAP hand on an arm's flange")
