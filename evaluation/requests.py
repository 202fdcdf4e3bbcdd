"""A request whose scene is known: an object of a mesh file, dropped on a table and rendered."""

from pathlib import Path

import numpy as np

from sceneleapultra.evaluation.items import Item
from sceneleapultra.simulation.camera import render_views
from sceneleapultra.simulation.objects import load_objects
from sceneleapultra.simulation.scene import drop_scene
from sceneleapultra.utils.core.config import build, load_group
from sceneleapultra.utils.requests import GraspRequest


def request_from_mesh(path: Path, seed: int, *, repair: bool = False) -> tuple[GraspRequest, Item]:
    """Drop an object on a table and render one view of it.

    Args:
        path: a mesh file, or the folder of one object.
        seed: of the scene and the view.
        repair: mend a surface that is not closed.

    Raises:
        FileNotFoundError: no mesh there.
        ValueError: several meshes, or one that is no solid.
    """
    objects = load_objects(path, repair=repair)
    if len(objects) != 1:
        names = ", ".join(o.name for o in objects[:5])
        raise ValueError(f"{path} holds {len(objects)} objects ({names}, ...); name one of them.")
    rng = np.random.default_rng([seed, 0])
    scene = drop_scene((objects[0],), rng, build(load_group("scene", "default")))
    (view,) = render_views(scene, 1, rng, build(load_group("camera", "default")))
    item = Item(0, "requested", scene, 0, view)
    return request_of_item(item), item


def request_of_item(item: Item) -> GraspRequest:
    """Return what the view of an item shows, in the world frame."""
    return GraspRequest(
        points=item.view.points,
        object_mask=item.target_mask,
        viewpoint=item.view.T_world_cam[:3, 3],
        up=np.array([0.0, 0.0, 1.0]),
        rgb=item.view.rgb,
        frame="world: z up, the table at z = 0",
    )
