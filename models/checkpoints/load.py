"""How a generator comes out of a checkpoint, with its averaged weights; training's parts stay behind."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from sceneleapultra.models.bundle.manifest import is_bundle
from sceneleapultra.models.bundle.read import bundle_checkpoint
from sceneleapultra.models.checkpoints.migrate import migrate
from sceneleapultra.models.checkpoints.sizes import no_larger_than
from sceneleapultra.models.checkpoints.zoo import find_checkpoint
from sceneleapultra.models.completion.completer import GridModel
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.grasp_space import GraspSpace
from sceneleapultra.models.process import ConsistencyDiffusion
from sceneleapultra.utils.core.config import build
from sceneleapultra.utils.core.nonfinite import check_finite
from sceneleapultra.utils.core.plain_data import check_plain
from sceneleapultra.utils.core.plugins import check_targets, targets_of
from sceneleapultra.utils.core.torch_files import read_torch

Kind = TypeVar("Kind", bound=nn.Module)
_GENERATOR = "generator."  # prefix of the generator's weights in a checkpoint
_DISTILLED_COPY = "sceneleapultra.models.objectives.distillation.build_student"


def build_generator(config: DictConfig | Mapping[str, Any]) -> Any:
    """Build a generator from its configuration, which it then remembers as plain containers.

    Raises:
        ValueError: a value that a part refuses, by its full key.
    """
    node = config if isinstance(config, DictConfig) else OmegaConf.create(dict(config))
    generator = build(node)
    if generator.config is None:
        plain: Any = OmegaConf.to_container(node, resolve=True)
        if isinstance(generator, GraspGenerator) and generator.completion is not None:
            plain["completion"] = generator.completion.described
        generator.config = plain
    return generator


def read_checkpoint(path: str | Path, device: str = "cpu") -> dict[str, Any]:
    """Read a checkpoint of this project in today's layout: a file, a bundle, or a shipped model by its name.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no shipped model of that name, damaged, not a checkpoint of this project, or a newer version of
            the project wrote it.
    """
    path = find_checkpoint(path)
    if is_bundle(path):
        return migrate(bundle_checkpoint(path))
    checkpoint = read_torch(path, device)
    _check_content(checkpoint, path)
    check_plain(checkpoint["model_config"], path, "model_config")
    return migrate(checkpoint)


def load_generator(path: str | Path, device: str = "cpu") -> tuple[GraspGenerator, dict[str, Any]]:
    """Return the generator of a checkpoint, in evaluation mode, and the checkpoint's configuration.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint of a generator, or built from code outside the project that was not named as a
            plugin, or its hand is described differently now, or its numbers are not finite, or a newer version of the
            project wrote it.
    """
    checkpoint, weights, generator = _built(path, device)
    if isinstance(generator, GraspSpace) and not isinstance(generator, GraspGenerator):
        raise ValueError(
            f"{path} holds an autoencoder of grasps, which samples none. Train what does: python train_lightning.py "
            f"experiment=grasp_latent model.objective.vae={path}"
        )
    if isinstance(generator, GridModel):
        raise ValueError(
            f"{path} completes scenes and samples no grasps. Pass it beside a model of grasps, as completion={path}"
        )
    if not isinstance(generator, GraspGenerator):
        raise ValueError(
            f"{path} holds an encoder alone, which samples no grasps. Start a training from it: "
            f"python train_lightning.py encoder_weights={path}"
        )
    _fill(path, generator, checkpoint, weights)
    generator.normalizer.check(f"{path}: ")
    return generator.to(device).eval(), checkpoint["model_config"]


def load_trained(
    path: str | Path, kind: type[Kind], experiment: str, device: str = "cpu"
) -> tuple[Kind, dict[str, Any]]:
    """Return what stands in the place of a generator in a checkpoint, in evaluation mode, and the checkpoint.

    Args:
        path: of the checkpoint.
        kind: what it must be.
        experiment: that trains one, for the sentence.
        device: where it is to run.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another kind, or its numbers are not finite, or its hand is described differently now.
    """
    checkpoint, weights, model = _built(path, device)
    if not isinstance(model, kind):
        raise ValueError(
            f"{path} holds a {type(model).__name__}, not a {kind.__name__}. Train one with: "
            f"python train_lightning.py experiment={experiment}"
        )
    _fill(path, model, checkpoint, weights)
    return model.to(device).eval(), checkpoint


def _built(path: str | Path, device: str) -> tuple[Any, Mapping[str, Any], Any]:
    """Return a checkpoint, the weights in it, and what it describes, with weights of its own yet."""
    checkpoint = read_checkpoint(path, device)
    config = checkpoint["model_config"]["generator"]
    check_targets(config, path, generator_targets())
    weights = generator_weights(checkpoint)
    with no_larger_than(weights, path):
        return checkpoint, weights, build_generator(_without_files(config))


def _fill(path: str | Path, model: nn.Module, checkpoint: Any, weights: Mapping[str, Any]) -> None:
    """Give a model its weights, where they are finite and of the hand that is meant."""
    if isinstance(model, GraspSpace) and checkpoint["hand_hash"] != model.hand.table_hash:
        raise ValueError(
            f"{path} was trained with another description of hand '{model.hand.name}' (hash {checkpoint['hand_hash']}, "
            f"here {model.hand.table_hash}). Use the description it was trained with."
        )
    _check_same_weights(path, model, weights)
    check_finite({key: value for key, value in weights.items() if isinstance(value, Tensor)}, path)
    model.load_state_dict(weights)


def _check_content(checkpoint: Any, path: Path) -> None:
    """Refuse what another program wrote.

    Raises:
        ValueError: the file holds something else; says what is missing.
    """
    if not isinstance(checkpoint, dict):
        raise ValueError(f"{path} holds a {type(checkpoint).__name__}, not a checkpoint of this project.")
    for key in ("model_config", "state_dict"):
        if not isinstance(checkpoint.get(key), dict):
            found = ", ".join(map(str, list(checkpoint)[:5])) or "nothing"
            raise ValueError(
                f"{path} holds no grasp model: it has no '{key}', but {found}. Was it written by train_lightning.py?"
            )


def generator_targets() -> frozenset[str]:
    """Return what a checkpoint's generator may be made of: what ``config/`` builds one of, and a distilled process.

    Not what copies a teacher: a checkpoint must not name another.
    """
    distilled = f"{ConsistencyDiffusion.__module__}.{ConsistencyDiffusion.__name__}"
    return targets_of("model/generator", "sampling") - {_DISTILLED_COPY} | {distilled}


def generator_weights(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the weights of the generator in a checkpoint."""
    state = checkpoint["state_dict"]
    return {key.removeprefix(_GENERATOR): x for key, x in state.items() if key.startswith(_GENERATOR)}


def _without_files(config: dict[str, Any]) -> dict[str, Any]:
    """Leave out the weights an encoder once started from: the checkpoint holds what became of them."""
    return {
        key: None if key == "weights" else _without_files(value) if isinstance(value, dict) else value
        for key, value in config.items()
    }


def _check_same_weights(path: str | Path, generator: nn.Module, stored: Mapping[str, Any]) -> None:
    """Refuse weights of another architecture, by the first that does not fit."""
    own = generator.state_dict()
    for key in (*own, *stored):
        # What is not a tensor, a normalizer's frame, has no shape to compare.
        here, there = (tuple(getattr(w[key], "shape", ())) if key in w else "absent" for w in (own, stored))
        if here != there:
            raise ValueError(
                f"{path} holds weights of another architecture than its configuration describes: {key} is {there} in "
                f"the file and {here} in the model. Was the file changed?"
            )
