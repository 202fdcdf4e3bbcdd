"""What a bundle holds, as a checkpoint holds it; nothing in it is code."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from sceneleapultra.models.bundle.manifest import read_manifest
from sceneleapultra.models.bundle.parts import CONFIG, NORMALIZER, WEIGHTS
from sceneleapultra.models.bundle.precision import restored
from sceneleapultra.utils.core.files import read_json_object
from sceneleapultra.utils.core.plain_data import check_plain

_REMEDY = "Export the checkpoint anew."


def bundle_checkpoint(folder: Path) -> dict[str, Any]:
    """Return what a bundle holds, in the layout of a checkpoint; the probe is not looked at.

    Raises:
        FileNotFoundError: no bundle, or a file of it is missing.
        ValueError: files are not what was written, or a later version wrote them.
    """
    manifest = read_manifest(folder)
    config = read_json_object(folder / CONFIG, _REMEDY)
    check_plain(config, folder / CONFIG)
    try:
        weights = restored(load_file(folder / WEIGHTS))
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{folder / WEIGHTS} holds no weights ({error}). {_REMEDY}") from error
    weights |= _normalizer(folder / NORMALIZER)
    return {
        "version": manifest.get("checkpoint_version", 0),
        "model_config": config,
        "state_dict": {f"generator.{key}": value for key, value in weights.items()},
        "hand_hash": manifest["hand"]["description_hash"],
    }


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
