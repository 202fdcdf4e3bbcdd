"""How a configuration becomes objects: YAML groups under ``config/``, built with their constructors' types checked."""

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import hydra_zen
from hydra.errors import InstantiationException
from hydra_zen.third_party.pydantic import pydantic_parser
from omegaconf import DictConfig, OmegaConf
from pydantic import ValidationError

from sceneleapultra.utils.core.mistakes import answer
from sceneleapultra.utils.core.names import unknown_name
from sceneleapultra.utils.training.run_folder import current_run_id

# What Hydra says of a target that cannot be imported, and Python (3.11, 3.12) of a class with abstract methods.
_NO_TARGET = re.compile(r"Error locating target '([\w.]+)'")
_ABSTRACT = re.compile(
    r"Can't instantiate abstract class (\w+) with(?:out an implementation for)? abstract (methods? [\w', ]*\w'?)"
)

CONFIG_DIR = Path(__file__).resolve().parent.parent.parent / "config"


def build(cfg: Any, **overrides: Any) -> Any:
    """Instantiate a config with ``_target_``; constructor annotations are the schema, recursively.

    Containers reach the constructor as plain lists and dictionaries.

    Raises:
        ValueError: a value has the wrong type, a key is unknown or missing, or a constructor refused; the sentence
            names the full key.
    """
    try:
        return hydra_zen.instantiate(cfg, _target_wrapper_=pydantic_parser, _convert_="all", **overrides)
    except InstantiationException as error:
        raise ValueError(_sentence(error)) from error


def try_partial(key: str, cfg: Any, *arguments: Any) -> Any:
    """Build a ``_partial_`` config and call it once: its arguments are only looked at when it is called.

    Raises:
        ValueError: the call refused a value; the sentence begins with ``key``.
    """
    try:
        return build(cfg)(*arguments)
    except ValidationError as error:
        raise ValueError(_describe(error, key)) from error
    except (ValueError, TypeError) as error:
        words = str(error)
        raise ValueError(words if words.startswith(key) else f"{key}: {words}") from error


def require_values(cfg: DictConfig) -> None:
    """Refuse a configuration that still lacks a value which the command line must give.

    Raises:
        ValueError: names every such key.
    """
    if missing := sorted(_missing(OmegaConf.to_container(cfg))):
        words = " ".join(f"{key}=<value>" for key in missing)
        raise ValueError(f"{', '.join(missing)}: a value is required. Pass {words}.")


def load_group(group: str, name: str) -> DictConfig:
    """Read ``config/<group>/<name>.yaml``, the one place of these defaults.

    What it builds upon comes with it, as Hydra has it: other files of the group, and groups below it under their keys.

    Raises:
        ValueError: no such file; the message names the nearest one.
    """
    folder = CONFIG_DIR / group
    path = folder / f"{name}.yaml"
    if Path(name).is_absolute() or ".." in Path(name).parts or not path.is_file():
        raise unknown_name(group, name, (p.stem for p in folder.glob("*.yaml")))
    loaded = OmegaConf.load(path)
    assert isinstance(loaded, DictConfig)
    parts, entries = [], loaded.pop("defaults", [])
    for entry in entries if "_self_" in entries else [*entries, "_self_"]:
        if entry == "_self_":
            parts.append(loaded)
        elif isinstance(entry, str):
            parts.append(load_group(group, entry))
        else:
            parts += [OmegaConf.create({key: load_group(f"{group}/{key}", entry[key])}) for key in entry]
    merged = OmegaConf.merge(*parts)
    assert isinstance(merged, DictConfig)
    return merged


def all_keys(cfg: Any, prefix: str = "") -> list[str]:
    """List every full key of a configuration, inner nodes included, without resolving anything."""
    if not OmegaConf.is_dict(cfg):
        return []
    keys = []
    for key in cfg:
        full = f"{prefix}{key}"
        child = cfg._get_node(key)
        keys += [full, *all_keys(child, f"{full}.")]
    return keys


def nearest_key(key: str, known: Iterable[str]) -> str | None:
    """Return the known full key that a misspelt one most likely meant: by its last name, then as a whole."""
    known = list(known)
    leaf = key.rsplit(".", 1)[-1]
    leaves = {full.rsplit(".", 1)[-1] for full in known}
    if close := difflib.get_close_matches(leaf, leaves, n=1, cutoff=0.85):
        same_leaf = [full for full in known if full.rsplit(".", 1)[-1] == close[0]]
        return difflib.get_close_matches(key, same_leaf, n=1, cutoff=0.0)[0]
    if close := difflib.get_close_matches(key, known, n=1, cutoff=0.75):
        return close[0]
    return None


def _missing(node: object, key: str = "") -> Iterator[str]:
    if node == "???":
        yield key
    for name, child in node.items() if isinstance(node, dict) else ():
        yield from _missing(child, f"{key}.{name}".lstrip("."))


def _sentence(error: InstantiationException) -> str:
    """Turn Hydra's and pydantic's words into "key: what was expected, what came"."""
    text = str(error)
    full_key = text.rsplit("full_key: ", 1)[1].strip() if "full_key: " in text else ""
    if found := _NO_TARGET.match(text):
        return (
            f"{full_key or '_target_'}: there is no {found[1]} to be built. Is the name right, and is its package "
            "installed or its folder on PYTHONPATH?"
        )
    if found := _ABSTRACT.search(text):
        return (
            f"{full_key or '_target_'}: class {found[1]} lacks {found[2]}, which its base class declares. Write it, as "
            "the docstring of the base class says."
        )
    cause = error.__cause__
    if isinstance(cause, ValidationError):
        return _describe(cause, full_key)
    # Lightning's own class for wrong settings is named, not imported: that would cost the import of torch.
    wrong = isinstance(cause, TypeError) or type(cause).__name__ == "MisconfigurationException"
    words = str(cause) if wrong else answer(cause) if cause is not None else None
    if words is not None:
        return f"{full_key}: {words}" if full_key and not words.startswith(full_key) else words
    return text


def _describe(error: ValidationError, full_key: str) -> str:
    lines = []
    for item in error.errors():
        key = ".".join([full_key, *map(str, item["loc"])]).strip(".")
        if item["type"].startswith(("missing", "unexpected")):
            lines.append(f"{key}: {item['msg'].lower()}")
        else:
            lines.append(f"{key}: {item['msg']}; got {item['input']!r}")
    return ". ".join(lines) + "."


def _auto_precision(accelerator: str) -> str:
    import torch  # imported here: composing a configuration must not cost the import of torch

    usable = accelerator in {"auto", "gpu", "cuda"} and torch.cuda.is_available()
    return "bf16-mixed" if usable and torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"


def fused_step(precision: str | int) -> bool:
    """Say whether an optimizer may be fused at a precision of Lightning's, by any of its names.

    Not in a mixed one: there Lightning clips no gradients of a fused optimizer, which it takes to unscale them itself.
    """
    return str(precision) not in {"16-mixed", "bf16-mixed", "16", "bf16"}


def short_hash(*values: Any) -> str:
    """Name what values say: equal values, equal hash."""
    plain = [OmegaConf.to_container(v, resolve=True) if OmegaConf.is_config(v) else v for v in values]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:10]


OmegaConf.register_new_resolver("short_hash", short_hash, replace=True)
OmegaConf.register_new_resolver("run_id", current_run_id, replace=True)
OmegaConf.register_new_resolver("auto_precision", _auto_precision, replace=True)
OmegaConf.register_new_resolver("fused_step", fused_step, replace=True)
