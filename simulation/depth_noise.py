"""What a depth sensor does to true depth: noise that grows with it, pixels lost at grazing angles and edges."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float


@dataclass(frozen=True, kw_only=True)
class DepthNoise:
    """A sensor model; ``config/camera`` says what each number means."""

    sigma_share: float
    quantum_m: float | None
    dropout: float
    grazing_cosine: float
    edge_step_m: float
    edge_dropout: float

    def apply(
        self,
        depth: Float[np.ndarray, "n"],
        cosine: Float[np.ndarray, "n"],
        step_m: Float[np.ndarray, "n"],
        rng: np.random.Generator,
    ) -> tuple[Float[np.ndarray, "n"], Bool[np.ndarray, "n"]]:
        """Return the measured depth and which pixels are measured at all.

        Args:
            depth: true depth along the optical axis.
            cosine: cosine between surface normal and ray.
            step_m: how far the depth at a neighboring pixel is off the continued slope.
            rng: source of all randomness.
        """
        noise = rng.standard_normal(len(depth), dtype=np.float32)
        chance = rng.random(len(depth), dtype=np.float32)
        measured = depth * (1.0 + np.float32(self.sigma_share) * noise)
        if self.quantum_m is not None:
            measured = np.round(measured / np.float32(self.quantum_m)) * np.float32(self.quantum_m)
        kept = np.where(step_m > self.edge_step_m, np.float32(1.0 - self.edge_dropout), np.float32(1.0))
        if self.grazing_cosine > 0.0:
            kept *= np.minimum(cosine / np.float32(self.grazing_cosine), np.float32(1.0))
        return measured, chance < kept * np.float32(1.0 - self.dropout)
