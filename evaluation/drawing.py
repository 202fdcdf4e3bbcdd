"""What is drawn of a judged grasp: surfaces and points with colors, in the frame of the target's table spot."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from sceneleapultra.evaluation.items import Item
from sceneleapultra.hands import GraspPose, Hand
from sceneleapultra.utils.records import Outcome

Rgb = tuple[float, float, float]

SUCCESS: Rgb = (0.20, 0.62, 0.33)
NOT_CLEAR: Rgb = (0.55, 0.66, 0.20)
FAILURE: Rgb = (0.88, 0.42, 0.13)
PENETRATION: Rgb = (0.78, 0.16, 0.18)
OBJECT: Rgb = (0.42, 0.58, 0.80)
NEIGHBOR: Rgb = (0.74, 0.75, 0.77)
CLOUD: Rgb = (0.10, 0.17, 0.33)
REST: Rgb = (0.62, 0.62, 0.66)
UNJUDGED: Rgb = (0.36, 0.44, 0.68)
_SHOWN_RADIUS = 0.25  # of the points that are not the target's (m)


@dataclass(frozen=True)
class Surface:
    """A triangle mesh of one color; ``role`` is object, neighbor, hand or table."""

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    rgb: Rgb
    role: str


@dataclass(frozen=True)
class Dots:
    """Points of one color."""

    points: Float[np.ndarray, "n 3"]
    rgb: Rgb


@dataclass(frozen=True)
class Seen:
    """A cloud, z up, which of its points are the target's, and whether it stands on a table at z = 0."""

    points: Float[np.ndarray, "n 3"]
    is_target: Bool[np.ndarray, "n"]
    table: bool


@dataclass(frozen=True)
class Drawing:
    """One picture: what is in it, what it says, and whether a table lies at z = 0.

    The origin is on the table below the target, or at the target where there is no table.
    """

    surfaces: tuple[Surface, ...]
    dots: tuple[Dots, ...]
    caption: str
    detail: str
    table: bool
    azimuth_deg: float  # from where it is best looked at
    center: tuple[float, float, float]  # what to look at
    width_m: float  # how much to see


def outcome_color(outcome: int, clear: bool) -> Rgb:
    """Green where the grasp held, red where the hand was in the object or itself, orange where the object was lost."""
    if outcome == Outcome.SUCCESS:
        return SUCCESS if clear else NOT_CLEAR
    return PENETRATION if outcome in (Outcome.PREGRASP_PENETRATION, Outcome.SELF_PENETRATION) else FAILURE


def draw_item(
    item: Item,
    hand: Hand,
    hand_pose: Float[np.ndarray, "g p"],
    colors: list[Rgb],
    *,
    caption: str,
    detail: str,
) -> Drawing:
    """Draw an item's scene, the cloud that was seen of it, and hands at their grasps (world frame)."""
    T_world_object = item.T_world_object
    origin = T_world_object[:3, 3] * np.array([1.0, 1.0, 0.0 if item.scene.table else 1.0])
    surfaces = []
    for i, record in enumerate(item.scene.objects):
        T = item.scene.T_world_object[i]
        placed = record.vertices @ T[:3, :3].T + T[:3, 3]
        look = (OBJECT, "object") if i == item.target else (NEIGHBOR, "neighbor")
        surfaces.append(Surface(placed, record.faces, *look))
    cloud = Seen(item.view.points, item.target_mask, item.scene.table)
    return _draw(surfaces, cloud, origin, hand, hand_pose, colors, caption, detail)


def draw_cloud(
    cloud: Seen,
    hand: Hand,
    hand_pose: Float[np.ndarray, "g p"],
    colors: list[Rgb],
    *,
    caption: str,
    detail: str,
) -> Drawing:
    """Draw a cloud of which nothing else is known, and hands at their grasps, z up."""
    center = cloud.points[cloud.is_target].mean(0)
    origin = center * np.array([1.0, 1.0, 0.0 if cloud.table else 1.0])
    return _draw([], cloud, origin, hand, hand_pose, colors, caption, detail)


def _draw(
    surfaces: list[Surface],
    cloud: Seen,
    origin: Float[np.ndarray, "3"],
    hand: Hand,
    hand_pose: Float[np.ndarray, "g p"],
    colors: list[Rgb],
    caption: str,
    detail: str,
) -> Drawing:
    """Move everything to the drawing's origin, and look at the hands and what they grasp."""
    meshes = zip(hand_meshes(hand, hand_pose), colors, strict=True)
    everything = [*surfaces, *(Surface(vertices, faces, rgb, "hand") for (vertices, faces), rgb in meshes)]
    seen = cloud.points - origin
    near = np.linalg.norm(seen[:, :2], axis=-1) < _SHOWN_RADIUS
    moved = tuple(replace(s, vertices=s.vertices - origin) for s in everything)
    focus = np.concatenate(
        [seen[cloud.is_target], *(s.vertices for s in moved if s.role in ("object", "hand"))]
    )
    middle = (focus.min(0) + focus.max(0)) / 2
    x, y, z = middle.tolist()
    return Drawing(
        surfaces=moved,
        dots=(Dots(seen[cloud.is_target], CLOUD), Dots(seen[near & ~cloud.is_target], REST)),
        caption=caption,
        detail=detail,
        table=cloud.table,
        azimuth_deg=_side_view(hand, hand_pose),
        center=(x, y, z),
        width_m=float(2.1 * np.linalg.norm(focus - middle, axis=-1).max()),
    )


def _side_view(hand: Hand, hand_pose: Float[np.ndarray, "g p"]) -> float:
    """Return the azimuth (degrees) from which the first hand is seen from the side, the object between its fingers."""
    if len(hand_pose) == 0:
        return -60.0
    pose = GraspPose.from_hand_pose(torch.from_numpy(np.asarray(hand_pose[:1], dtype=np.float32)))
    palm = (pose.rotation[0] @ hand.palm_direction).numpy()
    across = palm if np.hypot(*palm[:2]) > 0.3 else (pose.rotation[0] @ hand.finger_direction).numpy()
    return float(np.degrees(np.arctan2(across[1], across[0])) - 70.0)


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
