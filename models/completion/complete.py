"""From a cloud to a completed scene: a trained completer, and how a cloud becomes its voxels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float

from sceneleapultra.models.checkpoints.load import build_generator, generator_weights, read_checkpoint
from sceneleapultra.models.checkpoints.sizes import no_larger_than
from sceneleapultra.models.completion.completer import SceneCompleter
from sceneleapultra.utils.core.nonfinite import check_finite
from sceneleapultra.utils.core.plugins import check_targets, targets_of
from sceneleapultra.utils.geometry.voxels.field import SceneField
from sceneleapultra.utils.geometry.voxels.grid import Standpoint, VoxelGrid
from sceneleapultra.utils.geometry.voxels.observe import observe
from sceneleapultra.utils.geometry.voxels.settings import VoxelSettings
from sceneleapultra.utils.requests import GraspRequest
from sceneleapultra.utils.requests.request import level_plane


@runtime_checkable
class Completes(Protocol):
    """What tells the hidden parts of a scene."""

    def field(self, request: GraspRequest) -> SceneField:
        """Return the completed scene of a request, in its frame."""
        ...


@dataclass(frozen=True)
class CompletionModel:
    """A trained completer, ready for clouds."""

    completer: SceneCompleter
    voxels: VoxelSettings

    def observed(self, request: GraspRequest) -> tuple[VoxelGrid, Float[np.ndarray, "c x y z"]]:
        """Return a request's grid, and what is observed of its voxels."""
        points, mask = request.points, request.object_mask
        standpoint = Standpoint(request.viewpoint, request.up, level_plane(request).height)
        grid = self.voxels.grid(request.target_points, standpoint)
        return grid, observe(grid, points, mask, request.viewpoint)

    @torch.no_grad()
    def field(self, request: GraspRequest) -> SceneField:
        """Return the completed scene of a request, in its frame."""
        grid, observed = self.observed(request)
        reach_m = self.voxels.reach_m
        distance = self.completer(torch.from_numpy(observed)[None].to(self.completer.device))
        return SceneField.of(grid, distance.clamp(-reach_m, reach_m), reach_m)


def load_completion(path: str | Path, device: str = "cpu") -> CompletionModel:
    """Load a checkpoint of scene completion, with its averaged weights.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint of scene completion, or its numbers are not finite.
    """
    checkpoint = read_checkpoint(path, device)
    config = checkpoint["model_config"]
    check_targets(config["generator"], path, targets_of("model/generator", "sampling"))
    weights = generator_weights(checkpoint)
    with no_larger_than(weights, path):
        completer = build_generator(config["generator"])
    if not isinstance(completer, SceneCompleter):
        raise ValueError(
            f"completion: {path} holds a {type(completer).__name__}, not a scene completer. Train one with: "
            "python train_lightning.py experiment=completion"
        )
    check_finite(weights, path)
    completer.load_state_dict(weights)
    return CompletionModel(completer.to(device).eval(), VoxelSettings.from_plain(config["cloud"]))
