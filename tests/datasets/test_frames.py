"""Is every coordinate mode only another way to say the same: do hands stay on objects, and does all map back?"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from factories.batches import LEGAL, YAW
from factories.data_module import module
from factories.records import PROCESSOR, leap
from sceneleapultra.datasets import GraspStore
from sceneleapultra.datasets.items.item_cloud import build_cloud
from sceneleapultra.hands import GraspPose
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.geometry.frames import MODES


def batches(store: Path, mode: str, augmented: bool) -> list[GraspBatch]:
    data = module(store, frame=mode, augment=LEGAL[mode] if augmented else {})
    return list(data.train_dataloader())


def distances(batch: GraspBatch) -> torch.Tensor:
    assert batch.hand_pose is not None
    pose = GraspPose.from_hand_pose(batch.hand_pose)
    return leap().signed_distance(batch.scene_pc[:, None], pose)


def mapped(T: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    return points @ T[:, :3, :3].transpose(1, 2) + T[:, None, :3, 3]


@pytest.mark.parametrize("augmented", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_distances_of_hand_and_object_are_those_of_the_world(
    finished_store: Path, mode: str, augmented: bool
) -> None:
    """Through the whole pipeline, and back to the world and to the camera."""
    store = GraspStore(finished_store)
    seen = 0
    for batch in batches(finished_store, mode, augmented):
        T = batch.T_world_frame
        assert batch.hand_pose is not None
        back = GraspPose.from_hand_pose(batch.hand_pose).transform(T[:, None])
        world = replace(
            batch, scene_pc=mapped(T, batch.scene_pc), hand_pose=back.to_hand_pose(), T_world_frame=T
        )
        torch.testing.assert_close(distances(world), distances(batch), rtol=0, atol=1e-5)
        for i, index in enumerate(batch.item_index):
            item = store.items("train", min_points=20, require_success=True)[
                [s.index for s in store.items("train", min_points=20, require_success=True)].index(index)
            ]
            view, stored = store.view(item.view), store.labeled(item.scene, item.target).grasps.hand_pose
            # Points and grasps are those of the store.
            kept = world.scene_pc[i][batch.point_valid[i]].numpy()
            assert np.linalg.norm(kept[:, None] - view.points[None], axis=-1).min(1).max() < 1e-5
            found = world.hand_pose[i].numpy()  # type: ignore[index]
            assert np.abs(found[:, None, :3] - stored[None, :, :3]).max(-1).min(1).max() < 1e-5
            # The camera and the vertical, too; and in the camera's frame everything is where the camera saw it.
            viewpoint = T[i, :3, :3] @ batch.viewpoint[i] + T[i, :3, 3]
            assert_allclose(viewpoint.numpy(), view.T_world_cam[:3, 3], atol=1e-5)
            assert_allclose((T[i, :3, :3] @ batch.up[i]).numpy(), [0.0, 0.0, 1.0], atol=1e-5)
            T_cam_frame = np.linalg.inv(view.T_world_cam) @ T[i].double().numpy()
            in_camera = batch.scene_pc[i].numpy() @ T_cam_frame[:3, :3].T + T_cam_frame[:3, 3]
            true = (view.points - view.T_world_cam[:3, 3]) @ view.T_world_cam[:3, :3]
            valid = batch.point_valid[i].numpy()
            assert np.linalg.norm(in_camera[valid][:, None] - true[None], axis=-1).min(1).max() < 1e-5
            seen += 1
    assert seen >= 8


@pytest.mark.parametrize("mode", MODES)
def test_where_each_frame_stands(finished_store: Path, mode: str) -> None:
    store = GraspStore(finished_store)
    item = store.items("train", min_points=20, require_success=True)[1]
    view, T_world_object = store.view(item.view), store.T_world_object(item.scene, item.target)
    cloud = build_cloud(
        view,
        item.target,
        replace(PROCESSOR, frame=mode),
        np.random.default_rng(0),
        colors=False,
        T_world_object=T_world_object,
    )
    points, mask = cloud.scene_pc[cloud.point_valid], cloud.object_mask[cloud.point_valid]
    if mode == "tabletop":
        assert_allclose(points[mask, :2].mean(0), 0.0, atol=1e-6)
        assert cloud.T_world_frame[2, 3] == 0.0
    elif mode == "object_centric":
        assert_allclose(cloud.T_world_frame, T_world_object, atol=1e-6)
        assert np.abs(points[mask]).max() < 0.05  # a box of half extents below 4 cm about its own origin
    elif mode == "camera_centric":
        assert_allclose(cloud.viewpoint, 0.0, atol=1e-6)
    else:
        center = points[mask].mean(0) if "obj" in mode else points.mean(0)
        assert_allclose(center, 0.0, atol=1e-6)
        assert_allclose(cloud.T_world_frame[:3, :3], view.T_world_cam[:3, :3], atol=1e-6)


def test_an_unknown_frame_names_the_nearest(finished_store: Path) -> None:
    with pytest.raises(ValueError, match="Did you mean 'camera_centric'"):
        module(finished_store, frame="camera_centrik")


def test_what_a_frame_does_not_allow_says_so(finished_store: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.augment\.yaw is not offered in frame camera_centric"):
        module(finished_store, frame="camera_centric", augment=YAW)
