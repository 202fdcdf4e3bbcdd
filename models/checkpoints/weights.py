"""How an encoder starts from one that was trained before: by this project, alone or as part of a model."""

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from sceneleapultra.utils.core.nonfinite import check_finite
from sceneleapultra.utils.core.torch_files import read_torch

log = logging.getLogger(__name__)

# Where an encoder stands in a checkpoint: of this version, and of 0.1 as part of a model and alone.
PREFIXES = ("generator.encoder.", "denoiser.encoder.", "encoder.")


def load_encoder(encoder: nn.Module, path: str | Path) -> None:
    """Fill an encoder from a checkpoint with its averaged weights, and log what was taken.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint of this project, of another encoder (the first key that differs is named), or not
            finite.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"encoder_weights: no checkpoint at {path}. Make it with: python train_lightning.py "
            "experimental=pretrain_encoder"
        )
    content = read_torch(path)
    state = content.get("state_dict", {}) if isinstance(content, dict) else {}
    prefix = next((p for p in PREFIXES if any(key.startswith(p) for key in state)), None)
    if prefix is None:
        raise ValueError(
            f"encoder_weights: {path} holds no encoder of this project: expected keys that begin with "
            f"{' or '.join(PREFIXES)} under 'state_dict'. Official weights are read by model.generator.encoder.weights."
        )
    found = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    check_finite(found, f"encoder_weights: {path}")
    fill(encoder, found, f"encoder_weights: {path}", "the options of model.generator.encoder")
    count = sum(value.numel() for value in found.values())
    others = len(state) - len(found)
    log.info(
        "Encoder starts from %s: all %d tensors (%d numbers) matched, %d others unused.",
        path,
        len(found),
        count,
        others,
    )


def fill(module: nn.Module, found: Mapping[str, torch.Tensor], source: str, options: str) -> None:
    """Load the weights of a module that is built alike.

    Args:
        module: takes them.
        found: all of its parameters and buffers, and no others.
        source: where they come from, for the message.
        options: the settings that make modules alike.

    Raises:
        ValueError: they are of another module; the first key that differs is named.
    """
    wanted = module.state_dict()
    for key in [*wanted, *found]:
        have, need = (shape_of(tensors, key) for tensors in (found, wanted))
        if have != need:
            raise ValueError(
                f"{source} has {key} {have}, this model {need}. Pass {options} that it was trained with."
            )
    module.load_state_dict(dict(found))


def shape_of(tensors: Mapping[str, torch.Tensor], key: str) -> str:
    """Say which shape a tensor has, or that there is none."""
    return f"of shape {tuple(tensors[key].shape)}" if key in tensors else "not at all"
