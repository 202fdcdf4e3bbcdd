"""Which code outside the project may be built from files: that of packages which the user names.

``plugins=[my_package]`` on a command line, or ``load_grasp_model(..., plugins=["my_package"])``. A checkpoint names the
classes it is made of; a file alone must not choose which code runs.
"""

import importlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

_PROJECT = "sceneleapultra"
_named: set[str] = set()


def use_plugins(names: Iterable[str]) -> None:
    """Import plugin packages, and allow what files say to be built from them.

    Raises:
        ValueError: a package that cannot be imported.
    """
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ValueError(
                f"plugins: cannot import '{name}' ({error}). Install the package, or put its folder on PYTHONPATH."
            ) from error
        _named.add(name.partition(".")[0])


def plugins_in_use() -> list[str]:
    """List the plugin packages that were named, for the checkpoints that depend on them."""
    return sorted(_named)


def check_targets(config: Any, source: Path | str) -> None:
    """Refuse a file's configuration that would build classes of neither the project nor a named plugin.

    Args:
        config: plain containers.
        source: the file, for the sentence.

    Raises:
        ValueError: names the first such class, and what to pass if its package is trusted.
    """
    for target in _targets(config):
        package = target.partition(".")[0]
        if package != _PROJECT and package not in _named:
            raise ValueError(
                f"{source} is built from {target}, which is code outside the project. If you trust that package, pass "
                f"plugins=[{package}]."
            )


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "_target_":
                yield str(value)
            else:
                yield from _targets(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _targets(value)
