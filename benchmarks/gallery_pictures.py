"""What is on each picture of the gallery: drawings of the shipped model, hands, scene and procedural objects."""

import sceneleapultra.utils.core.environment  # noqa: F401

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from jaxtyping import Float
from matplotlib import colormaps
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from benchmarks.encoders import untrained_encoder
from benchmarks.gallery_completion import draw_completions, draw_hypotheses
from benchmarks.pick_film import bodies
from sceneleapultra.evaluation.items import Item
from sceneleapultra.evaluation.predicted import try_grasps
from sceneleapultra.evaluation.requests import request_from_store, request_of_item
from sceneleapultra.hands import Hand, load_hand
from sceneleapultra.models import GraspModel
from sceneleapultra.models.completion.complete import CompletionModel
from sceneleapultra.models.inference import as_batch
from sceneleapultra.models.network.tokens import Cloud
from sceneleapultra.models.sampled_grasps import SampledGrasps
from sceneleapultra.reporting.drawing import (
    CLOUD,
    ColoredHands,
    ColoredMesh,
    ColoredPoints,
    Drawing,
    Rgb,
    draw_scene,
    origin_of,
    outcome_color,
)
from sceneleapultra.reporting.hand_page import draw_closing, draw_parts
from sceneleapultra.simulation.camera import render_views
from sceneleapultra.simulation.objects import make_object
from sceneleapultra.simulation.protocols import get_protocol
from sceneleapultra.simulation.protocols.film import film
from sceneleapultra.simulation.scene import drop_scene
from sceneleapultra.utils.core.config import build, load_group
from sceneleapultra.utils.records import Outcome

SCENE = Path("model_zoo/example_scene.h5")
FAMILIES = ("mug", "bottle", "bowl", "hammer", "dumbbell", "ring")
CLUTTER, COMPLETED, GUESSED, MUG = (1, 2, 4, 5, 6, 7), (1, 4, 6), (1, 6), 6  # objects of the shipped scene
ENCODERS = ("pointnet2_small", "pointnet2", "pointnet_lite", "fpn", "ptv3_light", "ptv3")
HANDS = ("leap_right", "leap_left", "allegro_like", "parallel_gripper")
PROTOCOL, SAMPLES, WILD = "scene-lift", 32, 1.0  # WILD: the temperature at which a model errs
_PANELS = 6
_VIOLET: Rgb = (0.55, 0.42, 0.72)  # a hand that is neither tried nor blue as its object
_FACE_M, _DOT, _MUG_DEG = 0.006, 2.5, -60.0  # of pictures of tokens: longest edges, size of dots, from where
_CLOSED, _ASIDE_DEG = 9, -35.0  # frame of a closing hand; from where hands are seen, 0 is before the palm


@dataclass(frozen=True)
class Making:
    """What pictures are made of: the model, its hand on the processor, and the seed of all that is drawn."""

    model: GraspModel
    hand: Hand
    seed: int

    def sample(self, item: Item, **sampling: Any) -> SampledGrasps:
        """Return the model's grasps of an item, the best first, with the poses after every step."""
        request = request_of_item(item).without_colors()
        return self.model.sample_request(request, SAMPLES, seed=self.seed, sampling=sampling, trajectory=True)

    def draw_end(self, item: Item, made: SampledGrasps, number: int, label: str) -> Drawing:
        """Draw how the simulation of a grasp ended; a grasp that was never begun is drawn as it was asked for."""
        grasps = made.grasps
        one = film(self.hand, item.scene, item.target, grasps, number, get_protocol(PROTOCOL))
        outcome = one.verdict.outcome
        color = outcome_color(outcome, collision_free=True)
        words = "picked" if outcome == Outcome.SUCCESS else outcome.name.lower().replace("_", " ")
        hands = ColoredHands(self.hand, made.hand_pose[number : number + 1], [color])
        proposed = draw_scene(
            item.scene, item.view, item.target, hands, caption=f"{label}: {words}", detail=""
        )
        if not one.frames:
            return replace(proposed, clouds=())
        meshes = []
        for body, mesh in bodies(item, one).items():
            R = Rotation.from_quat(one.frames[-1].poses[body, 3:], scalar_first=True).as_matrix()
            vertices = (
                mesh.vertices @ R.T + one.frames[-1].poses[body, :3] - origin_of(item.scene, item.target)
            )
            meshes.append(replace(mesh, vertices=vertices, rgb=color if mesh.role == "hand" else mesh.rgb))
        return replace(proposed, meshes=tuple(meshes), clouds=())


def families(making: Making) -> list[Drawing]:
    """Draw the best grasp of one object of each family, alone on its table."""
    drawings = []
    for number, family in enumerate(FAMILIES):
        rng = np.random.default_rng([making.seed, number])
        record = make_object(family, 900_000 + making.seed)
        scene = drop_scene((record,), rng, build(load_group("scene", "default")))
        (view,) = render_views(scene, 1, rng, build(load_group("camera", "default")))
        item = Item(number, "gallery", scene, 0, view)
        drawings.append(making.draw_end(item, making.sample(item), 0, family))
    return drawings


def clutter(making: Making) -> list[Drawing]:
    """Draw the best grasp of six objects of the shipped scene."""
    items = [request_from_store(SCENE, number)[1] for number in CLUTTER]
    return [making.draw_end(item, making.sample(item), 0, item.object.family) for item in items]


def failures(making: Making) -> list[Drawing]:
    """Draw the first grasp that ended in each way but a pick, of grasps at a temperature that is too high."""
    found: dict[int, Drawing] = {}
    for number in CLUTTER:
        if len(found) >= _PANELS:
            break
        _, item = request_from_store(SCENE, number)
        made = making.sample(item, temperature=WILD)
        outcomes = try_grasps(item, made, making.hand, PROTOCOL, workers=0)["outcome"]
        for outcome in set(outcomes.tolist()) - {int(Outcome.SUCCESS), *found}:
            first = int(np.flatnonzero(outcomes == outcome)[0])
            found[outcome] = making.draw_end(item, made, first, item.object.family)
    return [found[outcome] for outcome in sorted(found)][:_PANELS]


def denoising(making: Making) -> list[Drawing]:
    """Draw the best grasp of the shipped scene's mug at six moments between noise and the end, from one side."""
    _, item = request_from_store(SCENE, MUG)
    made = making.sample(item)
    assert made.trajectory is not None
    drawings = []
    for step in np.linspace(0, len(made.trajectory) - 1, _PANELS).round().astype(int):
        caption = f"after step {step + 1} of {len(made.trajectory)}"
        hands = ColoredHands(making.hand, made.trajectory[step, :1], [_VIOLET])
        drawings.append(draw_scene(item.scene, item.view, item.target, hands, caption=caption, detail=""))
    return [replace(drawing, clouds=(), azimuth_deg=drawings[-1].azimuth_deg) for drawing in drawings]


def hands(making: Making) -> list[Drawing]:
    """Draw the hands that are shipped, the palm towards the viewer, at rest; and two of them as they close."""
    loaded = {name: load_hand(name) for name in HANDS}
    drawings = []
    for name, hand in loaded.items():
        joints = f"{hand.num_joints} joint{'s' * (hand.num_joints > 1)}"
        drawings.append(_upright(draw_parts(hand), hand, f"{name}, {joints}"))
    for name in ("leap_right", "allegro_like"):
        drawing = draw_closing(loaded[name])
        meshes = tuple(replace(m, vertices=m.frames[_CLOSED]) if m.frames else m for m in drawing.meshes)
        drawings.append(_upright(replace(drawing, meshes=meshes), loaded[name], f"{name}, closing"))
    return drawings


def _upright(drawing: Drawing, hand: Hand, caption: str) -> Drawing:
    """Turn a hand so that its fingers point up and its palm along x, and leave marks out."""
    palm, up = hand.palm_direction.numpy(), hand.finger_direction.numpy()
    up = up - palm * (palm @ up)
    R = np.stack([palm, np.cross(up, palm), up / np.linalg.norm(up)])
    meshes = tuple(replace(m, vertices=m.vertices @ R.T) for m in drawing.meshes if m.role == "hand")
    clouds = tuple(replace(cloud, points=cloud.points @ R.T) for cloud in drawing.clouds)
    return replace(drawing, meshes=meshes, clouds=clouds, caption=caption, azimuth_deg=_ASIDE_DEG)


def tokens(making: Making) -> list[Drawing]:
    """Draw where encoders put their tokens in the same cloud, and which part of each surface is nearest to each."""
    _, item = request_from_store(SCENE, MUG)
    request = request_of_item(item).without_colors()
    cloud = making.model.prepare(request, 1, seed=making.seed, T_cloud_object=None)
    batch, T = Cloud.of(as_batch(cloud, None, ())), cloud.T_cloud_frame
    drawings = []
    for name in ENCODERS:
        with torch.no_grad():
            made = untrained_encoder(name, batch.points.shape[1]).eval()(batch)
        xyz = made.xyz[0, made.valid[0]].numpy() @ T[:3, :3].T + T[:3, 3]
        drawings.append(_draw_tokens(item, xyz, f"{name}: {len(xyz)} tokens"))
    return drawings


def _draw_tokens(item: Item, xyz: Float[np.ndarray, "s 3"], caption: str) -> Drawing:
    """Draw the surfaces of a scene, each face in the color of the nearest token, and the tokens of the world frame."""
    origin, tree, color = origin_of(item.scene, item.target), cKDTree(xyz), colormaps["tab20"]
    meshes = []
    for number, (record, T) in enumerate(zip(item.scene.objects, item.scene.T_world_object, strict=True)):
        placed = record.vertices @ T[:3, :3].T + T[:3, 3]
        vertices, faces = trimesh.remesh.subdivide_to_size(placed, record.faces, max_edge=_FACE_M)
        nearest = tree.query(vertices[faces].mean(1))[1]
        role = "object" if number == item.target else "neighbor"
        meshes += [
            ColoredMesh(vertices - origin, faces[nearest == token], color(token % 20)[:3], role)
            for token in np.unique(nearest)
        ]
    dots = ColoredPoints(xyz - origin, CLOUD, _DOT)
    return Drawing(
        tuple(meshes),
        (dots,),
        caption,
        "",
        table=True,
        azimuth_deg=_MUG_DEG,
        center=(0.0, 0.0, 0.05),
        width_m=0.3,
    )


def completion(making: Making) -> list[Drawing]:
    """Draw three objects of the shipped scene: what is seen, what is completed, what is true, and the error."""
    completes = making.model.completion
    assert isinstance(completes, CompletionModel)
    return draw_completions(completes, [request_from_store(SCENE, number)[1] for number in COMPLETED])


def hypotheses(making: Making) -> list[Drawing]:
    """Draw two objects of the shipped scene: what is seen, what is true, the spread of hypotheses and three of them."""
    completes = making.model.completion
    assert isinstance(completes, CompletionModel)
    return draw_hypotheses(completes, [request_from_store(SCENE, number)[1] for number in GUESSED])


PICTURES: dict[str, Callable[[Making], list[Drawing]]] = {
    each.__name__: each
    for each in (families, clutter, failures, hands, denoising, tokens, completion, hypotheses)
}
