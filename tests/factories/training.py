"""A model so small that a step takes milliseconds, and what its checkpoints hold."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# The large eps keeps parameters whose gradient is zero but for rounding (biases before a softmax) from moving by a full
# Adam step in the direction of the rounding.
TINY = [
    "hardware=cpu",
    "callbacks=no_simulation",
    "logger=csv",
    "optimizer.eps=1e-3",
    "scheduler.warmup_steps=1",
    "scheduler.total_steps=12",
    "model.generator.decoder.dim=16",
    "model.generator.decoder.depth=1",
    "model.generator.decoder.heads=2",
    "model.generator.heads.score.widths=[8, 8]",
    "model.generator.heads.score.dim=16",
    "model.generator.encoder.dim=16",
    "model.generator.encoder.levels.fine.widths=[16,16]",
    "model.generator.encoder.levels.coarse.widths=[16,16]",
    "model.generator.encoder.levels.fine.centers=32",
    "model.generator.encoder.levels.coarse.centers=16",
    "model.generator.encoder.levels.fine.neighbors=[8]",
    "model.generator.encoder.levels.coarse.neighbors=[8]",
    "data.batch_size=4",
    "data.grasps.number=4",
    "trainer.val_check_interval=4",
    "trainer.log_every_n_steps=1",
    "callbacks.last.every_n_steps=100",
    "normalizer_scenes=8",
    "model.objective.anchors.reach=0.2",
]


def state(folder: Path, checkpoint: str = "last.ckpt") -> dict[str, Any]:
    """Read everything of a checkpoint that training continues from."""
    saved = torch.load(folder / "checkpoints" / checkpoint, weights_only=True)
    kept = ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers")
    return leaves({key: saved[key] for key in kept} | {"step": saved["global_step"]})


def leaves(node: Any, key: str = "") -> dict[str, Any]:
    """List the leaves of nested containers, by path."""
    if isinstance(node, dict):
        return {k: v for name, child in node.items() for k, v in leaves(child, f"{key}/{name}").items()}
    if isinstance(node, list | tuple):
        return leaves(dict(enumerate(node)), key)
    return {key: node}


def assert_same(first: dict[str, Any], second: dict[str, Any], tolerance: float = 0.0) -> None:
    """Compare what :func:`state` returns."""
    assert first.keys() == second.keys()
    for key, value in first.items():
        if isinstance(value, Tensor):
            torch.testing.assert_close(
                value, second[key], rtol=0, atol=tolerance, msg=lambda m, k=key: f"{k}: {m}"
            )
        else:
            assert value == second[key], key
