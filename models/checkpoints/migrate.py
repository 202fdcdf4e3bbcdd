"""How checkpoints of earlier versions are read: each change of layout is one step, applied in order.

A checkpoint says its ``version``; those written before there was one are version 0. Whoever renames or adds a
constructor argument of a model, or moves a weight, appends the step that brings a checkpoint there without changing
what it computes.
"""

from collections.abc import Callable
from copy import copy
from typing import Any

import torch

from sceneleapultra.models.checkpoints.from_0_1 import rename, rename_weight, split_model

Checkpoint = dict[str, Any]
SURELY_COLLISION_FREE = (
    20.0  # log-odds of being clear that a scorer which never learned them gives every grasp
)


def migrate(checkpoint: Checkpoint) -> Checkpoint:
    """Return the checkpoint in today's layout; the one given is not changed.

    Raises:
        ValueError: it is of a later version than this program knows.
    """
    version = checkpoint.get("version", 0)
    if version > CHECKPOINT_VERSION:
        raise ValueError(
            f"The checkpoint has version {version}, this program reads up to {CHECKPOINT_VERSION}: a later version of "
            "the project wrote it. Update the project."
        )
    checkpoint = {
        **checkpoint,
        "model_config": _copied(checkpoint["model_config"]),
        "state_dict": dict(checkpoint["state_dict"]),
    }
    for step in STEPS[version:]:
        step(checkpoint)
    return {**checkpoint, "version": CHECKPOINT_VERSION}


def _decoder_is_a_group(checkpoint: Checkpoint) -> None:
    """1: the decoder is an object of its own, with a choice of attention and of recomputing."""
    decoder = checkpoint["model_config"]["model"]["decoder"]
    decoder |= {"_target_": "models.decoder.dit.DiTConfig", "attention": "sdpa", "checkpointing": False}


def _points_are_chosen(checkpoint: Checkpoint) -> None:
    """2: how the points of a cloud are chosen stands beside how many there are."""
    checkpoint["model_config"]["cloud"]["points"] = {
        "sampler": "farthest",
        "cell_m": 0.005,
        "shares": (0.5, 0.25, 0.25),
        "falloff_m": 0.05,
    }


def _weighting_and_sampler_are_groups(checkpoint: Checkpoint) -> None:
    """3: how noise levels are weighted is an object of its own, and so is every sampler."""
    model = checkpoint["model_config"]["model"]
    weighting = {"kind": "edm", "maximum": model.pop("max_loss_weight")}
    model["weighting"] = {"_target_": "models.diffusion.weighting.LossWeighting", **weighting}
    sampler = model["sampler"]
    if sampler.pop("name") == "ddim":
        sampler["_target_"] = "models.diffusion.ancestral.DDIM"
    else:
        sampler["_target_"] = "models.diffusion.ancestral.DDPM"
        del sampler["eta"]


def _scorer_knows_clearance(checkpoint: Checkpoint) -> None:
    """4: links see points of the cloud instead of tokens; the scorer tells holding and being clear apart.

    A scorer of one output keeps its order of grasps: the new output is sure that every hand is clear.
    """
    checkpoint["model_config"]["model"]["contact_points"] = None
    weights = checkpoint["state_dict"]
    name = "scorer.decoder.out"
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    weights[f"{name}.weight"] = torch.cat([weight, torch.zeros_like(weight)])
    weights[f"{name}.bias"] = torch.cat([bias, torch.full_like(bias, SURELY_COLLISION_FREE)])


def _encoder_has_levels(checkpoint: Checkpoint) -> None:
    """5: PointNet2 takes any number of levels; its two were called fine and coarse."""
    encoder = checkpoint["model_config"]["model"]["encoder"]
    if encoder["_target_"] != "models.encoder.pointnet2.PointNet2":
        return
    dim, k = encoder.pop("dim"), encoder.pop("neighbours")
    centres = {"fine": encoder.pop("num_fine"), "coarse": encoder.pop("num_tokens")}
    encoder |= {
        "levels": {
            name: {
                "_target_": "models.encoder.hierarchy.Level",
                "centres": count,
                "radii": [encoder.pop(f"radius_{name}")],
                "neighbours": [k],
                "widths": [dim, dim],
            }
            for name, count in centres.items()
        },
        "propagate": 0,
        "dim": dim,
        "use_color": False,
        "checkpointing": False,
        "backend": "torch",
    }
    moved = {"first": "0.layers.0", "second": "0.layers.1", "norm": "0.norm"}
    for key in list(checkpoint["state_dict"]):
        prefix, _, rest = key.partition("denoiser.encoder.")
        level, _, parameter = rest.partition(".")
        part, _, kind = parameter.partition(".")
        if rest and level in centres:
            new = f"{prefix}denoiser.encoder.stages.{level}.{moved[part]}.{kind}"
            checkpoint["state_dict"][new] = checkpoint["state_dict"].pop(key)


def _density_is_taught(checkpoint: Checkpoint) -> None:
    """6: a model can be taught to say the same of thin clouds."""
    checkpoint["model_config"]["model"]["density"] = None


def _conditions(checkpoint: Checkpoint) -> None:
    """7: a model may be told more than the scene, may do without it, and may be compiled."""
    checkpoint["model_config"]["model"] |= {"conditions": {}, "scene_drop_prob": 0.0, "compile": False}


def _scorer_is_a_group(checkpoint: Checkpoint) -> None:
    """8: there is a choice of scorers; the one of before attends to tokens."""
    scorer = checkpoint["model_config"]["model"]["scorer"]
    scorer["_target_"] = "models.scorer.tokens.TokenScorerConfig"


def _colors_may_be_dropped(checkpoint: Checkpoint) -> None:
    """9: a model may do without colors."""
    checkpoint["model_config"]["model"]["color_drop_prob"] = 0.0


def _generator_apart(checkpoint: Checkpoint) -> None:
    """10: generator and objective are apart, names are the field's, and all is imported through ``sceneleapultra``.

    The objective is training's: what 0.1 trained with is not kept.
    """
    config = rename(checkpoint["model_config"])
    generator, process = split_model(config.pop("model"))
    checkpoint["model_config"] = {**config, "generator": generator, "objective": None}
    checkpoint["state_dict"] = {
        rename_weight(key, process): value for key, value in checkpoint["state_dict"].items()
    }


def _anchors_may_be_weighed(checkpoint: Checkpoint) -> None:
    """11: a head may say where grasps succeed."""
    generator = checkpoint["model_config"]["generator"]
    if "sampling" in generator:
        generator["sampling"]["graspness"] = 0.0


def _may_serve_many_hands(checkpoint: Checkpoint) -> None:
    """12: weights may be made of the hand's graph."""
    generator = checkpoint["model_config"]["generator"]
    if "decoder" in generator:
        generator["hand_encoder"] = None


def _may_be_adapted(checkpoint: Checkpoint) -> None:
    """13: a model for many hands may have low-rank adapters."""
    encoder = checkpoint["model_config"]["generator"].get("hand_encoder")
    if encoder is not None:
        encoder["adapter_rank"] = None


def _may_read_a_completion(checkpoint: Checkpoint) -> None:
    """14: a generator may read tokens of a completed scene."""
    generator = checkpoint["model_config"]["generator"]
    if "decoder" in generator:
        generator["completion"] = None


def _may_denoise_codes(checkpoint: Checkpoint) -> None:
    """15: what is denoised may be the codes of an autoencoder."""
    generator = checkpoint["model_config"]["generator"]
    if "representation" in generator:
        generator["representation"]["autoencoder"] = None


def _decoder_may_be_narrow(checkpoint: Checkpoint) -> None:
    """16: hidden layers of a DiT have widths of their own."""
    decoder = checkpoint["model_config"]["generator"].get("decoder", {})
    if str(decoder.get("_target_")).endswith(".DiTConfig"):
        decoder |= {"mlp_ratio": 4.0, "dim_time": decoder["dim"]}


def _copied(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _copied(value) for key, value in node.items()}
    return copy(node)


STEPS: tuple[Callable[[Checkpoint], None], ...] = (
    _decoder_is_a_group,
    _points_are_chosen,
    _weighting_and_sampler_are_groups,
    _scorer_knows_clearance,
    _encoder_has_levels,
    _density_is_taught,
    _conditions,
    _scorer_is_a_group,
    _colors_may_be_dropped,
    _generator_apart,
    _anchors_may_be_weighed,
    _may_serve_many_hands,
    _may_be_adapted,
    _may_read_a_completion,
    _may_denoise_codes,
    _decoder_may_be_narrow,
)
CHECKPOINT_VERSION = len(STEPS)
