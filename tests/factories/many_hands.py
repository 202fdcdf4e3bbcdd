"""A small generator for many hands, from the configuration."""

import torch
from hydra import compose, initialize_config_dir

from sceneleapultra.models.checkpoints.load import build_generator
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.utils.core.config import CONFIG_DIR
from tests.factories.models import awake

SMALL = [
    "model/generator/encoder=pointnet2_small",
    "run_dir=unused",
    "model/generator/hand_encoder=graph",
    "model.generator.hand_encoder={dim:16,depth:1,heads:2}",
    "model.generator.decoder={dim:32,depth:1,heads:2,dim_geometry:8}",
    "sampling.solver.steps=2",
    "model.generator.encoder.levels={fine:{centers:32,neighbors:[8]},coarse:{centers:16,neighbors:[8]}}",
]


def many(hand: str = "leap_right", *changes: str) -> GraspGenerator:
    """Build one whose weights are drawn with a seed."""
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("config", overrides=[*SMALL, *changes, f"hand={hand}"])
    torch.manual_seed(0)
    return awake(build_generator(cfg.model.generator)).eval()
