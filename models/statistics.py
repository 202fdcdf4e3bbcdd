"""Where the statistics by which a model normalizes poses come from: one file, computed by whoever needs it first."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.grasp_space import GraspSpace
from sceneleapultra.models.module import GraspModule
from sceneleapultra.models.palm_normalizer import PalmNormalizer
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.core.locks import owned_lock
from sceneleapultra.utils.requests import GraspRequest, LearnedViews
from sceneleapultra.utils.requests.learned import ViewNumbers
from sceneleapultra.utils.requests.request import level_plane
from sceneleapultra.utils.training.pose_statistics import (
    Statistics,
    digest,
    read_statistics,
    write_statistics,
)

# Settings by which a grasp becomes a state: where anchors are, which one it takes, what it is relative to.
_DEPENDS_ON = {
    "generator": ("hand", "encoder", "representation"),
    "objective": ("anchors", "seed"),
}


def statistics_settings(module: GraspModule) -> dict[str, Any] | None:
    """Return what a module's states depend on, as plain settings; None for one that takes statistics from elsewhere.

    A model for many hands that started from a checkpoint has its statistics from there.
    """
    normalizer = getattr(module.generator, "normalizer", None)
    if not module.objective.measures_statistics or (
        isinstance(normalizer, PalmNormalizer) and bool(normalizer.fitted)
    ):
        return None
    settings = {part: {key: module.config[part][key] for key in keys} for part, keys in _DEPENDS_ON.items()}
    settings["generator"]["representation"] = {
        key: value for key, value in settings["generator"]["representation"].items() if key != "autoencoder"
    }
    if (autoencoder := getattr(module.generator, "autoencoder", None)) is not None:
        settings["generator"]["autoencoder"] = weights_digest(autoencoder)
    return settings


def weights_digest(module: nn.Module) -> str:
    """Hash the weights of a module."""
    hashed = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        hashed.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return hashed.hexdigest()


def compute_statistics(
    module: GraspModule, batches: Iterable[GraspBatch], describes: Mapping[str, Any]
) -> Statistics:
    """Compute the statistics of the states of the successful grasps in training batches.

    Raises:
        ValueError: there are fewer than two within reach of an anchor.
    """
    generator = module.generator
    assert isinstance(generator, GraspSpace)
    columns = generator.normalizer.columns
    states, views = [np.zeros((0, len(columns)))], []
    with torch.no_grad():
        for batch in batches:
            assert batch.grasp_success is not None
            views += _view_numbers(batch)
            context = module.context_of(batch, step=0, training=False)
            rows = context.generator.states(context.pose, context.squeeze_qpos, context.tokens, context.index)
            rows = rows[context.valid & batch.grasp_success]
            measured = context.generator.measured(rows)[:, context.generator.normalizer.columns]
            states.append(measured.double().numpy())
    names = generator.names
    return Statistics.of(
        np.concatenate(states),
        [names[i] for i in columns],
        describes,
        LearnedViews.of(views) if views else None,
    )


def _view_numbers(batch: GraspBatch) -> list[ViewNumbers]:
    """Measure what the clouds of a batch are like: what those of a user are compared with."""
    numbers = []
    for i in range(batch.size):
        valid = batch.point_valid[i]
        request = GraspRequest(
            points=batch.scene_pc[i, valid].double().numpy(),
            object_mask=batch.object_mask[i, valid].numpy(),
            viewpoint=batch.viewpoint[i].double().numpy(),
            up=batch.up[i].double().numpy(),
        )
        if request.object_mask.any():
            numbers.append(ViewNumbers.of(request, level_plane(request)))
    return numbers


def set_statistics(generator: GraspSpace, statistics: Statistics) -> None:
    """Normalize by these statistics from now on, and let the noise process know how far clean states are spread."""
    generator.normalizer.set_statistics(statistics)
    if isinstance(generator, GraspGenerator):
        generator.process.set_sigma_data(statistics.spread)


def statistics_file(data: Any, describes: Mapping[str, Any], path: str | None) -> Path:
    """Return where the statistics of something are kept: at a given path, or beside the store."""
    return (
        Path(path)
        if path is not None
        else data.statistics_folder / f"{data.frame}-{digest(describes)[:12]}.json"
    )


def statistics_of(module: GraspModule, data: Any, *, scenes: int, path: str | None) -> Statistics | None:
    """Return the statistics of a model's states on a data module's training items, augmented as they are in training.

    Args:
        module: the generator and its objective, with their configuration.
        data: the data module, set up.
        scenes: training items they are computed from.
        path: file of them; None for the one beside the store whose name says what they describe.

    Returns:
        None for a model that needs none of its own.

    Raises:
        ValueError: the file describes other data, another frame or other settings.
    """
    if (settings := statistics_settings(module)) is None:
        return None
    describes = {**data.described, "scenes": scenes, "model": settings}
    file = statistics_file(data, describes, path)
    if not file.is_file():
        lock = file.with_suffix(".lock")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            lock.touch()
        except OSError as error:
            raise ValueError(
                f"Pose statistics cannot be kept in {file.parent} ({error.strerror}). Pass statistics=<a file "
                "elsewhere>; it is made if it is not there."
            ) from error
        with owned_lock(lock, doing=f"measuring {file}", wait=True):
            if not file.is_file():
                write_statistics(file, compute_statistics(module, data.first_batches(scenes), describes))
    # What was just measured is read, too: the numbers are those of the file, whoever wrote it.
    return read_statistics(file, describes)
