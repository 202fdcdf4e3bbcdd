"""Learning rates of parts of a model, as shares of the optimizer's: a pretrained encoder moves less than what is new.

Of an encoder, layers near the points are the more general ones and move least (layer-wise decay, Clark et al. 2020).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer

from sceneleapultra.models.network.encoder.base import SceneEncoder
from sceneleapultra.utils.core.names import unknown_name

_SHARE = "lr_share"  # of a group of parameters


@dataclass(frozen=True, kw_only=True)
class LearningRates:
    """Shares of the optimizer's learning rate; ``config/learning_rates`` says what each setting means."""

    multipliers: dict[str, float]
    layer_decay: float

    def __post_init__(self) -> None:
        for name, value in self.multipliers.items():
            if not 0.0 <= value < float("inf"):
                raise ValueError(
                    f"learning_rates.multipliers.{name}: expected a share of at least 0, got {value}."
                )
        if not 0.0 < self.layer_decay <= 1.0:
            raise ValueError(
                f"learning_rates.layer_decay: expected more than 0, at most 1, got {self.layer_decay}."
            )

    def shares(self, generator: nn.Module) -> dict[nn.Parameter, tuple[str, float]]:
        """Return the part that each parameter with a share of its own belongs to, and the share.

        Raises:
            ValueError: a part that the model has not, or layers of an encoder that names none.
        """
        known = [name for name, module in generator.named_modules() if name and list(module.parameters())]
        for name in self.multipliers:
            if name not in known:
                raise unknown_name("learning_rates.multipliers", name, _near(name, known))
        shares: dict[nn.Parameter, tuple[str, float]] = {}
        for name in sorted(self.multipliers, key=len):  # longer names last: they count
            shares |= {p: (name, self.multipliers[name]) for p in generator.get_submodule(name).parameters()}
        if self.layer_decay != 1.0:
            for number, below, parameter in _depths(generator):
                part, share = shares.get(parameter, ("encoder", 1.0))
                shares[parameter] = (f"{part}_layer{number}", share * self.layer_decay**below)
        return shares


def build_param_groups(
    module: nn.Module, shares: dict[nn.Parameter, tuple[str, float]]
) -> list[dict[str, Any]]:
    """Split trainable parameters: matrices take the optimizer's weight decay; biases, gains and norms do not decay.

    Args:
        module: whose parameters.
        shares: of the learning rate, with the name of the part; parameters without one have a share of 1.
    """
    named: dict[str, dict[str, Any]] = {}
    for parameter in module.parameters():
        if not parameter.requires_grad:
            continue
        part, share = shares.get(parameter, ("rest", 1.0))
        for decays in (True, False):
            name = part if decays else f"{part}_no_decay"
            group = named.setdefault(name, {"params": [], **({} if decays else {"weight_decay": 0.0})})
            group |= {"name": name, _SHARE: share} if shares else {}
            if decays == (parameter.ndim >= 2):
                group["params"].append(parameter)
    return list(named.values())


def take_shares(optimizer: Optimizer) -> None:
    """Give each group of a new optimizer its share of the learning rate."""
    for group in optimizer.param_groups:
        group["lr"] *= group.get(_SHARE, 1.0)


def check_schedule(optimizer: Optimizer, peaks: list[float], schedule: Any) -> None:
    """Refuse a schedule that sets learning rates itself, where parts of a model have shares of them.

    Args:
        optimizer: with ``schedule``.
        peaks: learning rates of its groups before the schedule was made.
        schedule: of the learning rate.

    Raises:
        ValueError: it replaces the groups' rates.
    """
    groups = optimizer.param_groups
    if any(_SHARE in g and g.get("initial_lr", lr) != lr for g, lr in zip(groups, peaks, strict=True)):
        raise ValueError(
            f"scheduler: {type(schedule).__name__} sets learning rates itself, so learning_rates can give parts of the "
            "model no share of them. Pass scheduler=one_cycle, warmup_cosine or constant, or leave learning_rates out."
        )


def check_groups(saved: list[dict[str, Any]], groups: list[dict[str, Any]]) -> None:
    """Refuse to continue a run whose parameters were grouped otherwise; shares may change.

    Raises:
        ValueError: the groups differ.
    """
    if [_identity(g) for g in saved] != [_identity(g) for g in groups]:
        raise ValueError(
            "learning_rates: the run that is continued gave shares of the learning rate to other parts of the model "
            f"({_parts(saved)}; now {_parts(groups)}). Name the same parts, or pass another run_dir; values may change."
        )


def _depths(generator: nn.Module) -> Iterator[tuple[int, int, nn.Parameter]]:
    """Yield the layer of each parameter of the encoder, how many are after it, and the parameter."""
    encoder = dict(generator.named_children()).get("encoder")
    layers = encoder.layers() if isinstance(encoder, SceneEncoder) else []
    if encoder is None or not layers:
        raise ValueError(
            f"learning_rates.layer_decay: {type(encoder or generator).__name__} names no layers (SceneEncoder.layers). "
            "Pass learning_rates.layer_decay=1."
        )
    depth = {p: i for i, modules in enumerate(layers) for module in modules for p in module.parameters()}
    for parameter in encoder.parameters():
        number = depth.get(parameter, len(layers))
        yield number, len(layers) - number, parameter


def _near(name: str, known: list[str]) -> list[str]:
    """Return the parts beside which a wrong name stands: those below its longest right beginning."""
    parent, _, _ = name.rpartition(".")
    while parent and parent not in known:
        parent, _, _ = parent.rpartition(".")
    return [other for other in known if other.rpartition(".")[0] == parent] or known


def _identity(group: dict[str, Any]) -> tuple[Any, int]:
    return group.get("name"), len(group["params"])


def _parts(groups: list[dict[str, Any]]) -> str:
    return "; ".join(str(g["name"]) for g in groups[::2] if "name" in g) or "to none"
