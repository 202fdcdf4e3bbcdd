"""Are changes of a model's sampling ones that any model could take? Answered without loading one."""

import math
from collections.abc import Mapping
from typing import Any

from sceneleapultra.utils.core.config import CONFIG_DIR
from sceneleapultra.utils.core.names import unknown_name
from sceneleapultra.utils.core.renamed import RENAMED_OPTIONS

GROUPS = ("solver", "guidance", "rank")
NUMBERS = ("temperature", "cfg_scale", "anchor_temperature", "graspness", "pregrasp_opening", "squeeze_gain")


def check_sampling_changes(changes: Mapping[str, Any]) -> None:
    """Refuse names that do not exist and values of another kind; what a model can do is for the model to say.

    Args:
        changes: settings by name; None leaves one as it is.

    Raises:
        ValueError: one sentence with the setting and its value.
    """
    for name, value in changes.items():
        if name not in (*GROUPS, *NUMBERS, "steps"):
            raise unknown_name("sampling setting", name, (*GROUPS, *NUMBERS, "steps"))
        if value is None:
            continue
        if name in GROUPS and isinstance(value, str):
            check_group_name(f"sampling/{name}", value)
        elif name == "steps":
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(
                    f"sampling.solver.steps must be at least 1, got {value}: it is a whole number."
                )
        elif name in NUMBERS:
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"sampling.{name}: expected a number, got {value}.")
            if name == "temperature" and value < 0.0:
                raise ValueError(f"sampling.solver.temperature must not be negative, got {value}.")


def check_group_name(group: str, name: str) -> None:
    """Refuse a name that is no file of ``config/<group>``.

    Raises:
        ValueError: with the nearest name, or what it is called now.
    """
    if (new := RENAMED_OPTIONS.get(group, {}).get(name)) is not None:
        raise ValueError(f"{group.replace('/', '.')}={name} is called {new} since 0.2.")
    known = [path.stem for path in (CONFIG_DIR / group).glob("*.yaml")]
    if name not in known:
        raise unknown_name(group.replace("/", "."), name, known)
