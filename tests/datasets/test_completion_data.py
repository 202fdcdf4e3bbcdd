"""Do grids hold the true distances of their scenes, and do augmentation and order change nothing else?"""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from factories.records import leap, scene_record, writer
from sceneleapultra.datasets import GraspStore
from sceneleapultra.datasets.completion.items import VoxelAugmentation, VoxelItems, VoxelPhase
from sceneleapultra.datasets.completion.truth import TrueDistances
from sceneleapultra.datasets.completion.voxel_data import VoxelDataModule
from sceneleapultra.utils.geometry.voxels.batch import VoxelBatch
from sceneleapultra.utils.geometry.voxels.grid import VoxelGrid
from sceneleapultra.utils.geometry.voxels.settings import VoxelSettings

REACH_M = 0.03
VOXELS = VoxelSettings(size=16, voxel_m=(0.01, 0.014), extent_m=(0.07,), reach_m=REACH_M)
NONE = VoxelAugmentation(turn_deg=0.0, mirror=False)


def true_box_distance(points: np.ndarray, middle: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Signed distance to a box, by the formula of the textbook."""
    q = np.abs(points - middle) - half
    return np.linalg.norm(np.maximum(q, 0.0), axis=-1) + np.minimum(q.max(-1), 0.0)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> GraspStore:
    made = writer(tmp_path_factory.mktemp("voxels") / "boxes.h5")
    for index, split in enumerate(["train"] * 3 + ["val", "test"]):
        made.write(scene_record(index, split))
    return GraspStore(made.finish(), leap())


def items(store: GraspStore, augmentation: VoxelAugmentation | None = None, seed: int = 0) -> VoxelItems:
    found = store.items("train", min_points=20, require_success=False)
    truth = TrueDistances(reach_m=REACH_M, step_m=0.004)
    return VoxelItems(store, found, VOXELS, truth, augmentation=augmentation, seed=seed)


def module(store: GraspStore, **changes) -> VoxelDataModule:
    settings = {
        "store": str(store.path),
        "hand": "leap_right",
        "batch_size": 2,
        "min_points": 20,
        "max_items": None,
        "cloud": VOXELS,
        "augment": NONE,
        "truth_step_m": 0.004,
        "progressive": (),
        "workers": 0,
        "seed": 0,
    }
    return VoxelDataModule(**settings | changes)


def test_true_distances_are_those_of_the_boxes() -> None:
    """To a millimetre within the reach, and cut off beyond; the target in one channel, the other box in the other."""
    record = scene_record(0)
    scene = record.scene
    grid = VoxelGrid(np.eye(4), 32, 0.008).turned(0.4)
    found = TrueDistances(reach_m=REACH_M, step_m=0.004).field(scene, 1, grid)
    places = grid.centers @ grid.T_cloud_grid[:3, :3].T
    halves = [o.vertices.max(0) for o in scene.objects]
    for channel, i in ((0, 1), (1, 0)):
        true = true_box_distance(places, scene.T_world_object[i, :3, 3], halves[i])
        error = np.abs(found[channel] - np.clip(true, -REACH_M, REACH_M))
        assert error.max() < 0.0015
        assert error[np.abs(true) < 0.8 * REACH_M].mean() < 0.0002
    assert (found[0] < 0.0).any() and (found[1] < 0.0).any()


def test_an_item_holds_what_its_view_shows_and_the_truth_there(store: GraspStore) -> None:
    data = items(store)
    batch = data[(0, 0)]
    item = data.items[0]
    assert batch.item_index == (item.index,)
    view = store.view(item.view)
    points = view.points[view.instance == item.target + 1]
    assert batch.observed[0, 0].sum() > 5
    seen = batch.observed[0, 0] == 1.0
    # The factory's points lie inside of boxes, at most half of the thinnest side deep.
    assert (batch.distance[0, 0][seen] < 0.015).all()
    extent = np.ptp(points, axis=0).max()
    assert float(batch.voxel_m[0]) == pytest.approx(0.01 if extent < 0.07 else 0.014)


def test_augmentation_is_keyed_by_seed_epoch_and_item(store: GraspStore) -> None:
    data = items(store, VoxelAugmentation(turn_deg=40.0, mirror=True))
    together = data.__getitems__([(0, 0), (0, 3), (1, 3)])
    alone = [data[index] for index in ((0, 0), (0, 3), (1, 3))]
    assert torch.equal(together.observed, VoxelBatch.join(alone).observed)
    assert not torch.equal(alone[1].observed, alone[2].observed)
    other = items(store, VoxelAugmentation(turn_deg=40.0, mirror=True), seed=1)[(0, 3)]
    assert not torch.equal(alone[1].observed, other.observed)
    for batch in alone:  # where the target is seen it is: observation and truth were moved alike
        assert (batch.distance[0, 0][batch.observed[0, 0] == 1.0] < 0.015).all()


def test_a_mirrored_item_is_the_mirror_image_of_both(store: GraspStore) -> None:
    plain = items(store)[(0, 1)]
    mirrored = items(store, VoxelAugmentation(turn_deg=0.0, mirror=True))
    found = [mirrored[(epoch, 1)] for epoch in range(8)]
    images = {
        (torch.equal(b.observed, plain.observed), torch.equal(b.observed, plain.observed.flip(3)))
        for b in found
    }
    assert images == {(True, False), (False, True)}
    for b in found:
        flipped = torch.equal(b.observed, plain.observed.flip(3))
        assert torch.equal(b.distance, plain.distance.flip(3) if flipped else plain.distance)


def test_a_phase_serves_the_same_cubes_with_fewer_voxels(store: GraspStore) -> None:
    phase = VoxelPhase(steps=2, batch_size=4, size=8)
    data = module(store, progressive=(phase,))
    data.trainer = None
    loader = data.train_dataloader()
    coarse, fine = next(iter(loader)), next(iter(loader))
    assert coarse.observed.shape[0] == 4 and coarse.distance.shape[2:] == (8, 8, 8)
    assert fine.observed.shape[0] == 2 and fine.distance.shape[2:] == (16, 16, 16)
    (number,) = coarse.item_index[:1]
    position = next(
        i for i, item in enumerate(data.dataset("train", augment=False).items) if item.index == number
    )
    whole = data.dataset("train", augment=False)[(0, position)]
    assert_close(coarse.voxel_m[:1], 2.0 * whole.voxel_m)
    pooled = torch.nn.functional.avg_pool3d(whole.distance, 2)
    near = pooled.abs() < 0.5 * REACH_M
    assert (coarse.distance[:1] - pooled)[near].abs().mean() < 0.002, "the distances of the places between"
    with pytest.raises(ValueError, match="multiple of 8, got 12"):
        module(store, progressive=(VoxelPhase(steps=2, batch_size=4, size=12),))
    with pytest.raises(ValueError, match=r"data\.progressive: expected steps of at least 1, got 0"):
        VoxelPhase(steps=0, batch_size=4, size=8)


def test_the_data_module_serves_every_item_of_validation_once(store: GraspStore) -> None:
    data = module(store)
    batches = list(data.val_dataloader())
    indices = [i for b in batches for i in b.item_index]
    assert sorted(indices) == sorted(
        i.index for i in store.items("val", min_points=20, require_success=False)
    )
    assert batches[0].size == 2
    assert data.cloud == VOXELS.plain


def test_what_cannot_be_served_is_refused(store: GraspStore, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data.batch_size: expected at least 1, got 0"):
        module(store, batch_size=0)
    with pytest.raises(ValueError, match="no item of split 'val'"):
        module(store, min_points=10**6).val_dataloader()
    with pytest.raises(ValueError, match=r"data\.cloud\.size: expected a multiple of 8, got 12"):
        VoxelSettings(size=12, voxel_m=(0.01,), extent_m=(), reach_m=0.03)
    with pytest.raises(ValueError, match="one length more than"):
        VoxelSettings(size=16, voxel_m=(0.01,), extent_m=(0.05,), reach_m=0.03)
    with pytest.raises(ValueError, match="at least a voxel"):
        VoxelSettings(size=16, voxel_m=(0.01,), extent_m=(), reach_m=0.005)
    with pytest.raises(ValueError, match=r"turn_deg: expected 0 to 180"):
        VoxelAugmentation(turn_deg=-1.0, mirror=False)
