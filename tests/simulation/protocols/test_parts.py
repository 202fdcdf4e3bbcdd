"""Are the parts that a grasp touches, and the one it holds, those that geometry says?"""

from collections import Counter
from dataclasses import replace

import numpy as np
import torch

from factories.lifts import firm, standing
from sceneleapultra.hands import GraspPose, load_hand
from sceneleapultra.simulation.objects.solid import circle, hull_vertices
from sceneleapultra.simulation.protocols import PARTS, Attempt, GraspSimulator, get_protocol
from sceneleapultra.utils.parts import Part, parts_in
from sceneleapultra.utils.records import Grasps, Scene

TOUCH_M, UNSURE_M = 0.002, 3e-4
RADIUS, SIDES = 0.03, 24
LEVELS = (-0.06, -0.01, 0.03, 0.06)  # m; the cylinder is cut there
NAMES = (Part.BASE, Part.BODY, Part.NECK)


def cut_cylinder(*parts: Part) -> Scene:
    """The firm grasp's cylinder, in three pieces with these names, upright on the table."""
    rings = [circle(RADIUS, z, SIDES) for z in LEVELS]
    pieces = tuple(hull_vertices(np.vstack(rings[i : i + 2])) for i in range(3))
    scene = standing()
    named = replace(scene.objects[0], pieces=pieces, piece_part=np.array(parts, np.uint8) if parts else None)
    return replace(scene, objects=(named,))


def displaced(count: int) -> Grasps:
    """The firm grasp, moved along the cylinder and a little beside it."""
    grasps, rng = firm()[np.zeros(count, dtype=int)], np.random.default_rng(0)
    pose = grasps.hand_pose.copy()
    pose[:, :3] += rng.uniform([-0.003, -0.003, -0.03], [0.003, 0.003, 0.03], size=(count, 3))
    return replace(grasps, hand_pose=pose)


def measured(scene: Scene, grasps: Grasps) -> list[dict[str, float]]:
    protocol = get_protocol("dgb-fc-quick")
    spec = protocol.trial.world(scene, 0)
    simulator, poses = GraspSimulator(load_hand("leap_right"), spec, protocol), spec.poses(scene)
    return [simulator.measure(Attempt.of(grasps, i, poses), PARTS) for i in range(len(grasps))]


def gaps(scene: Scene, grasps: Grasps) -> np.ndarray:
    """Least distance of each link to each piece's side, over points on it: grasp, link, piece."""
    corners = circle(RADIUS, 0.0, SIDES)[:, None]
    share = np.linspace(0.0, 1.0, 5)[None, :-1, None]
    outline = ((1 - share) * corners + share * np.roll(corners, -1, axis=0)).reshape(-1, 3)
    height = np.linspace(LEVELS[0], LEVELS[-1], 81)
    points = (outline[:, None] + height[None, :, None] * [0.0, 0.0, 1.0]).reshape(-1, 3)
    piece = np.digitize(points[:, 2], LEVELS[1:-1])
    world = torch.as_tensor(points + scene.T_world_object[0, :3, 3], dtype=torch.float32)
    hand, poses = load_hand("leap_right"), torch.as_tensor(grasps.hand_pose, dtype=torch.float32)
    found = [hand.link_distances(world, GraspPose.from_hand_pose(pose)).numpy() for pose in poses]
    return np.stack([np.stack([one[:, piece == p].min(1) for p in range(3)], axis=1) for one in found])


def test_touched_and_held_parts_are_those_of_the_nearest_points() -> None:
    scene, grasps = cut_cylinder(*NAMES), displaced(80)
    found, distance = measured(scene, grasps), gaps(scene, grasps)
    sure = held = 0
    for values, gap in zip(found, distance, strict=True):
        least = gap.min(0)
        bits = parts_in(int(values["touched_parts"]))
        for part, d in zip(NAMES, least, strict=True):
            if abs(d - TOUCH_M) > UNSURE_M:
                sure += 1
                assert (part in bits) == (d < TOUCH_M)
        near = gap[
            gap.min(1) < TOUCH_M + UNSURE_M
        ]  # of these links some touch two pieces alike, or hardly one
        first, second = np.sort(near, axis=1)[:, :2].T
        clear_cut = (first < TOUCH_M - UNSURE_M) & (second - first > UNSURE_M)
        votes = Counter(near[clear_cut].argmin(1).tolist())
        (part, most), (_, next_most) = (*votes.most_common(2), (0, 0), (0, 0))[:2]
        if most > next_most + (~clear_cut).sum():
            held += 1
            assert values["held_part"] == NAMES[part]
    assert sure > 160
    assert held > 8


def test_an_object_without_names_and_a_hand_afar_give_none() -> None:
    grasps = displaced(2)
    assert all(set(values.values()) == {0} for values in measured(cut_cylinder(), grasps))
    afar = replace(grasps, hand_pose=grasps.hand_pose + np.eye(len(grasps.hand_pose[0]))[2])
    assert all(set(values.values()) == {0} for values in measured(cut_cylinder(*NAMES), afar))
