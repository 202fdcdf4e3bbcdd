"""The contract of what adds tokens of hidden parts of a scene."""

from abc import ABC, abstractmethod
from typing import Any

from torch import nn

from sceneleapultra.models.network.tokens import Cloud, SceneTokens


class CompletionEncoder(nn.Module, ABC):
    """Tells what may be where a camera sees nothing, as tokens beside those of a scene encoder.

    Decoders attend to them by themselves; nothing is anchored on them and no head reads them.
    """

    dim: int
    """Width of the token features."""

    @property
    @abstractmethod
    def described(self) -> dict[str, Any]:
        """A plain configuration that builds it again without any file, but for its weights."""

    @abstractmethod
    def forward(self, cloud: Cloud) -> SceneTokens:
        """Return the tokens of each cloud, at least one of them valid."""
