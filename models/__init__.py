"""What the network is: encoders, decoders, diffusion, and the module that trains and samples."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sceneleapultra.models.inference import GraspModel, load_grasp_model
    from sceneleapultra.models.sampled_grasps import SampledGrasps

__all__ = ["GraspModel", "SampledGrasps", "load_grasp_model"]
# Imported when first asked for: what needs no network, the shipped models' names, must not cost the import of torch.
_HOMES = {"GraspModel": "inference", "SampledGrasps": "sampled_grasps", "load_grasp_model": "inference"}


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'.")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
