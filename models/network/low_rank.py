"""Low-rank adapters: what a trained network learns of a new hand, in few numbers beside weights that stay.

``y = W x + b + U D x`` with the narrow ``D`` and ``U`` alone trained; ``U`` begins as zero.
Source: Hu et al. 2022, LoRA.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

_OWN = ("low_rank_down", "low_rank_up")


class LowRankLinear(nn.Linear):
    """A linear layer with a low-rank change beside its weights, which keep their names in checkpoints.

    Args:
        layer: whose weights it takes over.
        rank: of the change.

    Attributes:
        adapted: whether the change takes part; without, the layer computes what it did, bit for bit.
    """

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        self.low_rank_down = nn.Parameter(torch.randn(rank, layer.in_features) * layer.in_features**-0.5)
        self.low_rank_up = nn.Parameter(torch.zeros(layer.out_features, rank))
        self.adapted = True

    def forward(self, input: Float[Tensor, "*b i"]) -> Float[Tensor, "*b o"]:
        """Map vectors."""
        out = super().forward(input)
        if not self.adapted:
            return out
        return out + nn.functional.linear(nn.functional.linear(input, self.low_rank_down), self.low_rank_up)

    def change(self) -> Float[Tensor, "o i"]:
        """Return what the adapter adds to the weights."""
        return self.low_rank_up @ self.low_rank_down


def add_product(
    onto: Float[Tensor, "n o"], layer: nn.Linear, x: Float[Tensor, "n i"]
) -> Float[Tensor, "n o"]:
    """Return ``onto + W x`` with the weights of a layer, in one operation; its bias takes no part."""
    out = torch.addmm(onto, x, layer.weight.T)
    if isinstance(layer, LowRankLinear) and layer.adapted:
        narrow = nn.functional.linear(x, layer.low_rank_down)
        out = torch.addmm(out, narrow, layer.low_rank_up.T)
    return out


def is_adapter(key: str) -> bool:
    """Say whether a parameter, by its name, is an adapter's."""
    return key.rpartition(".")[2] in _OWN


def add_adapters(network: nn.Module, parts: tuple[str, ...], rank: int) -> None:
    """Give every linear layer of some parts an adapter; of the whole network, nothing else is trained.

    Args:
        network: with the parts.
        parts: names of submodules.
        rank: of the adapters.
    """
    for part in map(network.get_submodule, parts):
        for parent in list(part.modules()):
            for name, child in list(parent.named_children()):
                if type(child) is nn.Linear:
                    setattr(parent, name, LowRankLinear(child, rank))
    for key, parameter in network.named_parameters():
        parameter.requires_grad_(is_adapter(key))


def adapters(network: nn.Module) -> list[LowRankLinear]:
    """Return the layers with adapters."""
    return [module for module in network.modules() if isinstance(module, LowRankLinear)]


@contextmanager
def without_adapters(network: nn.Module) -> Iterator[None]:
    """Compute as before the adapters were trained, bit for bit."""
    layers = adapters(network)
    before = [layer.adapted for layer in layers]
    for layer in layers:
        layer.adapted = False
    try:
        yield
    finally:
        for layer, adapted in zip(layers, before, strict=True):
            layer.adapted = adapted


def merged_state(network: nn.Module) -> dict[str, Tensor]:
    """Return a network's state with the adapters' changes in its weights: that of the same network without adapters."""
    state = network.state_dict()
    for name, module in network.named_modules():
        if isinstance(module, LowRankLinear):
            state[f"{name}.weight"] = module.weight.detach() + module.change().detach()
    return {key: value for key, value in state.items() if not is_adapter(key)}
