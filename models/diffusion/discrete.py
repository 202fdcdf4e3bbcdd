"""What DDPM is in continuous time: a variance-preserving path known at N steps only.

Step n = 0 ... N - 1 of the literature (and of diffusers) is the time t = (n + 1) / N; t = 0 is clean data.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from sceneleapultra.models.diffusion.process import NoiseProcess


class DiscreteProcess(NoiseProcess):
    """A path that stands on N steps; times in between are moved up to the next step.

    Args:
        alphas: signal scale at the steps, falling; the square root of diffusers' ``alphas_cumprod``.
    """

    name = "ddpm"
    continuous = False
    num_steps: int
    _alphas: Tensor
    _sigmas: Tensor

    def __init__(self, *, alphas: Float[Tensor, "n"]) -> None:
        super().__init__()
        table = torch.cat([torch.ones(1, dtype=torch.float64), alphas.double()])
        if len(table) < 2 or not (table.diff() < 0).all() or table[-1] < 0:
            raise ValueError("A discrete path needs signal scales that fall from below 1 to at least 0.")
        self.num_steps, self._terminal = len(alphas), float(table[-1])
        self.t_min = 1.0 / self.num_steps
        self.register_buffer("_alphas", table, persistent=False)
        self.register_buffer("_sigmas", (1.0 - table**2).sqrt(), persistent=False)

    @property
    def terminal_alpha(self) -> float:
        """Signal that is left at the last step."""
        return self._terminal

    @property
    def refused(self) -> dict[str, str]:
        """A table has no derivative."""
        return super().refused | {
            "u": "needs a path with a derivative; process=ddpm is discrete. "
            "Use prediction=v or x0, or process=cosine or flow."
        }

    def alpha(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Signal scale of the next step."""
        return self._alphas[self._step(t)].to(t.dtype)

    def sigma(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Noise scale of the next step."""
        return self._sigmas[self._step(t)].to(t.dtype)

    def alpha_dot(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Refuse: there is none."""
        raise ValueError("A discrete path has no rate of change.")

    def sigma_dot(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Refuse: there is none."""
        raise ValueError("A discrete path has no rate of change.")

    def sample_t(self, uniform: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Return one of the N times, each equally likely."""
        return ((uniform * self.num_steps).floor() + 1.0) / self.num_steps

    def on_grid(self, times: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
        """Move times up to the next step."""
        return self._step(times).to(times.dtype) / self.num_steps

    def _step(self, t: Float[Tensor, "*b"]) -> Tensor:
        # A time that is k / N up to rounding is step k, not k + 1.
        return (t.double() * self.num_steps - 1e-4).ceil().long().clamp(0, self.num_steps)


def discrete_view(*, process: NoiseProcess, num_steps: int) -> DiscreteProcess:
    """Look at a continuous variance-preserving path at ``num_steps`` equidistant times only.

    Raises:
        ValueError: fewer than one step, or a path that does not preserve the variance.
    """
    if num_steps < 1:
        raise ValueError(f"process.noise.num_steps must be at least 1, got {num_steps}.")
    if not process.variance_preserving:
        raise ValueError(f"DDPM preserves the variance, process={process.name} does not. Use cosine.")
    return DiscreteProcess(alphas=process.alpha(torch.linspace(0, 1, num_steps + 1, dtype=torch.float64))[1:])
