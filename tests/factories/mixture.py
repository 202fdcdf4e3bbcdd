"""Data whose every property is known in closed form: a mixture of two correlated Gaussians in the plane."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sceneleapultra.models.diffusion.discrete import discrete_view
from sceneleapultra.models.diffusion.edm import EDMProcess
from sceneleapultra.models.diffusion.flow import FlowProcess
from sceneleapultra.models.diffusion.process import CosineProcess, LinearProcess, NoiseProcess

PATHS: dict[str, NoiseProcess] = {
    "cosine": CosineProcess(),
    "linear": LinearProcess(beta_min=0.1, beta_max=20.0, zero_terminal_snr=True),
    "linear_raw": LinearProcess(beta_min=0.1, beta_max=20.0, zero_terminal_snr=False),
    "edm": EDMProcess(sigma_min=0.002, sigma_max=80.0, rho=7.0, log_sigma_mean=-0.5, log_sigma_std=1.2),
    "flow": FlowProcess(timing="uniform", timing_parameters=(0.0, 1.0), coupling="independent"),
    "ddpm": discrete_view(process=CosineProcess(), num_steps=1000),
}


@dataclass(frozen=True)
class Mixture:
    """Gaussians with these weights, means and covariances."""

    weights: Tensor
    means: Tensor
    covariances: Tensor

    @property
    def mean(self) -> Tensor:
        return self.weights @ self.means

    @property
    def covariance(self) -> Tensor:
        centered = self.means - self.mean
        return torch.einsum("k,kij->ij", self.weights, self.covariances) + torch.einsum(
            "k,ki,kj->ij", self.weights, centered, centered
        )

    def add_noise(self, alpha: Tensor, sigma: Tensor) -> "Mixture":
        """The mixture that alpha x0 + sigma eps is drawn from."""
        eye = torch.eye(self.means.shape[-1], dtype=self.means.dtype)
        return Mixture(self.weights, alpha * self.means, alpha**2 * self.covariances + sigma**2 * eye)

    def log_density(self, x: Tensor) -> Tensor:
        return self._log_parts(x).logsumexp(-1)

    def _log_parts(self, x: Tensor) -> Tensor:
        inverse, half_log_det = (
            torch.linalg.inv(self.covariances),
            0.5 * torch.linalg.slogdet(self.covariances)[1],
        )
        away = x[..., None, :] - self.means
        distance = torch.einsum("...ki,kij,...kj->...k", away, inverse, away)
        return self.weights.log() - 0.5 * distance - half_log_det - math.log(2 * math.pi)

    def expected_x0(self, process: NoiseProcess, x: Tensor, t: Tensor) -> Tensor:
        """E[x0 | x_t]: sum of w_k(x) (m_k + alpha C_k S_k^-1 (x - alpha m_k)), S_k = alpha^2 C_k + sigma^2 I."""
        alpha, sigma = process.alpha(t[:1]).to(x.dtype), process.sigma(t[:1]).to(x.dtype)
        seen = self.add_noise(alpha, sigma)
        responsibility = seen._log_parts(x).softmax(-1)
        gains = alpha * self.covariances @ torch.linalg.inv(seen.covariances)
        guesses = self.means + torch.einsum("kij,...kj->...ki", gains, x[..., None, :] - seen.means)
        return (responsibility[..., None] * guesses).sum(-2)

    def expected_x0_of(self, process: NoiseProcess):
        """The perfect denoiser on a path."""
        return lambda x, t: self.expected_x0(process, x, t)

    def network(self, process: NoiseProcess, prediction: str):
        """A denoiser that goes through what a perfect network of this prediction type would output."""

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            x0 = self.expected_x0(process, x, t)
            alpha, sigma = process.alpha(t)[:, None, None], process.sigma(t)[:, None, None]
            output = process.target(prediction, x0, (x - alpha * x0) / sigma, t)
            return process.to_x0(prediction, output, x, t)

        return denoise


MIXTURE = Mixture(
    weights=torch.tensor([0.3, 0.7], dtype=torch.float64),
    means=torch.tensor([[1.0, -0.5], [-0.5, 0.4]], dtype=torch.float64),
    covariances=torch.tensor([[[0.3, 0.1], [0.1, 0.2]], [[0.4, -0.15], [-0.15, 0.5]]], dtype=torch.float64),
)
# Two small far blobs: the flow turns sharply where it decides between them.
BLOBS = Mixture(
    weights=torch.tensor([0.5, 0.5], dtype=torch.float64),
    means=torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64),
    covariances=1e-4 * torch.eye(2, dtype=torch.float64).expand(2, 2, 2),
)


def noise_source(seed: int):
    """Return a source of normal numbers from one seeded generator."""
    generator = torch.Generator().manual_seed(seed)
    return lambda x: torch.randn(x.shape, generator=generator, dtype=x.dtype)
