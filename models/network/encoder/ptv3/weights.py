"""How weights trained elsewhere reach the network: prefixes stripped, heads set aside, everything else exactly alike.

Read are checkpoints of Pointcept (``state_dict`` under ``backbone.``), files of Sonata and Concerto (``config`` beside
``state_dict``) and bare state dictionaries. Checkpoints of this project are read by ``encoder_weights``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from sceneleapultra.utils.core.nonfinite import check_finite
from sceneleapultra.utils.core.torch_files import read_torch

# Where the network stands in the files that are known.
PREFIXES = ("", "backbone.", "module.backbone.")
# What stands beside it there.
IGNORED = ("seg_head.", "cls_head.", "module.seg_head.", "module.cls_head.", "embedding.mask_token")


@dataclass(frozen=True, kw_only=True)
class WeightsReport:
    """What was taken from a file."""

    path: Path
    tensors: int
    parameters: int
    prefix: str
    ignored: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"Encoder starts from {self.path}: {self.tensors} tensors, {self.parameters:,} numbers"]
        parts += [f"prefix {self.prefix} removed"] if self.prefix else []
        parts += [f"not used: {', '.join(self.ignored)}"] if self.ignored else []
        return "; ".join(parts) + "."


def load_weights(network: nn.Module, path: Path) -> WeightsReport:
    """Fill ``network`` from a file; every tensor of the network must be there, and nothing beside known heads.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a file of weights, or those of another architecture; names the first key that does not match.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"No encoder weights at {path}. Correct model.generator.encoder.weights, or set it to null."
        )
    found = _tensors(path)
    prefix = max(
        (p for p in PREFIXES if any(key.startswith(f"{p}embedding.") for key in found)), key=len, default=""
    )
    ignored = tuple(
        key for key in found if not (prefix and key.startswith(prefix)) and key.startswith(IGNORED)
    )
    state = {key.removeprefix(prefix): value for key, value in found.items() if key not in ignored}
    wanted = network.state_dict()
    for key, value in wanted.items():
        if key not in state:
            raise ValueError(
                f"{path} has no {key}, which the encoder needs in {_shape(value)}.{_kind(state)}"
            )
        if state[key].shape != value.shape:
            raise ValueError(
                f"{path} has {key} of {_shape(state[key])}, the encoder needs {_shape(value)}.{_kind(state)}"
            )
    if surplus := [key for key in state if key not in wanted]:
        raise ValueError(
            f"{path} has {surplus[0]} of {_shape(state[surplus[0]])}, which the encoder has not "
            f"({len(surplus)} such).{_kind(state)}"
        )
    check_finite(state, path)
    network.load_state_dict(state)
    numbers = sum(state[name].numel() for name, _ in network.named_parameters())
    return WeightsReport(path=path, tensors=len(state), parameters=numbers, prefix=prefix, ignored=ignored)


def _tensors(path: Path) -> dict[str, Tensor]:
    content = read_torch(path)
    found = content["state_dict"] if isinstance(content, Mapping) and "state_dict" in content else content
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ValueError(
            f"{path} holds no weights: expected a state_dict or a mapping of tensors, got {type(content).__name__}."
        )
    return dict(found)


def _shape(value: Tensor) -> str:
    return f"shape {tuple(value.shape)}"


def _kind(state: Mapping[str, Tensor]) -> str:
    """Say which settings the file's stem and norms ask for, when it is a Point Transformer V3 at all."""
    stems = {"conv": "embedding.stem.conv.weight", "linear": "embedding.stem.linear.weight"}
    for stem, key in stems.items():
        if key in state:
            norm = "batch" if "embedding.stem.norm.running_mean" in state else "layer"
            width, channels = state[key].shape[0], state[key].shape[-1]
            return (
                f" The file is a Point Transformer V3 with architecture.stem={stem}, architecture.norm={norm}, "
                f"{channels} input channels and enc_channels[0]={width}: set the encoder likewise."
            )
    return " The file is not of a Point Transformer V3."
