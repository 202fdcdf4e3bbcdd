"""Noise processes as other people's code states them."""

from torch import Tensor

from sceneleapultra.models.diffusion.discrete import DiscreteProcess


def process_from_betas(betas: Tensor, *, zero_terminal_snr: bool) -> DiscreteProcess:
    """The process of a table of betas (Ho et al. 2020), rescaled by algorithm 1 of Lin et al. 2024 if wanted."""
    alphas = (1.0 - betas.double()).cumprod(0).sqrt()
    if zero_terminal_snr:
        alphas = (alphas - alphas[-1]) * alphas[0] / (alphas[0] - alphas[-1])
    return DiscreteProcess(alphas=alphas)
