"""Old checkpoints: do they load, keep what they compute, and is a newer one answered by a sentence?"""

import copy

import pytest
import torch

from models import load_grasp_model
from models.migrate import CHECKPOINT_VERSION, migrated
from utils.config import CONFIG_DIR
from utils.point_choice import PointChoice

SHIPPED = CONFIG_DIR.parent / "docs" / "models" / "leap_table_cpu" / "model.ckpt"
OLDEST_DECODER = {"dim": 16, "depth": 1, "heads": 2, "set_attention": False}


def test_shipped_checkpoint_loads():
    module = load_grasp_model(SHIPPED).module
    assert not module.training
    assert all(p.isfinite().all() for p in module.parameters())


def test_decoder_arguments_of_the_oldest_become_a_group():
    old = {"model_config": {"model": {"decoder": dict(OLDEST_DECODER)}, "cloud": {}}}
    before = copy.deepcopy(old)
    new = migrated(old)
    assert old == before, "the checkpoint that was read is left alone"
    decoder = new["model_config"]["model"]["decoder"]
    assert decoder["_target_"] == "models.decoder.dit.DiTConfig" and decoder["dim"] == 16
    assert new["version"] == CHECKPOINT_VERSION


def test_clouds_of_the_oldest_are_made_of_farthest_points():
    old = {"model_config": {"model": {"decoder": dict(OLDEST_DECODER)}, "cloud": {"num_points": 7}}}
    cloud = migrated(old)["model_config"]["cloud"]
    assert cloud["num_points"] == 7
    assert PointChoice(**cloud["points"]).sampler == "farthest"


def test_checkpoint_of_today_is_left_as_it_is():
    new = {"model_config": {"model": {"decoder": {"_target_": "x"}}}, "version": CHECKPOINT_VERSION}
    assert migrated(new) == new


def test_checkpoint_of_a_later_version_is_refused(tmp_path):
    saved = torch.load(SHIPPED, weights_only=True) | {"version": CHECKPOINT_VERSION + 1}
    torch.save(saved, tmp_path / "later.ckpt")
    with pytest.raises(ValueError, match="a later version of the project wrote it"):
        load_grasp_model(tmp_path / "later.ckpt")
