"""A small model from the shipped configuration, and batches of random scenes for it."""

import torch

from sceneleapultra.hands import load_hand
from sceneleapultra.models.cvae import GraspCVAE, Prior
from sceneleapultra.models.diffuser import GraspDiffuser
from sceneleapultra.models.diffusion.ancestral import DDIM
from sceneleapultra.models.diffusion.path import CosinePath
from sceneleapultra.models.diffusion.weighting import LossWeighting
from sceneleapultra.models.network.decoder.base import DecoderConfig
from sceneleapultra.models.network.decoder.dit import DiTConfig
from sceneleapultra.models.network.encoder.hierarchy import AbstractionLevel, PointHierarchy
from sceneleapultra.models.network.encoder.pointnet2 import PointNet2
from sceneleapultra.models.network.encoder.ptv3 import Architecture, PTv3
from sceneleapultra.models.network.scorer.surface import SurfaceScorerConfig
from sceneleapultra.models.network.scorer.tokens import TokenScorerConfig
from sceneleapultra.utils.batch import GraspBatch


def small_decoder(kind: type[DecoderConfig] = DiTConfig, **changes) -> DecoderConfig:
    settings = {
        "dim": 32,
        "depth": 2,
        "heads": 2,
        "set_attention": True,
        "dim_geometry": 16,
        "geometry_scale": 0.1,
        "hand_geometry": True,
        "contact_scale": 0.02,
        "attention": "sdpa",
        "checkpointing": False,
    }
    return kind(**{**settings, **changes})


def small_encoder(kind: type[PointHierarchy] = PointNet2, **changes) -> PointHierarchy:
    """Two levels: 48 patches of 8 points, then 24 tokens."""
    settings = {
        "levels": {
            "fine": AbstractionLevel(centers=48, radii=(0.04,), neighbors=(8,), widths=(32, 32)),
            "coarse": AbstractionLevel(centers=24, radii=(0.1,), neighbors=(8,), widths=(32, 32)),
        },
        "propagate": 0,
        "dim": 32,
        "use_color": False,
        "checkpointing": False,
        "backend": "torch",
    }
    return kind(**{**settings, **changes})


SMALL_PTV3 = {
    "order": ("z", "hilbert-trans"),
    "stride": (2, 2),
    "enc_depths": (1, 2, 1),
    "enc_channels": (8, 12, 16),
    "enc_heads": (2, 2, 4),
    "dec_depths": (2, 1),
    "dec_channels": (8, 12),
    "dec_heads": (2, 2),
    "patch_size": (16, 16, 16),
    "mlp_ratio": 2.0,
    "drop_path": 0.0,
    "stem": "conv",
    "norm": "layer",
    "layer_scale": None,
    "relative_bias": False,
    "shuffle": "never",
    "patch_rule": "cloud",
    "unpool_convolution": "sum",
    "checkpointing": False,
    "attention": "sdpa",
    "convolution": "gather",
}


def small_ptv3(*, use_color: bool = False, checkpointing: bool = False, **changes) -> PTv3:
    """Three levels, 24 tokens."""
    architecture = {**SMALL_PTV3, "checkpointing": checkpointing, **changes}
    return PTv3(
        num_tokens=24,
        dim=32,
        inputs=("xyz", "target", "color") if use_color else ("xyz", "target"),
        grid_size=0.004,
        depth=10,
        position_scale=0.1,
        frame_neighbors=8,
        frame_radius=0.04,
        architecture=Architecture(**architecture),
        weights=None,
    )


def small_scorer(**changes) -> SurfaceScorerConfig:
    sizes = {"widths": (16, 16), "dim": 32, "target_points": 12, "other_points": 4, "keep": 0.6, "reach": 0.1}
    return SurfaceScorerConfig(**{**sizes, "contact_scale": 0.02, **changes})


def small_token_scorer() -> TokenScorerConfig:
    return TokenScorerConfig(
        dim=32, depth=1, heads=2, dim_geometry=16, geometry_scale=0.1, contact_scale=0.02
    )


def small_settings() -> dict:
    return {
        "hand": "leap_right",
        "encoder": small_encoder(),
        "path": CosinePath(),
        "prediction": "x0",
        "sampler": DDIM(steps=4, spacing="trailing", eta=0.0, temperature=1.0, clip_x0=4.0),
        "representation": "anchored",
        "reference_depth": 0.02,
        "contact_points": 32,
        "decoder": small_decoder(),
        "conditions": {},
        "scene_drop_prob": 0.0,
        "color_drop_prob": 0.0,
        "compile": False,
        "scorer": small_scorer(),
        "anchor_softness": 0.01,
        "anchor_reach": 1.0,
        "anchor_temperature": 1.0,
        "pregrasp_opening": 0.15,
        "squeeze_gain": 1.0,
        "num_grasps": 6,
        "loss_weights": {
            "translation": 1.0,
            "joints": 1.0,
            "rotation": 1.0,
            "squeeze": 0.5,
            "anchor": 0.1,
            "score": 0.3,
        },
        "weighting": LossWeighting(kind="edm", maximum=10.0),
        "density": None,
        "seed": 0,
        "optimizer": None,
        "scheduler": None,
    }


def small_model(*, weights: int = 0, **changes) -> GraspDiffuser:
    """Build a model whose weights are drawn with a seed."""
    torch.manual_seed(weights)
    settings = small_settings()
    return awake(GraspDiffuser(**{**settings, **changes})).eval()


def awake(model: torch.nn.Module):
    # adaLN-zero starts as the identity: give every gate and output a value, or no test would see past them.
    for parameter in model.parameters():
        if parameter.abs().sum() == 0:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def small_cvae(**changes) -> GraspCVAE:
    torch.manual_seed(0)
    settings = small_settings()
    for key in ("path", "prediction", "weighting", "scene_drop_prob", "density"):
        del settings[key]
    settings |= {
        "sampler": Prior(steps=1, temperature=1.0, clip_x0=None),
        "decoder": small_decoder(hand_geometry=False),
        "latent_dim": 8,
        "free_nats": 0.0,
        "kl_warmup_steps": 0,
        "loss_weights": {**settings["loss_weights"], "kl": 0.02},
    }
    return awake(GraspCVAE(**{**settings, **changes})).eval()


def scene_batch(num_scenes: int = 3, num_points: int = 96, num_grasps: int = 8, seed: int = 0) -> GraspBatch:
    """Curved patches seen from above on the side, with random grasps of a right hand near them."""
    g = torch.Generator().manual_seed(seed)
    hand = load_hand("leap_right")
    angle = torch.rand(num_scenes, num_points, generator=g) * 3.0
    height = torch.rand(num_scenes, num_points, generator=g) * 0.1
    radius = 0.03 + 0.02 * torch.rand(num_scenes, 1, generator=g)
    points = torch.stack([radius * angle.cos(), radius * angle.sin(), height], dim=-1)
    quat = torch.nn.functional.normalize(torch.randn(num_scenes, num_grasps, 4, generator=g), dim=-1)
    low, high = hand.joint_limits.unbind(-1)
    qpos = low + (high - low) * torch.rand(num_scenes, num_grasps, 16, generator=g)
    translation = 0.1 * torch.randn(num_scenes, num_grasps, 3, generator=g)
    yes = torch.ones(num_scenes, num_grasps, dtype=torch.bool)
    return GraspBatch(
        scene_pc=points,
        point_valid=torch.ones(num_scenes, num_points, dtype=torch.bool),
        object_mask=torch.rand(num_scenes, num_points, generator=g) < 0.7,
        viewpoint=torch.tensor([0.1, 0.5, 0.4]).expand(num_scenes, 3),
        up=torch.tensor([0.0, 0.0, 1.0]).expand(num_scenes, 3),
        T_world_frame=torch.eye(4).expand(num_scenes, 4, 4),
        hand_pose=torch.cat([translation, qpos, quat], -1),
        pregrasp_qpos=qpos - 0.1,
        squeeze_qpos=qpos + 0.1,
        grasp_valid=yes,
        grasp_success=yes,
        grasp_stable=yes.float(),
        grasp_collision_free=yes.float(),
        object_name=tuple(f"thing-{i}" for i in range(num_scenes)),
        item_index=tuple(range(num_scenes)),
    )


def adopt_from(model, batch: GraspBatch) -> None:
    """Let a model normalize by the statistics of one batch."""
    model.adopt(model.measure([batch], {"frame": "tabletop", "data_hash": "x"}))
