"""Points fixed to bodies, and where they are once the bodies are placed."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class BodyPoints(nn.Module):
    """Points (or vectors) given in body frames.

    The position of point k on body i is ``T_i [p_k, 1]``, so all points together are one matrix product of the
    stacked body transforms with a sparse constant matrix: much faster than gathering a transform per point.
    """

    points: Float[Tensor, "n 3"]
    body: Int[Tensor, "n"]
    stacked: Float[Tensor, "m n"]  # m = 4 * bodies

    def __init__(
        self,
        points: Float[np.ndarray, "n 3"],
        body: Int[np.ndarray, "n"],
        *,
        num_bodies: int,
        vectors: bool,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        stacked = np.zeros((num_bodies, 4, len(points)))
        column = np.arange(len(points))
        stacked[body, :3, column] = points
        stacked[body, 3, column] = 0.0 if vectors else 1.0
        self.register_buffer("points", torch.tensor(points, dtype=dtype), persistent=False)
        self.register_buffer("body", torch.tensor(body, dtype=torch.int64), persistent=False)
        flat = torch.tensor(stacked.reshape(4 * num_bodies, -1), dtype=dtype)
        self.register_buffer("stacked", flat, persistent=False)

    def __len__(self) -> int:
        return len(self.body)

    def forward(
        self, T_frame_body: Float[Tensor, "*b bodies 4 4"], n: int | None = None
    ) -> Float[Tensor, "*b k 3"]:
        """Return the first n points (all by default) in the frame of the transforms."""
        rows = T_frame_body[..., :3, :].movedim(-3, -2).flatten(-2)  # (… 3 m)
        return (rows @ self.stacked[:, :n]).transpose(-1, -2)
