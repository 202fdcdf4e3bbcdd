"""Structured pruning: hidden units of a trained decoder are removed, and what is left makes up for them.

What a layer reads is recorded while the model samples. Then its units are removed one by one, each time the one without
which the layer's output changes least, the weights of the others refitted by least squares: the optimal brain surgeon
(Hassibi & Stork 1993) on whole units, as ZipLM (Kurtic et al. 2023) applies it to transformers. Units that are zero, or
that others say already, go at no cost. The result is a model of a smaller configuration like any other.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sceneleapultra.models.checkpoints.load import build_generator
from sceneleapultra.models.checkpoints.migrate import CHECKPOINT_VERSION
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.network.decoder.dit import SetDiT
from sceneleapultra.models.network.low_rank import adapters
from sceneleapultra.utils.core.torch_files import write_torch

_DAMPING = (
    1e-6  # of the mean square of a unit: keeps the moments of units that are zero, or alike, invertible
)


@dataclass(frozen=True)
class Pruned:
    """A smaller generator, and what pruning changed before any training.

    Attributes:
        generator: of the smaller configuration, in evaluation mode.
        error: root mean square of the change of each layer's output, over the output's standard deviation.
    """

    generator: GraspGenerator
    error: dict[str, float]


def prune(generator: GraspGenerator, use: Callable[[], object], *, mlp_ratio: float, dim_time: int) -> Pruned:
    """Return a generator with narrower feed-forward layers and a narrower embedding of time in its decoder.

    Args:
        generator: with a DiT as decoder; it is not changed.
        use: has the generator do what it should go on doing: sample on clouds like those it will see.
        mlp_ratio: hidden units of each feed-forward layer that are kept, over the decoder's width.
        dim_time: numbers of the embedding of time that are kept.

    Raises:
        ValueError: another decoder, adapters, or a width that the generator does not have to spare.
    """
    decoder, config = generator.decoder, generator.config
    if not isinstance(decoder, SetDiT):
        raise ValueError(
            f"Pruning narrows hidden layers of model/generator/decoder=dit, this model has a {type(decoder).__name__}."
        )
    if adapters(generator):
        raise ValueError("This model has low-rank adapters. Prune the model that they were trained on.")
    assert config is not None
    sizes, present = {"mlp_ratio": mlp_ratio, "dim_time": dim_time}, config["decoder"]
    for key, size in sizes.items():
        if size > present[key]:
            raise ValueError(f"{key}: expected at most {present[key]:g}, what the model has, got {size:g}.")
    smaller: GraspGenerator = build_generator({**config, "decoder": {**present, **sizes}})
    # {the layer that reads the units: the layer that makes them}
    layers = {f"decoder.blocks.{i}.forward_layer": ("2", "0") for i in range(len(decoder.blocks))}
    pairs = {f"{name}.{reads}": f"{name}.{makes}" for name, (reads, makes) in layers.items()}
    pairs["decoder.modulation"] = "decoder.time.2"
    weights, error = dict(generator.state_dict()), {}
    with _moments(generator, pairs) as moments:
        use()
    for reader, maker in pairs.items():
        layer, width = generator.get_submodule(reader), smaller.get_parameter(f"{reader}.weight").shape[1]
        assert isinstance(layer, nn.Linear)
        own = torch.cat([layer.weight, layer.bias[:, None]], dim=1)
        kept, fitted, error[reader] = keep_units(moments[reader], own, width)
        weights[f"{reader}.weight"], weights[f"{reader}.bias"] = fitted[:, :-1], fitted[:, -1]
        for key in (f"{maker}.weight", f"{maker}.bias"):
            weights[key] = weights[key][kept]
    smaller.load_state_dict(weights)
    return Pruned(smaller.eval(), error)


@torch.no_grad()
def keep_units(
    moments: Float[Tensor, "m m"], weights: Float[Tensor, "o m"], width: int
) -> tuple[Int[Tensor, "n"], Float[Tensor, "o k"], float]:
    """Choose the units that a layer goes on reading, and fit its weights to them.

    Args:
        moments: mean products of the units that the layer reads, and of a last one that is always 1: the bias's.
        weights: of the layer, its bias in the last column.
        width: how many units are kept, beside the last one.

    Returns:
        Their index; weights of these and the bias; the root mean square of the change of the output over the output's
        standard deviation.
    """
    before, moments = weights.double(), moments.double()
    units = len(moments) - 1
    damping = torch.full((units + 1,), _DAMPING * float(moments.diagonal().mean()), dtype=torch.float64)
    inverse, fitted = torch.linalg.inv(moments + damping.diag()), before.clone()
    left = torch.ones(units, dtype=torch.bool)
    for _ in range(units - width):
        cost = fitted.square().sum(0) / inverse.diagonal()
        j = int(cost[:-1].masked_fill(~left, torch.inf).argmin())
        fitted -= torch.outer(fitted[:, j] / inverse[j, j], inverse[j])
        inverse -= torch.outer(inverse[:, j], inverse[j]) / inverse[j, j]
        left[j] = False
        # What is removed stays so, whatever the rounding.
        fitted[:, j], inverse[j], inverse[:, j], inverse[j, j] = 0.0, 0.0, 0.0, 1.0
    change, mean = fitted - before, before @ moments[:, -1]
    variance = ((before @ moments) * before).sum() - mean.square().sum()
    error = ((change @ moments) * change).sum().clamp(min=0.0) / variance.clamp(min=1e-12)
    kept = left.nonzero().squeeze(1)
    return kept, fitted[:, [*kept.tolist(), units]].to(weights), float(error.sqrt())


@contextmanager
def _moments(generator: GraspGenerator, layers: Mapping[str, Any]) -> Iterator[dict[str, Tensor]]:
    """Collect mean products of what layers read, and of 1, in here."""
    sums: dict[str, Tensor] = {}

    def add(name: str, read: Tensor) -> None:
        rows = nn.functional.pad(read.detach().flatten(0, -2).double(), (0, 1), value=1.0)
        sums[name] = sums.get(name, 0.0) + rows.T @ rows

    handles = [
        generator.get_submodule(name).register_forward_pre_hook(
            lambda _, arguments, name=name: add(name, arguments[0])
        )
        for name in layers
    ]
    try:
        yield sums
    finally:
        for handle in handles:
            handle.remove()
    for name, total in sums.items():
        sums[name] = total / total[-1, -1]


def write_pruned(path: Path, checkpoint: Mapping[str, Any], generator: GraspGenerator) -> None:
    """Write a smaller generator as the checkpoint that it came from, without what only that one's training needs.

    Args:
        path: of the file.
        checkpoint: the one it came from, see :func:`~sceneleapultra.models.checkpoints.load.read_checkpoint`.
        generator: the smaller one.
    """
    content = {
        "version": CHECKPOINT_VERSION,
        "model_config": {**checkpoint["model_config"], "generator": generator.config},
        "hand_hash": checkpoint["hand_hash"],
        "state_dict": {f"generator.{key}": value for key, value in generator.state_dict().items()},
    }
    write_torch(path, content)
