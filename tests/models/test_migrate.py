"""Old checkpoints: do they load, keep what they compute, and is a newer one answered by a sentence?"""

import copy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sceneleapultra.models.network.scorer.tokens import TokenScorerConfig

from factories.models import small_decoder
from sceneleapultra.models import load_grasp_model
from sceneleapultra.models.checkpoints.migrate import CHECKPOINT_VERSION, migrated
from sceneleapultra.models.diffusion.ancestral import DDPM
from sceneleapultra.models.diffusion.weighting import LossWeighting
from sceneleapultra.models.network.decoder.base import DecoderDims
from sceneleapultra.models.network.decoder.dit import DiTConfig
from sceneleapultra.models.network.decoder.unet import UNetConfig
from sceneleapultra.utils.core.config import CONFIG_DIR, build
from sceneleapultra.utils.geometry.point_choice import PointChoice

SHIPPED = CONFIG_DIR.parent / "model_zoo" / "leap_table_cpu" / "model.ckpt"
SHIPPED_POSITIONS = [
    [-0.035305, -0.067464, 0.073682],
    [0.103644, -0.006213, 0.066230],
    [0.113982, -0.017739, 0.091594],
]
OLDEST = {
    "encoder": {
        "_target_": "models.encoder.pointnet2.PointNet2",
        "num_fine": 12,
        "num_tokens": 6,
        "neighbours": 4,
        "radius_fine": 0.03,
        "radius_coarse": 0.08,
        "dim": 8,
    },
    "decoder": {"dim": 16, "depth": 1, "heads": 2, "set_attention": False},
    "scorer": {
        "dim": 8,
        "depth": 1,
        "heads": 2,
        "dim_geometry": 4,
        "geometry_scale": 0.1,
        "contact_scale": 0.02,
    },
    "max_loss_weight": 10.0,
    "sampler": {
        "_target_": "models.diffusion.samplers.SamplerConfig",
        "name": "ddpm",
        "steps": 100,
        "spacing": "trailing",
        "eta": 1.0,
        "temperature": 1.0,
        "clip_x0": 4.0,
    },
}
SCORER = {"scorer.decoder.out.weight": torch.zeros(1, 4), "scorer.decoder.out.bias": torch.zeros(1)}


def oldest(**cloud) -> dict:
    return {"model_config": {"model": copy.deepcopy(OLDEST), "cloud": cloud}, "state_dict": dict(SCORER)}


def test_shipped_checkpoint_loads():
    module = load_grasp_model(SHIPPED).module
    assert not module.training
    assert all(p.isfinite().all() for p in module.parameters())


def test_decoder_arguments_of_the_oldest_become_a_group():
    old = oldest()
    before = copy.deepcopy(old)
    new = migrated(old)
    assert old["model_config"] == before["model_config"], "the checkpoint that was read is left alone"
    assert old["state_dict"]["scorer.decoder.out.bias"].shape == (1,)
    decoder = new["model_config"]["model"]["decoder"]
    assert (
        decoder["_target_"] == "sceneleapultra.models.network.decoder.dit.DiTConfig" and decoder["dim"] == 16
    )
    assert new["version"] == CHECKPOINT_VERSION


def test_clouds_of_the_oldest_are_made_of_farthest_points():
    old = oldest(num_points=7)
    cloud = migrated(old)["model_config"]["cloud"]
    assert cloud["num_points"] == 7
    assert PointChoice(**cloud["points"]).sampler == "farthest"


def test_weighting_and_sampler_of_the_oldest_become_groups():
    old = oldest()
    model = migrated(old)["model_config"]["model"]
    assert build(model["weighting"]) == LossWeighting(kind="edm", maximum=10.0)
    assert build(model["sampler"]) == DDPM(steps=100, spacing="trailing", temperature=1.0, clip_x0=4.0)
    assert "max_loss_weight" not in model


def test_encoder_of_the_oldest_has_two_levels_with_its_weights():
    keys = ["fine.first.weight", "fine.second.bias", "coarse.norm.weight", "out.weight"]
    old = oldest()
    old["state_dict"] |= {f"denoiser.encoder.{key}": i for i, key in enumerate(keys)}
    new = migrated(old)
    encoder = build(new["model_config"]["model"]["encoder"])
    assert (encoder.level_sizes, encoder.dim, encoder.min_points) == ((12, 6), 8, 4)
    moved = {key: value for key, value in new["state_dict"].items() if key not in SCORER}
    assert moved == {
        "denoiser.encoder.stages.fine.0.layers.0.weight": 0,
        "denoiser.encoder.stages.fine.0.layers.1.bias": 1,
        "denoiser.encoder.stages.coarse.0.norm.weight": 2,
        "denoiser.encoder.out.weight": 3,
    }
    assert {key.removeprefix("denoiser.encoder.") for key in moved} <= set(encoder.state_dict())


@pytest.mark.parametrize("kind", [DiTConfig, UNetConfig], ids=["dit", "unet"])
def test_attention_of_blocks_keeps_its_weights_under_new_names(kind):
    config = small_decoder(kind)
    new = config.build(DecoderDims(dim_state=5, dim_scene=6, dim_out=5, dim_prompt=7)).state_dict()
    names = {"self_attn": "among", "cross_attn": "across", "prompt_attn": "told"}
    old = oldest()
    for key, value in new.items():
        parts = [names.get(part, part) for part in key.split(".")]
        old["state_dict"]["denoiser.decoder." + ".".join(parts)] = value
    moved = migrated(old)["state_dict"]
    assert {key: moved[f"denoiser.decoder.{key}"] for key in new} == new
    assert moved.keys() == {f"denoiser.decoder.{key}" for key in new} | SCORER.keys()


def test_scorer_of_before_there_was_a_choice_attends_to_tokens():
    scorer = build(migrated(oldest())["model_config"]["model"]["scorer"])
    assert isinstance(scorer, TokenScorerConfig) and (scorer.dim, scorer.heads) == (8, 2)


def test_shipped_checkpoint_gives_the_grasps_it_gave_when_it_was_shipped():
    """Hand positions recorded at the commit that shipped it; sampled as a user does."""
    rng = np.random.default_rng(3)
    angle, height = rng.uniform(-1.2, 1.2, 600), rng.uniform(0.0, 0.1, 600)
    points = np.stack([0.04 * np.cos(angle), 0.04 * np.sin(angle), height], axis=1)
    made = load_grasp_model(SHIPPED).sample(
        points.astype(np.float32),
        6,
        object_mask=np.arange(600) % 3 > 0,
        viewpoint=(0.5, 0.0, 0.5),
        up=(0.0, 0.0, 1.0),
        seed=0,
        steps=10,
        temperature=0.2,
    )
    assert_allclose(made.hand_pose[:3, :3], SHIPPED_POSITIONS, atol=1e-4)


def test_checkpoint_of_today_is_left_as_it_is():
    new = {
        "model_config": {"model": {"decoder": {"_target_": "x"}}},
        "state_dict": {"weight": 1},
        "version": CHECKPOINT_VERSION,
    }
    assert migrated(new) == new


def test_checkpoint_of_a_later_version_is_refused(tmp_path):
    saved = torch.load(SHIPPED, weights_only=True) | {"version": CHECKPOINT_VERSION + 1}
    torch.save(saved, tmp_path / "later.ckpt")
    with pytest.raises(ValueError, match="a later version of the project wrote it"):
        load_grasp_model(tmp_path / "later.ckpt")
