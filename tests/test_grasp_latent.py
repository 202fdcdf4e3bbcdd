"""Does the way that docs/diffusion.md shows lead from a store to grasps drawn as codes, and go on where it stopped?"""

from pathlib import Path

import hydra
import numpy as np
import pytest
import torch
from hydra import initialize_config_dir

from sceneleapultra.datasets import GraspStore
from sceneleapultra.hands import load_hand
from sceneleapultra.models import load_grasp_model
from sceneleapultra.train_lightning import train
from sceneleapultra.utils.core.config import CONFIG_DIR

pytestmark = pytest.mark.slow
SMALL = [
    *("logger=csv", "data.batch_size=4", "data.cloud.num_points=300", "data.min_points=20"),
    *("data.grasps.number=2", "data.loading.workers=0", "trainer.val_check_interval=3", "scheduler=constant"),
    "scheduler.warmup_steps=1",
]


def trained(experiment: str, store: Path, folder: Path, *more: str, steps: int = 3) -> Path:
    words = [f"experiment={experiment}", *SMALL, f"data.store={store}", f"run_dir={folder}", *more]
    words.append(f"trainer.max_steps={steps}")
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = hydra.compose("config", overrides=words)
    assert train(cfg, words).global_step == steps
    return folder / "checkpoints" / "last.ckpt"


def test_a_user_gets_from_codes_to_grasps_and_goes_on_bit_for_bit(tiny_store: Path, tmp_path: Path) -> None:
    vae = trained("grasp_vae", tiny_store, tmp_path / "vae")
    words = f"model.objective.vae={vae}"
    whole = trained("grasp_latent", tiny_store, tmp_path / "whole", words, steps=6)
    for steps in (3, 6):
        parts = trained("grasp_latent", tiny_store, tmp_path / "parts", words, steps=steps)
    one, two = (torch.load(path, weights_only=True)["state_dict"] for path in (whole, parts))
    tensors = {key: value for key, value in one.items() if isinstance(value, torch.Tensor)}
    assert all(torch.equal(value, two[key]) for key, value in tensors.items())
    vae.unlink()
    view = GraspStore(tiny_store, load_hand("leap_right")).view(0)
    grasps = load_grasp_model(parts).sample(
        view.points.astype(np.float64),
        4,
        object_mask=view.instance == 1,
        viewpoint=view.T_world_cam[:3, 3],
        up=(0.0, 0.0, 1.0),
        seed=1,
    )
    assert grasps.hand_pose.shape == (4, 23) and np.isfinite(grasps.hand_pose).all()
