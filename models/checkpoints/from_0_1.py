"""How a checkpoint of version 0.1 becomes one of 0.2: generator and objective apart, the field's words, one package."""

import re
from typing import Any

Config = dict[str, Any]

_AMERICAN = {"neighbour": "neighbor", "centre": "center", "colour": "color", "behind_m": "thickness_m"}
# Module and class of 0.1 -> of 0.2; longer names first.
_TARGETS = {
    "models.scorer.surface.SurfaceScorerConfig": "models.network.heads.surface.SurfaceScoreConfig",
    "models.scorer.tokens.TokenScorerConfig": "models.network.heads.tokens.TokenScoreConfig",
    "models.diffusion.path.CosinePath": "models.diffusion.process.CosineProcess",
    "models.diffusion.path.LinearPath": "models.diffusion.process.LinearProcess",
    "models.diffusion.edm.EDMPath": "models.diffusion.edm.EDMProcess",
    "models.diffusion.flow.FlowPath": "models.diffusion.flow.FlowProcess",
    "models.cvae.Prior": "models.diffusion.prior.PriorSolver",
    "models.encoder.hierarchy.Level": "models.network.encoder.hierarchy.AbstractionLevel",
    "models.encoder.": "models.network.encoder.",
    "models.decoder.": "models.network.decoder.",
    "models.conditions.": "models.network.conditions.",
    "models.": "models.",
}
_WEIGHTS = (
    (re.compile(r"^denoiser\.anchor_head\."), "generator.heads.anchors.mlp."),
    (re.compile(r"^denoiser\.unseen$"), "generator.conditioning.null_scene"),
    (re.compile(r"^denoiser\.no_color$"), "generator.conditioning.null_color"),
    (re.compile(r"^denoiser\.conditions\."), "generator.conditioning.conditions."),
    (re.compile(r"^denoiser\."), "generator."),
    (re.compile(r"^scorer\.hold\."), "generator.heads.score.stable."),
    (re.compile(r"^scorer\.clear\."), "generator.heads.score.collision_free."),
    (re.compile(r"^scorer\."), "generator.heads.score."),
    (re.compile(r"^posterior\."), "objective.posterior."),
    (re.compile(r"^encoder\."), "generator.encoder."),
    (re.compile(r"^head\."), "objective.head."),
)
_ATTENTION = {"among": "self_attn", "across": "cross_attn", "told": "prompt_attn"}
_OF_A_BLOCK = re.compile(rf"(\.blocks\.\d+\.(?:norms\.)?)({'|'.join(_ATTENTION)})\.")
_GUIDANCE_OFF: Config = {
    "_target_": "sceneleapultra.models.guidance.guide.Guidance",
    "classifier_free": {
        "_target_": "sceneleapultra.models.guidance.classifier_free.ClassifierFree",
        "scale": 1.0,
        "drops": "all",
        "rescale": 0.0,
        "interval": [0.0, 1.0],
        "negative_scale": 1.0,
    },
    "scorer": None,
    "physics": None,
}
_RANK: Config = {"_target_": "sceneleapultra.models.ranking.LearnedRank", "by": "success", "sort": True}


def rename_weight(key: str, process: str) -> str:
    """Return today's name of a weight of 0.1.

    Args:
        key: name in 0.1.
        process: where the noise process stands in the generator.
    """
    if key.startswith("path."):
        return f"generator.{process}.{key.removeprefix('path.')}"
    for pattern, new in _WEIGHTS:
        if pattern.match(key):
            key = pattern.sub(new, key)
            break
    return _OF_A_BLOCK.sub(lambda found: f"{found[1]}{_ATTENTION[found[2]]}.", key)


def rename(node: Any) -> Any:
    """Return a configuration of 0.1 with American keys and today's import paths."""
    if isinstance(node, list | tuple):
        return type(node)(rename(value) for value in node)
    if not isinstance(node, dict):
        return node
    new = {}
    for key, value in node.items():
        for old, american in _AMERICAN.items():
            key = key.replace(old, american) if isinstance(key, str) else key
        new[key] = _target(value) if key == "_target_" else rename(value)
    return new


def _target(path: str) -> str:
    for old, new in _TARGETS.items():
        if path.startswith(old):
            return f"sceneleapultra.{path.replace(old, new, 1)}"
    return path


def split_model(model: Config) -> tuple[Config, str]:
    """Return the generator's part of a renamed configuration of 0.1, and where its noise process stands."""
    kind = model["_target_"].rsplit(".", 1)[-1]
    if kind == "EncoderPretrainer":
        target = "sceneleapultra.models.objectives.pretraining.EncoderOnly"
        return {"_target_": target, "encoder": model["encoder"]}, ""
    diffusion = {
        "_target_": "sceneleapultra.models.process.Diffusion",
        "noise": model.get("path"),
        "prediction": model.get("prediction"),
    }
    process, where = diffusion, "process.noise"
    if kind == "ConsistencyModel":
        process = {
            "_target_": "sceneleapultra.models.process.ConsistencyDiffusion",
            "diffusion": diffusion,
        }
        where = "process.diffusion.noise"
    elif kind == "GraspCVAE":
        process = {
            "_target_": "sceneleapultra.models.process.LatentDecoding",
            "latent_dim": model["latent_dim"],
        }
    generator = {
        "_target_": "sceneleapultra.models.generator.GraspGenerator",
        "hand": model["hand"],
        "encoder": model["encoder"],
        "decoder": model["decoder"],
        "process": process,
        "heads": {
            "anchors": {"_target_": "sceneleapultra.models.network.heads.anchors.AnchorHeadConfig"},
            "score": model["scorer"],
        },
        "conditions": model["conditions"],
        "representation": {
            "_target_": "sceneleapultra.models.representation.PoseRepresentation",
            "anchored": model["representation"] == "anchored",
            "reference_depth": model["reference_depth"],
        },
        "contact_points": model["contact_points"],
        "condition_dropout": {
            "scene": model.get("scene_drop_prob", 0.0),
            "color": model["color_drop_prob"],
        },
        "compile": model["compile"],
        "sampling": {
            "_target_": "sceneleapultra.models.sampling_config.SamplingConfig",
            "solver": model["sampler"],
            "guidance": _GUIDANCE_OFF,
            "rank": _RANK,
            "anchor_temperature": model["anchor_temperature"],
            "pregrasp_opening": model["pregrasp_opening"],
            "squeeze_gain": model["squeeze_gain"],
        },
    }
    return generator, where
