"""Whether a built model and a built data module belong together: asked of the objects, before any data is read."""

from collections.abc import Iterator
from typing import Any

import torch
from omegaconf import DictConfig

from sceneleapultra.models.completion.completer import GridModel
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.grasp_space import GraspSpace
from sceneleapultra.models.module import GraspModule
from sceneleapultra.models.objectives.denoising import Denoising
from sceneleapultra.models.palm_normalizer import PalmNormalizer
from sceneleapultra.utils.core.config import try_partial


def check_data(module: GraspModule, data: Any) -> None:
    """Refuse data that the model cannot be trained on.

    Args:
        module: generator and objective.
        data: the data module.

    Raises:
        ValueError: one sentence per problem, each with the key, the value and the remedy.
    """
    completes, reach_m = isinstance(module.generator, GridModel), data.cloud.get("reach_m")
    if completes or reach_m is not None:
        if not completes or module.generator.reach_m != reach_m:
            raise ValueError(
                f"model.generator ({type(module.generator).__name__}) and data ({type(data).__name__}) do not belong "
                "together, or are of another reach_m. Scene completion is experiment=completion, or model=completion "
                "data=completion."
            )
        return
    problems = list(_encoder_problems(module.generator.get_submodule("encoder"), data))
    if isinstance(module.generator, GraspSpace):
        problems += _hand_problems(module.generator, data)
    if isinstance(module.generator, GraspGenerator):
        problems += _generator_problems(module.generator, data)
    if isinstance(module.objective, Denoising) and module.objective.frame not in (None, data.frame):
        problems.append(
            f"model.objective.vae learned grasps in frame '{module.objective.frame}', data.cloud.frame={data.frame} "
            f"serves others. Pass data.cloud.frame={module.objective.frame}, or train another autoencoder."
        )
    number = getattr(module.objective, "num_grasps", None)
    if number is not None and number != data.settings.grasps.number:
        problems.append(
            f"model.objective.num_grasps={number}, but batches hold {data.settings.grasps.number} successful grasps, "
            "then failures: the model would take one for the other. Set the number of the data only."
        )
    if problems:
        raise ValueError("\n".join(problems))


def _encoder_problems(encoder: Any, data: Any) -> Iterator[str]:
    points, needed = data.settings.cloud.num_points, encoder.min_points
    if points < encoder.num_centers:
        yield (
            f"data.cloud.num_points={points} is fewer than the {encoder.num_centers} centers that "
            "model.generator.encoder takes from a cloud. Raise the one or lower the other."
        )
    elif points < needed:
        yield (
            f"data.cloud.num_points={points} is fewer than the {needed} neighbors that a patch of "
            "model.generator.encoder takes. Raise the one or lower the other."
        )
    for phase in data.loading.progressive:
        if not max(encoder.num_centers, needed) <= phase.points <= points:
            yield (
                f"data.loading.progressive: expected {max(encoder.num_centers, needed)} points, which "
                f"model.generator.encoder takes from a cloud, to data.cloud.num_points={points}, got {phase.points}."
            )
    if data.min_points < needed:
        yield (
            f"data.min_points={data.min_points} lets in clouds of fewer points than the {needed} neighbors that a "
            f"patch of model.generator.encoder takes. Pass data.min_points={needed}, or lower its neighbors (ptv3: "
            "frame_neighbors)."
        )
    if encoder.use_color != data.settings.colors:
        wanted = str(encoder.use_color).lower()
        yield (
            f"data.colors={str(data.settings.colors).lower()}, but model.generator.encoder "
            f"{'uses' if encoder.use_color else 'does not use'} colors. Pass data.colors={wanted}, or "
            f"{encoder.color_settings[0 if data.settings.colors else 1]}."
        )


def _hand_problems(generator: GraspSpace, data: Any) -> Iterator[str]:
    if generator.hand.name != data.hand.name:
        yield (
            f"model.generator.hand={generator.hand.name} and data.hand={data.hand.name} differ: a model learns one "
            f"hand from its own grasps. Pass hand={data.hand.name}, which sets both."
        )
    if data.several_hands and not isinstance(generator.normalizer, PalmNormalizer):
        yield (
            "data=several_hands serves several, model.generator.hand_encoder=none makes a model of one. Pass "
            "model/generator/hand_encoder=graph, or data=default."
        )


def _generator_problems(generator: GraspGenerator, data: Any) -> Iterator[str]:
    if generator.scaling is not None and not generator.scaling.fitted:
        yield (
            "model.generator.representation.autoencoder learned nothing: this objective takes none. Pass "
            "model=grasp_latent model.objective.vae=<checkpoint of experiment=grasp_vae>, or "
            "model/generator/autoencoder=none."
        )
    reads = bool(generator.conditioning.conditions)
    if reads and data.prompt == "none":
        yield (
            "data.prompt=none gives no prompts to model.generator.conditions. Pass data.prompt=category, or "
            "model/generator/conditions=none."
        )
    if not reads and data.prompt != "none":
        yield (
            f"data.prompt={data.prompt}, but the model reads no prompts. Pass model/generator/conditions=category, or "
            "data.prompt=none."
        )


def check_optimizer(optimizer: DictConfig, scheduler: DictConfig) -> None:
    """Build optimizer and scheduler once, for a single parameter: their arguments are looked at when they are called.

    Raises:
        ValueError: a value that one of them refuses, by its full key.
    """
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))]}]
    try_partial("scheduler", scheduler, try_partial("optimizer", optimizer, groups))
