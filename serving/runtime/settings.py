"""How sampling is changed by name, from what a bundle holds."""

from collections.abc import Mapping
from typing import Any

from sceneleapultra.utils.core.names import unknown_name

GROUPS = ("solver", "guidance", "rank")
_OWN = ("anchor_temperature", "graspness", "pregrasp_opening", "squeeze_gain")
NAMES = (*GROUPS, *_OWN, "steps", "temperature")


def changed(own: Mapping[str, Any], choices: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of sampling with some changed by name; None leaves one as it is.

    Args:
        own: the model's.
        choices: the named options of each group.
        changes: see :meth:`~sceneleapultra.models.sampling_config.SamplingConfig.changed`.

    Raises:
        ValueError: no such setting or option, or a value that it cannot have.
    """
    made = {name: dict(value) if isinstance(value, Mapping) else value for name, value in own.items()}
    for name, value in changes.items():
        if name not in NAMES:
            raise unknown_name("sampling setting", name, NAMES)
        if value is None or name not in GROUPS:
            continue
        if value not in choices[name]:
            raise unknown_name(f"sampling.{name}", str(value), choices[name])
        option = choices[name][value]
        # The own solver keeps its settings when it is named.
        if name != "solver" or option["_target_"] != made["solver"]["_target_"]:
            made[name] = dict(option)
    for name, value in changes.items():
        if value is None or name in GROUPS:
            continue
        if name == "steps":
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"sampling.steps: expected a whole number of at least 1, got {value}.")
        elif isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < float("inf"):
            raise ValueError(f"sampling.{name}: expected a number, got {value}.")
        elif (name in ("temperature", "graspness") and value < 0.0) or (
            name == "anchor_temperature" and value <= 0.0
        ):
            raise ValueError(f"sampling.{name}: expected more than 0, got {value}.")
        if name in _OWN:
            made[name] = value
        else:
            made["solver"][name] = value
    return made


def refuse_what_needs_torch(settings: Mapping[str, Any]) -> None:
    """Refuse guidance and ranks that only the engine with torch has.

    Raises:
        ValueError: with the setting and what to do.
    """
    remedy = "Load the bundle with load_grasp_model, which has torch, or leave it away."
    guidance = settings["guidance"]
    if guidance["physics"] is not None:
        raise ValueError(
            f"sampling.guidance: energies of contact are moved down a gradient, with torch only. {remedy}"
        )
    if guidance["classifier_free"]["scale"] != 1.0:
        raise ValueError(f"sampling.cfg_scale: this engine has no prediction without the scene. {remedy}")
    if not settings["rank"]["_target_"].endswith(("LearnedRank", "ClearanceRank")):
        raise ValueError(
            f"sampling.rank: a likelihood follows a flow with its gradients, with torch only. {remedy}"
        )
