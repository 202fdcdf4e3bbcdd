"""Does the way that docs/completion.md shows lead from a store to grasps beside a completed scene?"""

from pathlib import Path

import hydra
import numpy as np
import pytest
import torch
from hydra import initialize_config_dir

from sceneleapultra.datasets import GraspStore
from sceneleapultra.hands import load_hand
from sceneleapultra.models import load_grasp_model
from sceneleapultra.models.completion.complete import load_completion
from sceneleapultra.train_lightning import train
from sceneleapultra.utils.core.config import CONFIG_DIR
from sceneleapultra.utils.requests import GraspRequest

SMALL = [
    "experiment=completion",
    "logger=csv",
    "data.cloud.size=16",
    "data.cloud.voxel_m=[0.014]",
    "data.cloud.extent_m=[]",
    "data.min_points=20",
    "data.batch_size=4",
    "data.truth_step_m=0.008",
    "trainer.max_steps=3",
    "trainer.val_check_interval=3",
    "scheduler.warmup_steps=1",
]


@pytest.fixture(scope="module")
def checkpoint(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the checkpoint of three steps."""
    folder = tmp_path_factory.mktemp("completion")
    words = [*SMALL, f"data.store={tiny_store}", f"run_dir={folder}"]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = hydra.compose("config", overrides=words)
    trainer = train(cfg, words)
    assert trainer.global_step == 3
    assert {"val/loss", "val/hidden_target_iou", "val/occupancy_others_calibration_error"} <= set(
        trainer.callback_metrics
    )
    return folder / "checkpoints/last.ckpt"


def box_request(store: Path) -> GraspRequest:
    """The first view of a scene of two boxes."""
    view = GraspStore(store, load_hand("leap_right")).view(0)
    return GraspRequest(
        points=view.points.astype(np.float64),
        object_mask=view.instance == 1,
        viewpoint=view.T_world_cam[:3, 3],
        up=np.array([0.0, 0.0, 1.0]),
    )


def test_a_trained_completion_stands_beside_a_model_of_grasps(checkpoint: Path, tiny_store: Path) -> None:
    """Grasps stay as they are; clearances are never larger with it than without."""
    request = box_request(tiny_store)
    field = load_completion(checkpoint).field(request)
    assert field.values.shape == (1, 2, 16, 16, 16) and field.values.abs().max() <= 0.03
    alone, beside = (load_grasp_model("leap_table", completion=c) for c in (None, checkpoint))
    one, two = (m.sample_request(request, 4, seed=1) for m in (alone, beside))
    np.testing.assert_array_equal(one.hand_pose, two.hand_pose)
    assert (two.clearance_m <= one.clearance_m).all()
    batch = beside.sample_batch(
        [request, request], 4, seeds=[1, 1], prompts=[None] * 2, negative_prompts=[()] * 2
    )
    np.testing.assert_array_equal(batch[1].clearance_m, two.clearance_m)
    by_clearance = beside.sample_request(request, 4, seed=1, sampling={"rank": "clearance"})
    assert sorted(by_clearance.hand_pose[:, 0]) == sorted(one.hand_pose[:, 0])


def test_a_field_is_the_same_in_any_frame(checkpoint: Path, tiny_store: Path) -> None:
    """A request in its camera's frame is completed as the same one in the world is."""
    request, model = box_request(tiny_store), load_completion(checkpoint)
    a = 0.6
    R = np.array([[np.cos(a), -np.sin(a), 0.0], [0.0, 0.0, -1.0], [np.sin(a), np.cos(a), 0.0]])  # R up = -y
    turned = GraspRequest(
        points=(request.points - request.viewpoint) @ R.T,
        object_mask=request.object_mask,
        viewpoint=np.zeros(3),
        up=R @ request.up,
    )
    places = torch.from_numpy(request.target_points).float()
    there = torch.from_numpy((request.target_points - request.viewpoint) @ R.T).float()
    one, two = model.field(request).distance(places), model.field(turned).distance(there)
    # The middle of the points' extent depends on the axes a little, and the voxels with it.
    assert (one - two).abs().median() < 0.005


def test_what_is_no_completion_is_refused_and_a_completion_is_no_model(checkpoint: Path) -> None:
    with pytest.raises(
        ValueError, match=r"holds a GraspGenerator, not a scene completer\. Train one with: python"
    ):
        load_completion("leap_table")
    with pytest.raises(ValueError, match=r"completes scenes and samples no grasps\. Pass it beside"):
        load_grasp_model(checkpoint)


def test_data_and_model_of_different_kinds_are_refused(tiny_data: list[str], tmp_path: Path) -> None:
    words = ["model=completion", "hardware=cpu", "callbacks=no_simulation", "model.generator.reach_m=0.03"]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = hydra.compose("config", overrides=[*words, *tiny_data, f"run_dir={tmp_path}"])
    with pytest.raises(ValueError, match="do not belong together"):
        train(cfg, words)
