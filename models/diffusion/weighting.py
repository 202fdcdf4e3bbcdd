"""How much each noise level counts in the loss: a weight on the squared error of the predicted clean sample."""

from dataclasses import dataclass
from typing import Literal, get_args

from jaxtyping import Float
from torch import Tensor

from sceneleapultra.models.diffusion.process import NoiseProcess
from sceneleapultra.utils.core.names import unknown_name

Weight = Literal["uniform", "snr", "edm", "velocity"]
_SIGMA_MIN = 1e-4  # noise below this counts as this much, so that t = 0 has a weight


@dataclass(frozen=True, kw_only=True)
class LossWeighting:
    """A choice of weights; the same error of x0 seen as that of another prediction.

    ``uniform`` is 1. ``snr`` = alpha^2 / sigma^2 is the error of eps. ``edm`` = 1 / sigma_data^2 + SNR is the error of
    EDM's network (Karras et al. 2022, table 1) and, on variance-preserving paths, of v. ``velocity`` is the error of
    u. ``maximum`` bounds the weight: ``snr`` bounded by gamma is min-SNR-gamma (Hang et al. 2023, section 3.4).
    """

    kind: Weight
    maximum: float | None

    def __post_init__(self) -> None:
        """Refuse what weighs nothing."""
        if self.kind not in get_args(Weight):
            raise unknown_name("weighting.kind", self.kind, get_args(Weight))
        if self.maximum is not None and not self.maximum > 0:
            raise ValueError(f"weighting.maximum must be positive or null, got {self.maximum}.")

    def check(self, process: NoiseProcess) -> None:
        """Refuse a weight that a path cannot have.

        Raises:
            ValueError: ``velocity`` on a path without a bounded one.
        """
        if self.kind == "velocity" and "u" in process.refused:
            raise ValueError(
                f"weighting=velocity weighs the error of u, which process={process.name} does not have. "
                "Use weighting=edm."
            )

    def __call__(self, process: NoiseProcess, t: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Return the weight of each noise level."""
        alpha, sigma = process.alpha(t), process.sigma(t).clamp(min=_SIGMA_MIN)
        snr = (alpha / sigma).square()
        if self.kind == "uniform":
            weight = snr.new_ones(snr.shape)
        elif self.kind == "snr":
            weight = snr
        elif self.kind == "edm":
            weight = 1.0 / process.sigma_data**2 + snr
        else:
            weight = ((alpha * process.sigma_dot(t) - process.alpha_dot(t) * sigma) / sigma).square()
        return weight if self.maximum is None else weight.clamp(max=self.maximum)
