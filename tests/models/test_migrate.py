"""Old checkpoints: do they load, keep what they compute, and is a newer one answered by a sentence?"""

import copy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from factories.models import small_decoder
from factories.shipped import LEAP_TABLE_CPU
from sceneleapultra.models import load_grasp_model
from sceneleapultra.models.checkpoints.migrate import CHECKPOINT_VERSION, migrate
from sceneleapultra.models.diffusion.ancestral import DDPM
from sceneleapultra.models.diffusion.process import CosineProcess
from sceneleapultra.models.network.decoder.base import DecoderDims
from sceneleapultra.models.network.decoder.dit import DiTConfig
from sceneleapultra.models.network.decoder.unet import UNetConfig
from sceneleapultra.models.network.heads.tokens import TokenScoreConfig
from sceneleapultra.models.representation import PoseRepresentation
from sceneleapultra.utils.core.config import build
from sceneleapultra.utils.geometry.point_choice import PointChoice

SHIPPED = LEAP_TABLE_CPU
SHIPPED_POSITIONS = [
    [-0.030989, -0.067554, 0.044687],
    [0.010895, -0.076805, 0.046689],
    [0.058241, -0.061195, 0.053065],
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
    "_target_": "models.diffuser.GraspDiffuser",
    "hand": "leap_right",
    "path": {"_target_": "models.diffusion.path.CosinePath"},
    "prediction": "v",
    "representation": "plain",
    "reference_depth": 0.02,
    "anchor_temperature": 0.7,
    "pregrasp_opening": 0.1,
    "squeeze_gain": 2.0,
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
MOVED_SCORER = {f"generator.heads.score.{key.removeprefix('scorer.')}" for key in SCORER}


def oldest(**cloud) -> dict:
    return {"model_config": {"model": copy.deepcopy(OLDEST), "cloud": cloud}, "state_dict": dict(SCORER)}


def test_shipped_checkpoint_loads():
    generator = load_grasp_model(SHIPPED).generator
    assert not generator.training
    assert all(p.isfinite().all() for p in generator.parameters())


def test_decoder_arguments_of_the_oldest_become_a_group():
    old = oldest()
    before = copy.deepcopy(old)
    new = migrate(old)
    assert old["model_config"] == before["model_config"], "the checkpoint that was read is left alone"
    assert old["state_dict"]["scorer.decoder.out.bias"].shape == (1,)
    decoder = new["model_config"]["generator"]["decoder"]
    assert (
        decoder["_target_"] == "sceneleapultra.models.network.decoder.dit.DiTConfig" and decoder["dim"] == 16
    )
    assert (decoder["mlp_ratio"], decoder["dim_time"]) == (4.0, 16)
    assert new["version"] == CHECKPOINT_VERSION


def test_clouds_of_the_oldest_are_made_of_farthest_points():
    old = oldest(num_points=7)
    cloud = migrate(old)["model_config"]["cloud"]
    assert cloud["num_points"] == 7
    assert PointChoice(**cloud["points"]).sampler == "farthest"


def test_settings_of_the_oldest_become_groups():
    """What concerns sampling is kept; what 0.1 trained with is not."""
    config = migrate(oldest())["model_config"]
    generator = config["generator"]
    assert config["objective"] is None and "max_loss_weight" not in generator
    solver = DDPM(steps=100, spacing="trailing", temperature=1.0, clip_x0=4.0)
    assert build(generator["sampling"]["solver"]) == solver
    process = build(generator["process"])
    assert isinstance(process.noise, CosineProcess) and process.prediction == "v"
    assert build(generator["representation"]) == PoseRepresentation(
        anchored=False, reference_depth=0.02, autoencoder=None
    )
    expected = {"anchor_temperature": 0.7, "squeeze_gain": 2.0, "graspness": 0.0}
    assert {name: generator["sampling"][name] for name in expected} == expected


def test_encoder_of_the_oldest_has_two_levels_with_its_weights():
    keys = ["fine.first.weight", "fine.second.bias", "coarse.norm.weight", "out.weight"]
    old = oldest()
    old["state_dict"] |= {f"denoiser.encoder.{key}": i for i, key in enumerate(keys)}
    new = migrate(old)
    encoder = build(new["model_config"]["generator"]["encoder"])
    assert (encoder.level_sizes, encoder.dim, encoder.min_points) == ((12, 6), 8, 4)
    moved = {key: value for key, value in new["state_dict"].items() if key not in MOVED_SCORER}
    assert moved == {
        "generator.encoder.stages.fine.0.layers.0.weight": 0,
        "generator.encoder.stages.fine.0.layers.1.bias": 1,
        "generator.encoder.stages.coarse.0.norm.weight": 2,
        "generator.encoder.out.weight": 3,
    }
    assert {key.removeprefix("generator.encoder.") for key in moved} <= set(encoder.state_dict())


@pytest.mark.parametrize("kind", [DiTConfig, UNetConfig], ids=["dit", "unet"])
def test_attention_of_blocks_keeps_its_weights_under_new_names(kind):
    config = small_decoder(kind)
    new = config.build(
        DecoderDims(dim_state=5, dim_scene=6, dim_out=5, dim_prompt=7, dim_hand=None, dim_completion=None)
    ).state_dict()
    names = {"self_attn": "among", "cross_attn": "across", "prompt_attn": "told"}
    old = oldest()
    for key, value in new.items():
        parts = [names.get(part, part) for part in key.split(".")]
        old["state_dict"]["denoiser.decoder." + ".".join(parts)] = value
    moved = migrate(old)["state_dict"]
    assert {key: moved[f"generator.decoder.{key}"] for key in new} == new
    assert moved.keys() == {f"generator.decoder.{key}" for key in new} | MOVED_SCORER


def test_scorer_of_before_there_was_a_choice_attends_to_tokens():
    head = build(migrate(oldest())["model_config"]["generator"]["heads"]["score"])
    assert isinstance(head, TokenScoreConfig) and (head.dim, head.heads) == (8, 2)


@pytest.mark.parametrize(
    ("kind", "settings", "process", "where"),
    [
        ("diffuser.GraspDiffuser", {}, "Diffusion", "process.noise"),
        ("distill.ConsistencyModel", {}, "ConsistencyDiffusion", "process.diffusion.noise"),
        ("cvae.GraspCVAE", {"latent_dim": 8}, "LatentDecoding", None),
    ],
)
def test_each_model_of_0_1_becomes_a_generator(kind, settings, process, where):
    """Every weight finds its place: those of its process, heads and conditions, and of the half that trains."""
    old = oldest()
    old["model_config"]["model"] |= {"_target_": f"models.{kind}", **settings}
    keys = {
        "denoiser.unseen": "generator.conditioning.null_scene",
        "denoiser.no_color": "generator.conditioning.null_color",
        "denoiser.conditions.prompt.null": "generator.conditioning.conditions.prompt.null",
        "denoiser.anchor_head.0.bias": "generator.heads.anchors.mlp.0.bias",
        "denoiser.normalizer.mean": "generator.normalizer.mean",
        "scorer.hold.0.bias": "generator.heads.score.stable.0.bias",
        "scorer.clear.0.bias": "generator.heads.score.collision_free.0.bias",
        "posterior.out.bias": "objective.posterior.out.bias",
    } | ({"path.sigma_data": f"generator.{where}.sigma_data"} if where else {})
    old["state_dict"] |= {key: i for i, key in enumerate(keys)}
    new = migrate(old)
    generator = new["model_config"]["generator"]
    assert generator["_target_"] == "sceneleapultra.models.generator.GraspGenerator"
    assert type(build(generator["process"])).__name__ == process
    moved = {key: value for key, value in new["state_dict"].items() if key not in MOVED_SCORER}
    assert moved == {key: i for i, key in enumerate(keys.values())}


def test_a_pretrained_encoder_of_0_1_stays_an_encoder_alone():
    old = oldest()
    encoder = old["model_config"]["model"]["encoder"]
    old["model_config"]["model"] |= {"_target_": "models.pretrain.EncoderPretrainer"}
    old["state_dict"] |= {"encoder.out.bias": 1, "head.out.0.bias": 2}
    new = migrate(old)
    assert encoder["_target_"].startswith("models.")
    assert new["model_config"]["generator"]["_target_"].endswith("pretraining.EncoderOnly")
    assert new["state_dict"].keys() - MOVED_SCORER == {
        "generator.encoder.out.bias",
        "objective.head.out.0.bias",
    }


def test_a_run_begun_by_0_1_is_not_continued(model):
    with pytest.raises(ValueError, match=r"begun by an earlier version.*init_from=<the checkpoint>"):
        model.on_load_checkpoint(torch.load(SHIPPED, weights_only=True))


def test_shipped_checkpoint_gives_the_grasps_it_gave_before():
    """Hand positions for a bent wall on a table, recorded since normals of lone points are defined.

    That the network itself is that of 0.1 is shown in test_reference.py, from the noise of 0.1.
    """
    rng = np.random.default_rng(3)
    angle, height = rng.uniform(-1.2, 1.2, 600), rng.uniform(0.0, 0.1, 600)
    wall = np.stack([0.04 * np.cos(angle), 0.04 * np.sin(angle), height], axis=1)
    table = np.pad(rng.uniform(-0.2, 0.2, (600, 2)), ((0, 0), (0, 1)))
    made = load_grasp_model(SHIPPED).sample(
        np.concatenate([wall, table]).astype(np.float32),
        6,
        object_mask=np.arange(1200) < 600,
        viewpoint=(0.5, 0.0, 0.5),
        up=(0.0, 0.0, 1.0),
        seed=0,
        sampling={"steps": 10, "temperature": 0.2},
    )
    assert_allclose(made.hand_pose[:3, :3], SHIPPED_POSITIONS, atol=1e-4)


def test_checkpoint_of_today_is_left_as_it_is():
    new = {
        "model_config": {"generator": {"decoder": {"_target_": "x"}}},
        "state_dict": {"weight": 1},
        "version": CHECKPOINT_VERSION,
    }
    assert migrate(new) == new


def test_checkpoint_of_a_later_version_is_refused(tmp_path):
    saved = torch.load(SHIPPED, weights_only=True) | {"version": CHECKPOINT_VERSION + 1}
    torch.save(saved, tmp_path / "later.ckpt")
    with pytest.raises(ValueError, match="a later version of the project wrote it"):
        load_grasp_model(tmp_path / "later.ckpt")
