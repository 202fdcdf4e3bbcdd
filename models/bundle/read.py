"""How a generator comes out of a bundle: by the same way as out of a checkpoint, and nothing in it is code."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from sceneleapultra.models.bundle.manifest import read_manifest
from sceneleapultra.models.bundle.parts import CONFIG, NORMALIZER, WEIGHTS
from sceneleapultra.models.checkpoints.load import generator_of
from sceneleapultra.models.checkpoints.migrate import migrate
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.utils.core.files import read_json_object
from sceneleapultra.utils.core.plain_data import check_plain

_REMEDY = "Export the checkpoint anew."


def read_bundle(folder: Path) -> tuple[GraspGenerator, dict[str, Any]]:
    """Return the generator of a bundle, in evaluation mode, and the configuration; the probe is not looked at.

    Raises:
        FileNotFoundError: no bundle, or a file of it is missing.
        ValueError: files are not what was written, a later version wrote them, or see
            :func:`~sceneleapultra.models.checkpoints.load.load_generator`.
    """
    manifest = read_manifest(folder)
    config = read_json_object(folder / CONFIG, _REMEDY)
    check_plain(config, folder / CONFIG)
    try:
        weights = load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise ValueError(f"{folder / WEIGHTS} holds no weights ({error}). {_REMEDY}") from error
    weights |= _normalizer(folder / NORMALIZER)
    checkpoint = {
        "version": manifest.get("checkpoint_version", 0),
        "model_config": config,
        "state_dict": {f"generator.{key}": value for key, value in weights.items()},
        "hand_hash": manifest["hand"]["description_hash"],
    }
    checkpoint = migrate(checkpoint)
    return generator_of(checkpoint, folder), checkpoint["model_config"]


def _normalizer(path: Path) -> dict[str, Any]:
    found = read_json_object(path, _REMEDY)
    check_plain(found, path)
    extra = {name: found[name] for name in ("frame", "data_hash", "views") if name in found}
    return {
        "normalizer.mean": torch.tensor(found["mean"]),
        "normalizer.std": torch.tensor(found["std"]),
        "normalizer.fitted": torch.tensor(found["fitted"]),
        "normalizer._extra_state": extra,
    }
