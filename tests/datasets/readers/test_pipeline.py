"""Do hands keep their distance to objects from a foreign file to a batch in any coordinate mode, and to the camera?"""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from factories.batches import LEGAL
from factories.data_module import module
from factories.sources import FORMATS, OVERRIDES, distances, write_source
from sceneleapultra.datasets import GraspStore
from sceneleapultra.hands import GraspPose, load_hand
from sceneleapultra.utils.geometry.frames import MODES

HAND = load_hand("leap_right")


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FORMATS, "sceneleapcache"])
def test_distances_survive_reader_mode_and_augmentation(generated, conversion, tmp_path, name) -> None:
    write_source(name, tmp_path / "source", generated)
    path = conversion(name, *OVERRIDES.get(name, []))(tmp_path / "source", tmp_path / "s.h5").store
    store = GraspStore(path)
    # What the source is made of: for each number of vertices, the distances of each grasp, sorted.
    made: dict[int, list[np.ndarray]] = {}
    for record in map(generated.record, range(generated.num_scenes)):
        for parts in zip(record.scene.objects, record.scene.T_world_object, record.labeled, strict=True):
            made.setdefault(len(parts[0].vertices), []).extend(np.sort(distances(*parts), -1))
    for mode in MODES:
        data = module(path, frame=mode, augment=LEGAL[mode], batch_size=1, min_points=1)
        items = {item.index: item for item in store.items("train", min_points=1, require_success=True)}
        seen = 0
        for batch in data.train_dataloader():
            item = items[batch.item_index[0]]
            view, T_world_frame = store.view(item.view), batch.T_world_frame[0].double().numpy()
            T_cam_world = np.linalg.inv(view.T_world_cam)
            # Grasps of the batch and the object, both in the frame of the camera.
            T_cam_frame = torch.from_numpy(T_cam_world @ T_world_frame).float()
            pose = GraspPose.from_hand_pose(batch.hand_pose[0, batch.grasp_success[0]]).transform(T_cam_frame)
            T_cam_object = T_cam_world @ store.T_world_object(item.scene, item.target)
            vertices = store.scene(item.scene).objects[item.target].vertices
            shown = torch.from_numpy(
                (vertices @ T_cam_object[:3, :3].T + T_cam_object[:3, 3]).astype(np.float32)
            )
            for found in np.sort(HAND.signed_distance(shown, pose).numpy(), -1):
                gaps = [np.abs(found - other).max() for other in made[len(vertices)]]
                assert min(gaps) < 1e-4
                seen += 1
            # The camera's own points of the target are where the batch has them.
            cloud = batch.scene_pc[0, batch.object_mask[0]].double().numpy()
            cloud = cloud @ T_cam_frame[:3, :3].double().numpy().T + T_cam_frame[:3, 3].double().numpy()
            true = view.points[view.instance == item.target + 1] @ T_cam_world[:3, :3].T + T_cam_world[:3, 3]
            assert np.linalg.norm(cloud[:, None] - true[None], axis=-1).min(1).max() < 1e-5
            assert_allclose(T_world_frame[3], [0.0, 0.0, 0.0, 1.0])
        assert seen >= 3
