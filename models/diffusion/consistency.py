"""Sampling of a distilled model, which answers with the clean end of a trajectory, in one to four steps."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sceneleapultra.models.diffusion.path import Path
from sceneleapultra.models.diffusion.samplers import Evaluate, Sampler, time_grid


@dataclass(frozen=True, kw_only=True)
class Consistency(Sampler):
    """Multistep consistency sampling (Song et al. 2023, algorithm 1): answer, add fresh noise, answer again."""

    name = "consistency"
    for_distilled = True

    def solve(
        self, ask: Evaluate, path: Path, x: Float[Tensor, "b g d"], generator: torch.Generator | None
    ) -> Iterator[Float[Tensor, "b g d"]]:
        """Yield the clean sample after each answer."""
        for i, t in enumerate(time_grid(path, self.steps, "trailing", x)[:-1]):
            if i > 0:
                noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
                x = path.alpha(t) * x + path.sigma(t) * noise
            x = ask(x, t)
            yield x
