"""What may be built from files: parts of a model, and classes of packages that the user names.

``plugins=[my_package]`` on a command line, or ``load_grasp_model(..., plugins=["my_package"])``. A checkpoint names the
classes it is made of; a file alone must not choose which code runs.
"""

import importlib
import re
import sys
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from sceneleapultra.utils.core.config import CONFIG_DIR

_PROJECT = "sceneleapultra"
_named: set[str] = set()


def use_plugins(names: Iterable[str]) -> None:
    """Import plugin packages, and allow what files say to be built from them.

    Raises:
        ValueError: a package that cannot be imported, or one of Python's own.
    """
    for name in names:
        package = name.partition(".")[0]
        if package in sys.stdlib_module_names:
            raise ValueError(
                f"plugins: '{name}' is part of Python: with it a file could run anything. Name packages of models."
            )
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ValueError(
                f"plugins: cannot import '{name}' ({error}). Install the package, or put its folder on PYTHONPATH."
            ) from error
        _named.add(package)


def plugins_in_use() -> list[str]:
    """List the plugin packages that were named, for the checkpoints that depend on them."""
    return sorted(_named)


@cache
def targets_of(*groups: str) -> frozenset[str]:
    """Return every ``_target_`` that the project's own YAML files name in these folders of ``config/``, and below."""
    files = (path for group in groups for path in (CONFIG_DIR / group).rglob("*.yaml"))
    return frozenset(
        name for path in files for name in re.findall(r"^[^#\n]*?_target_: *([\w.]+)", path.read_text(), re.M)
    )


def check_targets(config: Any, source: Path | str, allowed: Collection[str]) -> None:
    """Refuse a file's configuration that would build anything but allowed targets and classes of named plugins.

    Nothing is built, and no package is imported that the user has not named. Call
    :func:`~sceneleapultra.utils.core.plain_data.check_plain` first: what stands for something else is not seen here.

    Args:
        config: plain containers.
        source: the file, for the sentence.
        allowed: import paths of the project that files of this kind are made of.

    Raises:
        ValueError: names the first other target, and what to pass if its package is to be trusted.
    """
    for target in _targets(config):
        if isinstance(target, str) and target in allowed:
            continue
        package = str(target).partition(".")[0]
        if not isinstance(target, str) or not re.fullmatch(r"\w+(\.\w+)+", target):
            raise ValueError(
                f"{source} is built from {str(target)[:80]!r}, which is not the name of a class."
            )
        if package in _named:
            _require_class(target, package, source)
        elif package == _PROJECT:
            raise ValueError(
                f"{source} is built from {target}, which is no part of a model here. Unless a newer version of the "
                "project wrote the file, it was made to run something: do not use it."
            )
        elif package in sys.stdlib_module_names:
            raise ValueError(
                f"{source} is built from {target}, which is code outside the project and no part of a model: the file "
                "was made to run something. Do not use it."
            )
        else:
            raise ValueError(
                f"{source} is built from {target}, which is code outside the project. If you trust that package, pass "
                f"plugins=[{package}]."
            )


def _require_class(target: str, package: str, source: Path | str) -> None:
    """Refuse a plugin's target that is not a class defined in the plugin, such as a function that it imports."""
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"{source} is built from {target}, but plugin '{package}' has no such class ({error}). Is it another "
            "version of the plugin?"
        ) from error
    if not isinstance(found, type) or found.__module__.partition(".")[0] != package:
        raise ValueError(
            f"{source} is built from {target}, which is not a class of plugin '{package}' itself. A file builds "
            "classes of the plugins that are named, nothing else that can be reached through them."
        )


def _targets(node: Any) -> Iterator[Any]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "_target_":
                yield value
            else:
                yield from _targets(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _targets(value)
