"""From a cloud to a completed scene: a trained completer, and how a cloud becomes its voxels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float

from sceneleapultra.models.checkpoints.load import load_trained
from sceneleapultra.models.completion.completer import Completer, GridModel
from sceneleapultra.utils.geometry.voxels.field import SceneField
from sceneleapultra.utils.geometry.voxels.grid import Standpoint, VoxelGrid
from sceneleapultra.utils.geometry.voxels.observe import observe
from sceneleapultra.utils.geometry.voxels.settings import VoxelSettings
from sceneleapultra.utils.requests import GraspRequest
from sceneleapultra.utils.requests.request import level_plane

Kind = TypeVar("Kind", bound=GridModel)


@runtime_checkable
class Completes(Protocol):
    """What tells the hidden parts of a scene."""

    def field(self, request: GraspRequest) -> SceneField:
        """Return the completed scene of a request, in its frame."""
        ...


@dataclass(frozen=True)
class CompletionModel:
    """A trained completer, ready for clouds.

    Attributes:
        completer: the network.
        voxels: how a cloud becomes its voxels.
        hypotheses: how many are drawn of each scene.
    """

    completer: Completer
    voxels: VoxelSettings
    hypotheses: int = 1

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
        channels = torch.from_numpy(observed)[None].to(self.completer.device)
        distance = self.completer.complete(channels, self.hypotheses)
        return SceneField.of(grid, distance.clamp(-reach_m, reach_m), reach_m)


def load_completion(path: str | Path, device: str = "cpu", *, hypotheses: int = 1) -> CompletionModel:
    """Load a checkpoint of scene completion, with its averaged weights.

    Args:
        path: of the checkpoint.
        device: where it is to run.
        hypotheses: how many are drawn of each scene, of which the worst counts.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint of scene completion, or its numbers are not finite, or it cannot give so many
            hypotheses.
    """
    if hypotheses < 1:
        raise ValueError(f"hypotheses: expected at least 1, got {hypotheses}.")
    completer, voxels = load_grid_model(path, Completer, "completion", device)  # type: ignore[type-abstract]
    completer.check_hypotheses(hypotheses)
    return CompletionModel(completer, voxels, hypotheses)


def load_grid_model(
    path: str | Path, kind: type[Kind], experiment: str, device: str = "cpu"
) -> tuple[Kind, VoxelSettings]:
    """Return what was trained on grids, in evaluation mode, and how its clouds become grids.

    Args:
        path: of the checkpoint.
        kind: what it must be.
        experiment: that trains one, for the sentence.
        device: where it is to run.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another kind, or its numbers are not finite.
    """
    model, checkpoint = load_trained(path, kind, experiment, device)
    return model, VoxelSettings.from_plain(checkpoint["model_config"]["cloud"])
