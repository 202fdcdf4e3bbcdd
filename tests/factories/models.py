"""A small model from the shipped configuration, and batches of random scenes for it."""

import torch
from torch import Tensor

from sceneleapultra.hands import load_hand
from sceneleapultra.models.diffusion.ancestral import DDIM
from sceneleapultra.models.diffusion.prior import PriorSolver
from sceneleapultra.models.diffusion.process import CosineProcess
from sceneleapultra.models.diffusion.weighting import LossWeighting
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.module import GraspModule
from sceneleapultra.models.network.context import SceneContext
from sceneleapultra.models.network.decoder.base import DecoderConfig
from sceneleapultra.models.network.decoder.dit import DiTConfig
from sceneleapultra.models.network.encoder.hierarchy import AbstractionLevel, PointHierarchy
from sceneleapultra.models.network.encoder.pointnet2 import PointNet2
from sceneleapultra.models.network.encoder.ptv3 import Architecture, PTv3
from sceneleapultra.models.network.heads.anchors import AnchorHeadConfig
from sceneleapultra.models.network.heads.surface import SurfaceScoreConfig
from sceneleapultra.models.network.heads.tokens import TokenScoreConfig
from sceneleapultra.models.objectives.context import AnchorAssignment
from sceneleapultra.models.objectives.denoising import Denoising
from sceneleapultra.models.objectives.latent import Divergence, LatentVariable
from sceneleapultra.models.objectives.matching import Index
from sceneleapultra.models.objectives.objective import Objective
from sceneleapultra.models.objectives.states import HeadLoss, StateError
from sceneleapultra.models.objectives.term import LossTerm
from sceneleapultra.models.process import Diffusion, LatentDecoding
from sceneleapultra.models.ranking import LearnedRank
from sceneleapultra.models.representation import PoseRepresentation
from sceneleapultra.models.sampling import SampleRandom, choose_anchors
from sceneleapultra.models.sampling_config import SamplingConfig
from sceneleapultra.models.statistics import compute_statistics, set_statistics
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.core.config import build, load_group


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
        **({"mlp_ratio": 4.0, "dim_time": 32} if kind is DiTConfig else {}),
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


def small_score(**changes) -> SurfaceScoreConfig:
    sizes = {"widths": (16, 16), "dim": 32, "target_points": 12, "other_points": 4, "keep": 0.6, "reach": 0.1}
    return SurfaceScoreConfig(**{**sizes, "contact_scale": 0.02, **changes})


def small_token_score() -> TokenScoreConfig:
    return TokenScoreConfig(dim=32, depth=1, heads=2, dim_geometry=16, geometry_scale=0.1, contact_scale=0.02)


def small_sampling(**changes) -> SamplingConfig:
    """DDIM in four steps, nothing steered."""
    settings = {
        "solver": DDIM(steps=4, spacing="trailing", eta=0.0, temperature=1.0, clip_x0=4.0),
        "guidance": build(load_group("sampling/guidance", "none")),
        "rank": LearnedRank(by="success", sort=True),
        "anchor_temperature": 1.0,
        "graspness": 0.0,
        "pregrasp_opening": 0.15,
        "squeeze_gain": 1.0,
    }
    return SamplingConfig(**{**settings, **changes})


def small_generator(*, weights: int = 0, **changes) -> GraspGenerator:
    """Build a generator whose weights are drawn with a seed."""
    torch.manual_seed(weights)
    settings = {
        "hand": "leap_right",
        "encoder": small_encoder(),
        "decoder": small_decoder(),
        "process": Diffusion(noise=CosineProcess(), prediction="x0"),
        "heads": {"anchors": AnchorHeadConfig(), "score": small_score()},
        "conditions": {},
        "representation": PoseRepresentation(anchored=True, reference_depth=0.02, autoencoder=None),
        "contact_points": 32,
        "hand_encoder": None,
        "completion": None,
        "condition_dropout": {"scene": 0.0, "color": 0.0},
        "compile": False,
        "sampling": small_sampling(),
    }
    return awake(GraspGenerator(**{**settings, **changes})).eval()


STATE_TERMS = {name: StateError(group=name, weight=1.0) for name in ("translation", "joints", "rotation")}
TERMS = {
    **STATE_TERMS,
    "squeeze": StateError(group="squeeze", weight=0.5),
    "anchors": HeadLoss(head="anchors", weight=0.1),
    "score": HeadLoss(head="score", weight=0.3),
}


def small_objective(**changes) -> Denoising:
    settings = {
        "vae": None,
        "terms": TERMS,
        "anchors": AnchorAssignment(softness=0.01, reach=1.0),
        "matching": Index(),
        "weighting": LossWeighting(kind="edm", maximum=10.0),
        "num_grasps": 6,
        "sparse_view": None,
        "seed": 0,
    }
    return Denoising(**{**settings, **changes})


def small_module(
    generator: GraspGenerator | None = None, objective: Objective | None = None, *, weights: int = 0
) -> GraspModule:
    """Build a generator and its objective, with the optimizer of the tests of training."""
    generator = small_generator(weights=weights) if generator is None else generator
    module = GraspModule(
        generator=generator,
        objective=small_objective() if objective is None else objective,
        config={},
        optimizer=lambda groups: torch.optim.AdamW(groups, lr=1e-3),
        scheduler=lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0),
    )
    return awake(module).eval()


def awake(model: torch.nn.Module):
    # adaLN-zero starts as the identity: give every gate and output a value, or no test would see past them.
    for parameter in model.parameters():
        if parameter.abs().sum() == 0:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def small_cvae(*, terms: dict[str, LossTerm] | None = None, **changes) -> GraspModule:
    """Build a CVAE; ``changes`` are the generator's."""
    torch.manual_seed(0)
    settings = {
        "process": LatentDecoding(latent_dim=8),
        "decoder": small_decoder(hand_geometry=False),
        "sampling": small_sampling(solver=PriorSolver(steps=1, temperature=1.0, clip_x0=None)),
    }
    objective = LatentVariable(
        terms=TERMS | {"kl": Divergence(free_nats=0.0, weight=0.02)} if terms is None else terms,
        anchors=AnchorAssignment(softness=0.01, reach=1.0),
        matching=Index(),
        posterior=small_decoder(hand_geometry=False),
        num_grasps=6,
        seed=0,
    )
    return small_module(small_generator(**{**settings, **changes}), objective)


def losses_of(module: GraspModule, batch: GraspBatch, step: int = 0, *, training: bool = True) -> dict:
    """Return the terms of a batch."""
    context = module.objective.context(module.generator, batch, step=step, training=training)
    return module.objective.losses(context, training=training)


def draw_anchors(scene: SceneContext, num_grasps: int) -> Tensor:
    """Draw the tokens that carry grasps, as sampling with seeds 0, 1, 2 ... does."""
    rng = SampleRandom(range(len(scene.tokens.xyz)), torch.device("cpu"))
    return choose_anchors(scene, num_grasps, 1.0, rng)


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


def set_statistics_from(module: GraspModule, batch: GraspBatch) -> None:
    """Let a generator normalize by the statistics of one batch."""
    found = compute_statistics(module, [batch], {"frame": "tabletop", "data_hash": "x"})
    set_statistics(module.generator, found)
