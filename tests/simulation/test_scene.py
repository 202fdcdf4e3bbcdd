import dataclasses

import mujoco
import numpy as np
import pytest
import trimesh

from sceneleapultra.simulation.objects import make_object
from sceneleapultra.simulation.scene import DropWorld, SceneSettings, drop_scene, solid_inertia
from sceneleapultra.utils.core.config import build, load_group
from sceneleapultra.utils.records import ObjectRecord, Scene

SETTINGS: SceneSettings = build(load_group("scene", "default"))


def record(mesh: trimesh.Trimesh, name: str, mass: float = 0.1) -> ObjectRecord:
    vertices = np.asarray(mesh.vertices - mesh.center_mass)
    return ObjectRecord(name, name.split("-")[0], vertices, np.asarray(mesh.faces), (vertices,), mass)


def mixed_objects(count: int, seed: int) -> tuple[ObjectRecord, ...]:
    """Boxes, cylinders, balls and capsules: things that stand, roll and stack."""
    rng = np.random.default_rng(seed)
    shapes = (
        lambda: trimesh.creation.box(rng.uniform(0.03, 0.1, 3)),
        lambda: trimesh.creation.cylinder(rng.uniform(0.02, 0.04), rng.uniform(0.03, 0.12), sections=24),
        lambda: trimesh.creation.icosphere(2, rng.uniform(0.02, 0.045)),
        lambda: trimesh.creation.capsule(rng.uniform(0.03, 0.1), rng.uniform(0.015, 0.03), count=[10, 16]),
    )
    return tuple(record(shapes[i % 4](), f"shape-{i:06d}") for i in range(count))


def world_vertices(scene: Scene) -> list[np.ndarray]:
    return [
        o.vertices @ T[:3, :3].T + T[:3, 3] for o, T in zip(scene.objects, scene.T_world_object, strict=True)
    ]


@pytest.mark.parametrize("count", [1, 3, 8])
def test_settled_objects_rest_on_the_table_and_stay(count: int) -> None:
    for seed in range(3):
        scene = drop_scene(mixed_objects(count, seed), np.random.default_rng([count, seed]), SETTINGS)
        assert scene.table and 1 <= len(scene.objects) <= count
        assert scene.T_world_object.shape == (len(scene.objects), 4, 4)
        rotation = scene.T_world_object[:, :3, :3]
        np.testing.assert_allclose(
            rotation @ rotation.transpose(0, 2, 1), np.tile(np.eye(3), (len(rotation), 1, 1)), atol=1e-9
        )
        lowest = np.array([vertices[:, 2].min() for vertices in world_vertices(scene)])
        assert lowest.min() > -0.002
        assert lowest.min() < 0.002  # something carries the rest
        # Another world, started from the result at rest: nothing moves further than 5 mm in half a second.
        world = DropWorld(scene.objects, SETTINGS)
        world.place(scene.T_world_object)
        world.simulate(0.5)
        drift = np.linalg.norm(world.T_world_object()[:, :3, 3] - scene.T_world_object[:, :3, 3], axis=1)
        assert drift.max() < 0.005


def test_hollow_and_branched_objects_settle() -> None:
    objects = tuple(make_object(family, 5) for family in ("mug", "ring", "hammer", "bowl"))
    scene = drop_scene(objects, np.random.default_rng(0), SETTINGS)
    assert len(scene.objects) >= 3
    for vertices in world_vertices(scene):
        assert -0.002 < vertices[:, 2].min() < 0.1


def test_scene_is_a_function_of_its_generator() -> None:
    objects = mixed_objects(4, 0)
    first, again, other = (drop_scene(objects, np.random.default_rng(s), SETTINGS) for s in (1, 1, 2))
    assert np.array_equal(first.T_world_object, again.T_world_object)
    assert not np.array_equal(first.T_world_object, other.T_world_object)


def test_upright_share_keeps_a_tall_box_standing() -> None:
    box = record(trimesh.creation.box((0.03, 0.04, 0.12)), "box-000000")
    upright = dataclasses.replace(SETTINGS, upright_share=1.0)
    anyhow = dataclasses.replace(SETTINGS, upright_share=0.0)
    heights = {}
    for settings in (upright, anyhow):
        scenes = [drop_scene((box,), np.random.default_rng(s), settings) for s in range(8)]
        heights[settings] = [scene.T_world_object[0, 2, 3] for scene in scenes]
    np.testing.assert_allclose(heights[upright], 0.06, atol=0.001)
    assert min(heights[anyhow]) < 0.025  # at least one lies on a long side


def test_object_that_leaves_the_table_is_dropped_from_the_scene() -> None:
    # On a table of 4 cm, drawn on a disc of 12 cm: most of four boxes fall.
    small = dataclasses.replace(SETTINGS, table_half_size_m=0.02)
    boxes = tuple(record(trimesh.creation.box((0.02,) * 3), f"box-{i:06d}") for i in range(4))
    scene = drop_scene(boxes, np.random.default_rng(3), small)
    assert 1 <= len(scene.objects) < 4
    assert np.abs(scene.T_world_object[:, :2, 3]).max() <= 0.02
    names = [o.name for o in scene.objects]
    assert names == sorted(names)


def test_objects_do_not_interpenetrate() -> None:
    boxes = tuple(record(trimesh.creation.box((0.06,) * 3), f"box-{i:06d}") for i in range(5))
    heaped = dataclasses.replace(SETTINGS, spread_m=0.02)
    for seed in range(4):
        scene = drop_scene(boxes, np.random.default_rng(seed), heaped)
        world = DropWorld(scene.objects, heaped)
        world.place(scene.T_world_object)
        mujoco.mj_forward(world.model, world.data)
        assert world.data.ncon > 0
        assert world.data.contact.dist.min() > -0.002


def test_scene_that_cannot_be_is_refused_with_a_sentence() -> None:
    box = record(trimesh.creation.box((0.05,) * 3), "box-000007")
    nowhere = dataclasses.replace(SETTINGS, table_half_size_m=1e-6, attempts=2)
    with pytest.raises(ValueError, match=r"box-000007 never did in 2 attempts\. Check"):
        drop_scene((box,), np.random.default_rng(0), nowhere)
    with pytest.raises(ValueError, match="at least one object"):
        drop_scene((), np.random.default_rng(0), SETTINGS)


def test_inertia_is_that_of_the_solid() -> None:
    # A box of 0.2 kg with sides 0.1, 0.2, 0.3: m / 12 (b^2 + c^2) and so on.
    box = record(trimesh.creation.box((0.1, 0.2, 0.3)), "box-000000", mass=0.2)
    np.testing.assert_allclose(solid_inertia(box), np.diag([0.13, 0.10, 0.05]) * 0.2 / 12, atol=1e-12)
