"""The best trial of a sweep as a recipe: an experiment in YAML that trains as it is."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from sceneleapultra.utils.core.config import CONFIG_DIR
from sceneleapultra.utils.core.files import write_text

_RECIPES = ("experiment", "experimental", "debug")


def write_recipe(path: Path, settings: Mapping[str, Any], comments: Iterable[str]) -> None:
    """Write an experiment of these settings; ``python train_lightning.py -cd <folder> experiment=<name>`` trains it.

    Args:
        path: ``<folder>/experiment/<name>.yaml``.
        settings: values by key, options by group.
        comments: comments at its top.

    Raises:
        ValueError: a recipe of another kind than an experiment is among the settings.
    """
    defaults: list[Any] = []
    content = OmegaConf.create()
    for key, value in settings.items():
        if key == "experiment":
            defaults.insert(0, value)
        elif key in _RECIPES:
            raise ValueError(f"train.{key}={value}: a sweep's best trial is written for an experiment alone.")
        elif (CONFIG_DIR / key).is_dir():
            defaults.append({f"override /{key}": value})
        else:
            OmegaConf.update(content, key, value, force_add=True)
    whole = OmegaConf.merge({"defaults": [*defaults, "_self_"]}, content)
    head = "".join(f"# {line}\n" for line in comments)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, f"# @package _global_\n{head}{OmegaConf.to_yaml(whole)}")
