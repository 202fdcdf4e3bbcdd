"""Drawings of grasps: colored meshes and points, with the origin on the table below the target."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from sceneleapultra.hands import GraspPose, Hand
from sceneleapultra.utils.records import Outcome, Scene, View

Rgb = tuple[float, float, float]

SUCCESS: Rgb = (0.20, 0.62, 0.33)
COLLIDES: Rgb = (0.55, 0.66, 0.20)
FAILURE: Rgb = (0.88, 0.42, 0.13)
PENETRATION: Rgb = (0.78, 0.16, 0.18)
OBJECT: Rgb = (0.42, 0.58, 0.80)
NEIGHBOR: Rgb = (0.74, 0.75, 0.77)
CLOUD: Rgb = (0.10, 0.17, 0.33)
REST: Rgb = (0.62, 0.62, 0.66)
UNTESTED: Rgb = (0.36, 0.44, 0.68)
_SHOWN_RADIUS = 0.25  # of the points that are not the target's (m)
_ASIDE, _WIDE_M = np.radians(70.0), 0.08  # of the viewpoint, from the palm's direction; of what it looks at


@dataclass(frozen=True)
class ColoredMesh:
    """A triangle mesh of one color; ``role`` is object, neighbor, hand, table or mark; ``frames`` is how it moves."""

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    rgb: Rgb
    role: str
    frames: tuple[Float[np.ndarray, "v 3"], ...] = ()


@dataclass(frozen=True)
class ColoredPoints:
    """Points of one color; ``size`` is relative to the usual dot."""

    points: Float[np.ndarray, "n 3"]
    rgb: Rgb
    size: float = 1.0


@dataclass(frozen=True)
class ColoredHands:
    """A hand at each of its grasps, which are given in the frame of what is drawn with it, and their colors."""

    hand: Hand
    hand_pose: Float[np.ndarray, "g p"]
    colors: list[Rgb]


@dataclass(frozen=True)
class CloudView:
    """A cloud with z up: which of its points lie on the target, and whether there is a table at z = 0."""

    points: Float[np.ndarray, "n 3"]
    is_target: Bool[np.ndarray, "n"]
    table: bool


@dataclass(frozen=True)
class Replay:
    """What happened then: bodies, each in its own frame, and where they were, one frame after the other.

    Attributes:
        bodies: what moves.
        poses: [position 3, quaternion wxyz 4] of each body in each frame, where the drawing is.
        seconds: from one frame to the next.
    """

    bodies: tuple[ColoredMesh, ...]
    poses: Float[np.ndarray, "t bodies 7"]
    seconds: float


@dataclass(frozen=True)
class Drawing:
    """One picture with its caption, and whether a table lies at z = 0.

    The origin is on the table below the target, or at the target where there is no table.
    """

    meshes: tuple[ColoredMesh, ...]
    clouds: tuple[ColoredPoints, ...]
    caption: str
    detail: str
    table: bool
    azimuth_deg: float  # of the viewpoint
    center: tuple[float, float, float]  # of the picture
    width_m: float  # of the picture
    replay: Replay | None = None  # for pages; a picture is still


def outcome_color(outcome: int, collision_free: bool) -> Rgb:
    """Green where the grasp succeeded, red where the hand was in object or itself, orange where the object was lost."""
    if outcome == Outcome.SUCCESS:
        return SUCCESS if collision_free else COLLIDES
    return PENETRATION if outcome in (Outcome.PREGRASP_PENETRATION, Outcome.SELF_PENETRATION) else FAILURE


def draw_scene(
    scene: Scene,
    view: View,
    target: int,
    hands: ColoredHands,
    *,
    caption: str,
    detail: str,
) -> Drawing:
    """Draw a scene, the cloud that one view shows of it, and hands at their grasps of the target (world frame)."""
    origin = origin_of(scene, target)
    meshes = []
    for i, record in enumerate(scene.objects):
        T = scene.T_world_object[i]
        placed = record.vertices @ T[:3, :3].T + T[:3, 3]
        style = (OBJECT, "object") if i == target else (NEIGHBOR, "neighbor")
        meshes.append(ColoredMesh(placed, record.faces, *style))
    cloud = CloudView(view.points, view.instance == target + 1, scene.table)
    return _draw(meshes, cloud, origin, hands, caption, detail)


def origin_of(scene: Scene, target: int) -> Float[np.ndarray, "3"]:
    """Return the origin of a scene's drawing in the world: on the table below the target, else at the target."""
    return scene.T_world_object[target][:3, 3] * np.array([1.0, 1.0, 0.0 if scene.table else 1.0])


def draw_cloud(
    cloud: CloudView,
    hands: ColoredHands,
    *,
    caption: str,
    detail: str,
) -> Drawing:
    """Draw a cloud of which nothing else is known, and hands at their grasps, z up."""
    center = cloud.points[cloud.is_target].mean(0)
    origin = center * np.array([1.0, 1.0, 0.0 if cloud.table else 1.0])
    return _draw([], cloud, origin, hands, caption, detail)


def _draw(
    meshes: list[ColoredMesh],
    cloud: CloudView,
    origin: Float[np.ndarray, "3"],
    hands: ColoredHands,
    caption: str,
    detail: str,
) -> Drawing:
    """Move everything to the origin of the drawing; the picture is centered on the hands and the target."""
    surfaces = zip(hand_meshes(hands.hand, hands.hand_pose), hands.colors, strict=True)
    placed = [ColoredMesh(vertices, faces, rgb, "hand") for (vertices, faces), rgb in surfaces]
    points = cloud.points - origin
    near = np.linalg.norm(points[:, :2], axis=-1) < _SHOWN_RADIUS
    moved = tuple(replace(mesh, vertices=mesh.vertices - origin) for mesh in (*meshes, *placed))
    focus = np.concatenate(
        [points[cloud.is_target], *(mesh.vertices for mesh in moved if mesh.role in ("object", "hand"))]
    )
    middle = (focus.min(0) + focus.max(0)) / 2
    x, y, z = middle.tolist()
    return Drawing(
        meshes=moved,
        clouds=(
            ColoredPoints(points[cloud.is_target], CLOUD),
            ColoredPoints(points[near & ~cloud.is_target], REST),
        ),
        caption=caption,
        detail=detail,
        table=cloud.table,
        azimuth_deg=_side_view(hands.hand, hands.hand_pose, points[~cloud.is_target] - middle),
        center=(x, y, z),
        width_m=float(2.1 * np.linalg.norm(focus - middle, axis=-1).max()),
    )


def _side_view(hand: Hand, hand_pose: Float[np.ndarray, "g p"], around: Float[np.ndarray, "n 3"]) -> float:
    """Return the azimuth (degrees) from which the first hand is seen from the side, the object between its fingers.

    Of the two sides it is the one with less in front; ``around`` is what was seen beside the object, from the middle.
    """
    if len(hand_pose) == 0:
        return -60.0
    pose = GraspPose.from_hand_pose(torch.from_numpy(np.asarray(hand_pose[:1], dtype=np.float32)))
    palm = (pose.rotation[0] @ hand.palm_direction).numpy()
    side = palm if np.hypot(*palm[:2]) > 0.3 else (pose.rotation[0] @ hand.finger_direction).numpy()
    front = np.arctan2(side[1], side[0])
    return float(
        np.degrees(min((front + _ASIDE * sign for sign in (-1, 1)), key=lambda a: _hidden(a, around)))
    )


def _hidden(azimuth: float, around: Float[np.ndarray, "n 3"]) -> int:
    """Return how many points stand between a viewer and the middle."""
    towards, sideways = (
        np.array([np.cos(azimuth), np.sin(azimuth)]),
        np.array([-np.sin(azimuth), np.cos(azimuth)]),
    )
    ahead = around[:, :2] @ towards
    in_front = (ahead > 0.02) & (np.abs(around[:, :2] @ sideways) < _WIDE_M)
    return int((in_front & (around[:, 2] > 0.4 * ahead - 0.05)).sum())


def hand_meshes(
    hand: Hand, hand_pose: Float[np.ndarray, "g p"]
) -> list[tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]]:
    """Return the surface of the hand at each grasp, in the frame of the poses."""
    poses = GraspPose.from_hand_pose(torch.from_numpy(np.asarray(hand_pose, dtype=np.float32)))
    meshes = []
    for rotation, translation, qpos in zip(poses.rotation, poses.translation, poses.qpos, strict=True):
        vertices, faces = hand.mesh(qpos)
        meshes.append((vertices @ rotation.numpy().T + translation.numpy(), faces))
    return meshes
