"""Does the way that docs/completion.md shows lead from a store to grasps beside a completed scene?"""

from dataclasses import replace
from pathlib import Path

import hydra
import numpy as np
import pytest
import torch
from hydra import initialize_config_dir

from factories.training import TINY
from sceneleapultra.datasets import GraspStore
from sceneleapultra.hands import load_hand
from sceneleapultra.models import load_grasp_model
from sceneleapultra.models.completion.complete import load_completion
from sceneleapultra.train_lightning import train
from sceneleapultra.utils.core.config import CONFIG_DIR
from sceneleapultra.utils.geometry.voxels.field import SceneField
from sceneleapultra.utils.geometry.voxels.grid import Standpoint, VoxelGrid
from sceneleapultra.utils.requests import GraspRequest

SMALL = [
    "logger=csv",
    "data.cloud.size=16",
    "data.cloud.voxel_m=[0.014]",
    "data.cloud.extent_m=[]",
    "data.min_points=20",
    "data.batch_size=4",
    "data.truth_step_m=0.008",
    "trainer.val_check_interval=3",
    "scheduler.warmup_steps=1",
]


def trained(experiment: str, store: Path, folder: Path, *more: str, steps: int = 3) -> tuple[Path, set[str]]:
    """Train so many steps, and return the checkpoint and what was logged."""
    words = [
        f"experiment={experiment}",
        *SMALL,
        f"data.store={store}",
        f"run_dir={folder}",
        f"trainer.max_steps={steps}",
    ]
    return ran([*words, *more], steps, folder)


def ran(words: list[str], steps: int, folder: Path) -> tuple[Path, set[str]]:
    """Train so many steps by these words."""
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = hydra.compose("config", overrides=words)
    trainer = train(cfg, words)
    assert trainer.global_step == steps
    return folder / "checkpoints/last.ckpt", set(trainer.callback_metrics)


@pytest.fixture(scope="module")
def checkpoint(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the checkpoint of a completer."""
    path, logged = trained("completion", tiny_store, tmp_path_factory.mktemp("completion"))
    assert {"val/loss", "val/hidden_target_iou", "val/occupancy_others_calibration_error"} <= logged
    return path


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
    assert (two.clearance_m <= one.clearance_m).all() and one.clearance_spread_m is None
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


@pytest.mark.slow
def test_a_model_that_reads_a_completion_needs_its_file_no_more(
    checkpoint: Path, tiny_store: Path, tmp_path: Path
) -> None:
    """It trains, goes on where it was stopped bit for bit, samples from its checkpoint alone; the completion stays."""
    weights = tmp_path / "completion.ckpt"
    weights.write_bytes(checkpoint.read_bytes())
    words = [
        "experiment=quickstart",
        *TINY,
        f"data.store={tiny_store}",
        "model/generator/completion=tokens",
        f"model.generator.completion.weights={weights}",
        "model.generator.completion.number=8",
    ]
    found = []
    for folder, ends in (("whole", (4,)), ("parts", (2, 4))):
        for steps in ends:
            more = [f"run_dir={tmp_path / folder}", f"trainer.max_steps={steps}"]
            path, _ = ran([*words, *more], steps, tmp_path / folder)
        found.append(torch.load(path, weights_only=True))
    one, two = (saved["state_dict"] for saved in found)
    assert all(torch.equal(value, two[key]) for key, value in one.items() if isinstance(value, torch.Tensor))
    weights.unlink()
    model = load_grasp_model(path)
    request = box_request(tiny_store)
    made = model.sample_request(request, 4, seed=1)
    assert np.isfinite(made.hand_pose).all()
    before = load_completion(checkpoint).completer.state_dict()
    assert model.generator.completion is not None
    after = model.generator.completion.state_dict()
    assert all(torch.equal(value, after[f"completer.{key}"]) for key, value in before.items())


@pytest.mark.slow
def test_a_user_gets_from_codes_to_hypotheses(tiny_store: Path, tmp_path: Path) -> None:
    """An autoencoder, a diffusion of its codes, its student, and what they draw."""
    vae, logged = trained("completion_vae", tiny_store, tmp_path / "vae")
    assert {"val/loss", "val/kl", "val/target_iou"} <= logged
    latent, _ = trained("completion_latent", tiny_store, tmp_path / "latent", f"model.objective.vae={vae}")
    words = f"model.objective.teacher={latent}"
    student, _ = trained("completion_consistency", tiny_store, tmp_path / "student", words)
    request = box_request(tiny_store)
    for path in (latent, student):
        model = load_grasp_model("leap_table", completion=path, hypotheses=3)
        field = model.completed(request)
        assert field is not None
        assert field.values.shape == (3, 2, 16, 16, 16) and field.values.abs().max() <= 0.03
        assert model.sample_request(request, 4, seed=1).clearance_spread_m is not None


@pytest.mark.slow
def test_a_run_that_was_stopped_in_a_phase_of_fewer_voxels_goes_on_bit_for_bit(
    tiny_store: Path, tmp_path: Path
) -> None:
    words = [
        "scheduler=constant",
        "trainer.val_check_interval=6",
        "data.cloud.voxel_m=[0.012]",
        "data.progressive=[{steps: 4, batch_size: 8, size: 8}]",
    ]
    found = []
    for folder, ends in (("whole", (6,)), ("parts", (3, 6))):
        for steps in ends:
            path, _ = trained("completion_vae", tiny_store, tmp_path / folder, *words, steps=steps)
        found.append(torch.load(path, weights_only=True)["state_dict"])
    assert all(torch.equal(value, found[1][key]) for key, value in found[0].items())


class Hypotheses:
    """Completes every scene with the same distance to others everywhere, once for each of some distances."""

    def __init__(self, *distances: float) -> None:
        self.distances = distances

    def field(self, request: GraspRequest) -> SceneField:
        grid = VoxelGrid.of(
            request.target_points, Standpoint(request.viewpoint, request.up, 0.0), size=32, voxel_m=0.02
        )
        values = torch.tensor(self.distances)[:, None, None, None, None].expand(-1, 2, 32, 32, 32)
        return SceneField.of(grid, values, 0.03)


def test_the_worst_of_several_hypotheses_counts(tiny_store: Path) -> None:
    request, model = box_request(tiny_store), load_grasp_model("leap_table")
    one, both = (
        replace(model, completion=Hypotheses(*distances)).sample_request(request, 4, seed=1)
        for distances in ((-0.02,), (-0.02, -0.03))
    )
    np.testing.assert_array_equal(both.hand_pose, one.hand_pose)
    np.testing.assert_allclose(both.clearance_m, one.clearance_m - 0.01, atol=1e-6)
    assert one.clearance_spread_m is not None and both.clearance_spread_m is not None
    assert (one.clearance_spread_m == 0.0).all()
    np.testing.assert_allclose(both.clearance_spread_m, 0.01, atol=1e-6)
    assert both.to_dict()["grasps"][0]["clearance_spread_m"] == both.clearance_spread_m[0]
    assert both.best(2).clearance_spread_m is not None


def test_hypotheses_without_a_completion_that_gives_them_are_refused(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match=r"hypotheses=2: this completion gives one\..*completion_latent"):
        load_grasp_model("leap_table", completion=checkpoint, hypotheses=2)
    with pytest.raises(ValueError, match="hypotheses=2 are of a completion, and none was passed"):
        load_grasp_model("leap_table", hypotheses=2)


def test_what_is_no_completion_is_refused_and_a_completion_is_no_model(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match=r"holds a GraspGenerator, not a Completer\. Train one with: python"):
        load_completion("leap_table")
    with pytest.raises(ValueError, match=r"completes scenes and samples no grasps\. Pass it beside"):
        load_grasp_model(checkpoint)


def test_data_and_model_of_different_kinds_are_refused(tiny_data: list[str], tmp_path: Path) -> None:
    words = ["model=completion", "hardware=cpu", "callbacks=no_simulation", "model.generator.reach_m=0.03"]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = hydra.compose("config", overrides=[*words, *tiny_data, f"run_dir={tmp_path}"])
    with pytest.raises(ValueError, match="do not belong together"):
        train(cfg, words)
