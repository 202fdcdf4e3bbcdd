"""Weights of a generator in fewer bits: rounded once, before anything is made of them, and stored as what they became.

Only weights are rounded: what is computed with them is float32, in torch and on onnxruntime alike. Vectors (biases,
norms) and matrices of few rows (the last layers, what time modulates) stay as they are: they are few numbers.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int8
from torch import Tensor, nn

from sceneleapultra.models.bundle.parts import Precision

SCALE = ".scale"  # behind the name of an 8-bit weight: the name of its rows' scales
_STEPS = 127
_ROWS = 16  # of a matrix that is rounded


def round_weights(module: nn.Module, precision: Precision) -> dict[str, Tensor]:
    """Round the weights of a module in place; return those that were, by name, in the form in which they are stored.

    ``bf16``: the nearest number of 8 bits of mantissa. ``int8``: a whole number of -127 to 127 times a scale, one for
    each row (output) of a matrix, so that the row's largest weight is kept.
    """
    stored: dict[str, Tensor] = {}
    if precision == "float32":
        return stored
    for name, weight in module.named_parameters():
        if weight.dim() < 2 or len(weight) < _ROWS:
            continue
        if precision == "bf16":
            own = {name: weight.detach().bfloat16()}
        else:
            codes, scale = in_rows(weight.detach())
            own = {name: codes, name + SCALE: scale}
        stored |= own
        with torch.no_grad():
            weight.copy_(restored(own)[name])
    return stored


def in_rows(weight: Float[Tensor, "r *c"]) -> tuple[Int8[Tensor, "r *c"], Float[Tensor, "r"]]:
    """Return a weight as whole numbers, and the scale of each row."""
    rows = weight.flatten(1)
    scale = rows.abs().amax(1) / _STEPS
    scale = torch.where(scale > 0.0, scale, torch.ones_like(scale))
    return (rows / scale[:, None]).round().to(torch.int8).view_as(weight), scale


def restored(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights in float32, of whatever form they are stored in.

    Raises:
        ValueError: whole numbers without a scale for each row.
    """
    made: dict[str, Tensor] = {}
    for name, value in stored.items():
        if name.endswith(SCALE) and name.removesuffix(SCALE) in stored:
            continue
        if value.dtype == torch.int8:
            scale = stored.get(name + SCALE)
            if scale is None or scale.shape != value.shape[:1]:
                raise ValueError(
                    f"{name} is of whole numbers, and {name + SCALE} is not one number for each row"
                )
            made[name] = value.float() * scale.view(-1, *(1,) * (value.dim() - 1))
        else:
            made[name] = value.float() if value.dtype == torch.bfloat16 else value
    return made
