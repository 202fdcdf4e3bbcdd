"""How a configuration becomes objects: YAML groups under ``config/``, built with their constructors' types checked."""

from pathlib import Path
from typing import Any

import hydra_zen
from hydra_zen.third_party.pydantic import pydantic_parser
from omegaconf import DictConfig, OmegaConf

from utils.names import unknown_name

CONFIG_DIR = Path(__file__).resolve().parent.parent / "config"


def build(cfg: Any, **overrides: Any) -> Any:
    """Instantiate a config with ``_target_``; constructor annotations are the schema, recursively.

    Containers reach the constructor as plain lists and dictionaries.
    """
    return hydra_zen.instantiate(cfg, _target_wrapper_=pydantic_parser, _convert_="all", **overrides)


def load_group(group: str, name: str) -> DictConfig:
    """Read ``config/<group>/<name>.yaml``, the one place of these defaults.

    Raises:
        ValueError: no such file; the message names the nearest one.
    """
    folder = CONFIG_DIR / group
    path = folder / f"{name}.yaml"
    if not path.is_file():
        raise unknown_name(group, name, (p.stem for p in folder.glob("*.yaml")))
    loaded = OmegaConf.load(path)
    assert isinstance(loaded, DictConfig)
    return loaded
