"""A request whose scene is known: an object of a mesh, dropped on a table and rendered, or one of a data set."""

from pathlib import Path

import numpy as np

from sceneleapultra.datasets import GraspStore
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


def request_from_store(path: Path, number: int | None) -> tuple[GraspRequest, Item]:
    """Take the first view of a data set's first scene.

    Args:
        path: the store.
        number: of the object, counted from 1; None where only one is in view.

    Raises:
        FileNotFoundError: no file there.
        ValueError: no store, no such object in view, or several and none is named.
    """
    store = GraspStore(path)
    scene, view = store.scene(0), store.view(store.scene_views(0)[0])
    visible = [i + 1 for i in range(len(scene.objects)) if (view.instance == i + 1).any()]
    number = visible[0] if number is None and len(visible) == 1 else number
    if number not in visible:
        names = ", ".join(f"{i} {scene.objects[i - 1].name}" for i in visible)
        wrong = "" if number is None else f", there is no {number}"
        raise ValueError(f"{path} shows {len(visible)} objects ({names}){wrong}. Name one: --object N.")
    item = Item(0, store.split_of(0), scene, number - 1, view)
    return request_of_item(item, f"{scene.objects[number - 1].name} among {len(scene.objects)} objects"), item


def request_of_item(item: Item, *notes: str) -> GraspRequest:
    """Return what the view of an item shows, in the world frame, with notes for people."""
    return GraspRequest(
        points=item.view.points,
        object_mask=item.target_mask,
        viewpoint=item.view.T_world_cam[:3, 3],
        up=np.array([0.0, 0.0, 1.0]),
        rgb=item.view.rgb,
        frame="world: z up, the table at z = 0",
        notes=notes,
    )
