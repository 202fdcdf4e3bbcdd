"""The page of a hand: what it was taken for, drawn, and what a person should look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import torch
import trimesh
from jaxtyping import Float

from sceneleapultra.hands import Hand
from sceneleapultra.hands.sampling import primitive_mesh
from sceneleapultra.reporting.drawing import ColoredMesh, ColoredPoints, Drawing, Rgb
from sceneleapultra.reporting.html import TURNED, cards, table, write_page

PALM: Rgb = (0.70, 0.72, 0.75)
THUMB: Rgb = (0.86, 0.45, 0.20)
FINGERS: tuple[Rgb, ...] = ((0.25, 0.52, 0.78), (0.30, 0.65, 0.50), (0.55, 0.45, 0.75), (0.75, 0.62, 0.20))
ARROW: Rgb = (0.80, 0.15, 0.20)
AXES: tuple[Rgb, ...] = ((0.85, 0.2, 0.2), (0.2, 0.65, 0.25), (0.2, 0.35, 0.85))
_CLOSING_RAD = np.linspace(-0.6, 1.1, 13)
_WORKSPACE = 160  # poses
_CHECKLIST = """<ul>
<li>The red arrow stands on the palm's surface and points at what the hand grasps.</li>
<li>Orange is the thumb: it opposes the other fingers.</li>
<li>In the animation every finger closes towards the others, none the wrong way.</li>
<li>Dark dots are where fingertips touch: on the pads, not on nails or sides.</li>
<li>Closings hold: with none, something above is wrong.</li></ul>"""


@dataclass(frozen=True)
class HandFacts:
    """What a page says of a hand.

    Attributes:
        findings: topic, level (fine, check, wrong), text.
        remarks: what the proposal is unsure of.
        trials: lines about closings that were tried.
        drawings: of grasps that held.
        commands: what to type next.
    """

    findings: Sequence[tuple[str, str, str]]
    remarks: Sequence[str]
    trials: Sequence[str]
    drawings: Sequence[Drawing]
    commands: Sequence[str]


def write_hand_page(hand: Hand, facts: HandFacts, path: Path) -> Path:
    """Write one HTML file about a hand with semantics."""
    own = [draw_parts(hand), draw_closing(hand), draw_workspace(hand)]
    number = len(own)
    remarks = "".join(f"<li>{escape(text)}</li>" for text in facts.remarks)
    findings = [
        (topic, text if level == "fine" else f"{level}: {text}") for topic, level, text in facts.findings
    ]
    body = [
        f'<p class="lead">{hand.num_joints} joints, {len(hand.finger_names)} fingers.</p>',
        f'<p class="legend">{TURNED}</p>',
        cards(own),
        "<h2>Look at this</h2>",
        _CHECKLIST,
        f"<p>Not sure of:</p><ul>{remarks}</ul>" if remarks else "",
        "<h2>Closings tried in simulation</h2>",
        "".join(f"<p>{escape(line)}</p>" for line in facts.trials),
        cards(facts.drawings, number),
        "<h2>The file</h2>",
        table(("looked at", "found"), findings),
        "<h2>Joints</h2>",
        _joints(hand),
        "<h2>Next</h2>",
        f"<pre>{escape(chr(10).join(facts.commands))}</pre>",
    ]
    return write_page(f"Hand {hand.name}", body, [*own, *facts.drawings], path)


def draw_parts(hand: Hand) -> Drawing:
    """Draw the hand at rest: palm, fingers, thumb, the palm's arrow, the base's axes, where fingertips touch."""
    rest = hand.rest_qpos
    meshes = [*_bodies(hand, rest[None]), *_axes(), _arrow(hand.palm_center, hand.palm_direction, ARROW)]
    clouds: tuple[ColoredPoints, ...] = ()
    if hand.knows("contacts"):
        T = hand.forward_kinematics(rest)
        clouds = (ColoredPoints(hand.require("contacts")(T).numpy(), (0.1, 0.1, 0.15)),)
    return _drawing(hand, meshes, clouds, "at rest", "arrow: palm; axes of the base: x red, y green, z blue")


def draw_closing(hand: Hand) -> Drawing:
    """Draw the hand as it closes from open to shut."""
    path = hand.rest_qpos + torch.tensor(_CLOSING_RAD, dtype=torch.float32)[:, None] * hand.closing
    path = path.clamp(hand.joint_limits[:, 0], hand.joint_limits[:, 1])
    return _drawing(hand, _bodies(hand, path), (), "closing", "do all fingers close towards each other?")


def draw_workspace(hand: Hand) -> Drawing:
    """Draw where the tips get when joints move over their ranges."""
    generator = torch.Generator().manual_seed(0)
    low, high = hand.joint_limits.T
    drawn = low + torch.rand(_WORKSPACE, hand.num_joints, generator=generator) * (high - low)
    T = hand.forward_kinematics(drawn)
    clouds = []
    for color, finger in zip(_colors(hand), hand.finger_names, strict=True):
        body = hand.body_names.index(hand.finger_bodies[finger][-1])
        solid = np.concatenate([primitive_mesh(p).vertices for p in hand.description.bodies[body].primitives])
        far = torch.tensor(solid[np.linalg.norm(solid, axis=1).argmax()], dtype=torch.float32)
        clouds.append(ColoredPoints((T[:, body, :3, :3] @ far + T[:, body, :3, 3]).numpy(), color))
    return _drawing(
        hand, _bodies(hand, hand.rest_qpos[None]), tuple(clouds), "workspace", "of each fingertip"
    )


def _bodies(hand: Hand, path: Float[torch.Tensor, "t j"]) -> list[ColoredMesh]:
    """Return the bodies in their fingers' colors, at the first pose; at all of them as frames."""
    T = hand.forward_kinematics(path).numpy()
    color_of = {body: PALM for body in hand.body_names}
    for color, finger in zip(_colors(hand), hand.finger_names, strict=True):
        color_of |= dict.fromkeys(hand.finger_bodies[finger], color)
    meshes = []
    for i, body in enumerate(hand.description.bodies):
        for primitive in body.primitives:
            part = primitive_mesh(primitive)
            placed = np.einsum("tik,vk->tvi", T[:, i, :3, :3], part.vertices) + T[:, i, None, :3, 3]
            meshes.append(
                ColoredMesh(
                    placed[0], part.faces, color_of[body.name], "hand", tuple(placed) if len(T) > 1 else ()
                )
            )
    return meshes


def _colors(hand: Hand) -> list[Rgb]:
    others = iter(range(len(hand.finger_names)))
    return [THUMB if f == hand.thumb else FINGERS[next(others) % len(FINGERS)] for f in hand.finger_names]


def _arrow(start: Float[torch.Tensor, "3"], direction: Float[torch.Tensor, "3"], rgb: Rgb) -> ColoredMesh:
    """Return an arrow of six centimetres."""
    shaft = trimesh.creation.cylinder(radius=0.002, height=0.05, sections=12)
    shaft.apply_translation([0, 0, 0.025])
    head = trimesh.creation.cone(radius=0.005, height=0.014, sections=12)
    head.apply_translation([0, 0, 0.05])
    part = trimesh.util.concatenate([shaft, head])
    assert isinstance(part, trimesh.Trimesh)
    T = trimesh.geometry.align_vectors([0, 0, 1], direction.numpy().astype(float))
    T[:3, 3] = start.numpy()
    part.apply_transform(T)
    return ColoredMesh(np.asarray(part.vertices), np.asarray(part.faces), rgb, "mark")


def _axes() -> list[ColoredMesh]:
    found = []
    for k, rgb in enumerate(AXES):
        end = np.zeros(3)
        end[k] = 0.07
        part = trimesh.creation.cylinder(radius=0.001, segment=[np.zeros(3), end], sections=8)
        found.append(ColoredMesh(np.asarray(part.vertices), np.asarray(part.faces), rgb, "mark"))
    return found


def _drawing(
    hand: Hand, meshes: Sequence[ColoredMesh], clouds: tuple[ColoredPoints, ...], caption: str, detail: str
) -> Drawing:
    points = np.concatenate([mesh.vertices for mesh in meshes] + [cloud.points for cloud in clouds])
    middle = (points.min(0) + points.max(0)) / 2
    x, y, z = middle.tolist()
    palm = hand.palm_direction.numpy()
    side = palm if np.hypot(*palm[:2]) > 0.3 else hand.finger_direction.numpy()
    return Drawing(
        meshes=tuple(meshes),
        clouds=clouds,
        caption=caption,
        detail=detail,
        table=False,
        azimuth_deg=float(np.degrees(np.arctan2(side[1], side[0])) + 35.0),
        center=(x, y, z),
        width_m=float(2.1 * np.linalg.norm(points - middle, axis=-1).max()),
    )


def _joints(hand: Hand) -> str:
    rows = []
    for k, name in enumerate(hand.joint_names):
        unit = "rad" if hand.joint_scale[k] == 1 else "m"
        low, high = hand.joint_limits[k].tolist()
        closes = {1: "increasing", -1: "decreasing", 0: "-"}[int(hand.flexion_sign[k])]
        rows.append((name, unit, f"{low:.3f}", f"{high:.3f}", f"{hand.rest_qpos[k]:.3f}", closes))
    return table(("joint", "unit", "from", "to", "at rest", "closes by"), rows)
