"""The contract of every scene encoder."""

from abc import ABC, abstractmethod

from torch import nn

from models.tokens import Cloud, SceneTokens


class SceneEncoder(nn.Module, ABC):
    """Turns a cloud into a bounded number of tokens that carry their position and a local frame."""

    dim: int
    """Width of the token features."""

    num_tokens: int
    """Tokens per cloud: the decoder's cost is bounded by this, never by the cloud."""

    min_points: int
    """Fewest valid points of a cloud that the encoder accepts."""

    @abstractmethod
    def forward(self, cloud: Cloud) -> SceneTokens:
        """Encode; tokens of clouds that are short of points are marked invalid."""
