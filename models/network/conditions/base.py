"""What a condition is: words (or any label) in, tokens out, and a learned null where nothing is said."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.core.names import unknown_name


@dataclass(frozen=True)
class PromptTokens:
    """What is said of each scene; every row has at least one valid token."""

    tokens: Float[Tensor, "b l c"]
    valid: Bool[Tensor, "b l"]


class WordEncoder(ABC):
    """Turns a text into fixed vectors; nothing of it is learned or stored in checkpoints.

    Attributes:
        dim: length of a vector.
        example: a text that it takes.
    """

    dim: int
    example: str = "mug"

    @abstractmethod
    def __call__(self, text: str) -> Float[Tensor, "l c"]:
        """Return the vectors of a text; equal for equal texts."""


class Condition(nn.Module):
    """Tells a model one thing about each scene as tokens; ``None`` is said by a learned null token.

    Args:
        encoder: what the words mean.
        reads: field of the batch that holds the words, one per scene: ``positive_prompt``.
        dim: width of the tokens.
        drop_prob: share of training scenes in which nothing is said; 0 for a model that always needs to be told.
    """

    def __init__(self, *, encoder: WordEncoder, reads: str, dim: int, drop_prob: float) -> None:
        super().__init__()
        known = [f.name for f in fields(GraspBatch) if f.name.endswith("prompt")]
        if reads not in known:
            raise unknown_name("model.generator.conditions.reads", reads, known)
        if not 0.0 <= drop_prob < 1.0:
            raise ValueError(f"model.generator.conditions: expected 0 <= drop_prob < 1, got {drop_prob}.")
        self.drop_prob = drop_prob
        self.encoder, self.reads, self.dim = encoder, reads, dim
        self.project = nn.Sequential(nn.Linear(encoder.dim, dim), nn.GELU(), nn.Linear(dim, dim))
        self.null = nn.Parameter(torch.randn(dim) * dim**-0.5)

    def forward(self, prompts: Sequence[str | None]) -> PromptTokens:
        """Return the tokens of what is said of each scene."""
        device = self.null.device
        found = [None if text is None else self.encoder(text) for text in prompts]
        length = max([1, *(len(vectors) for vectors in found if vectors is not None)])
        rows, valid = [], []
        for vectors in found:
            count = 0 if vectors is None else len(vectors)
            row = torch.zeros(length, self.encoder.dim, device=device)
            if vectors is not None:
                row[:count] = vectors.to(device)
            rows.append(row)
            valid.append(torch.arange(length, device=device) < max(1, count))
        tokens = self.project(torch.stack(rows))
        silent = torch.tensor([text is None for text in prompts], device=device)
        return self.mask_prompt(PromptTokens(tokens, torch.stack(valid)), silent)

    def mask_prompt(self, prompt: PromptTokens, silent: Bool[Tensor, "b"]) -> PromptTokens:
        """Return the tokens with the null instead of what is said in the rows that are ``silent``."""
        first = torch.zeros_like(prompt.valid)
        first[:, 0] = True
        return PromptTokens(
            tokens=torch.where(silent[:, None, None], self.null.to(prompt.tokens.dtype), prompt.tokens),
            valid=torch.where(silent[:, None], first, prompt.valid),
        )
