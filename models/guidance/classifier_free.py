"""How far a prediction is pushed beyond what its conditions alone suggest (Ho & Salimans 2022), and from what.

``x0 = uncond + s (cond - uncond) - n (negative - unprompted)``, with s = 1 off and s = 0 unconditional. All terms are
predictions of x0 at the same (x_t, t); eps, v and u are affine in x0 there, with weights that sum to one here, so the
same formula would hold for them.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from jaxtyping import Float
from torch import Tensor

from sceneleapultra.utils.core.names import unknown_name

Drops = Literal["all", "scene", "prompt"]


@dataclass(frozen=True, kw_only=True)
class ClassifierFree:
    """Scale and variants, as ``config/guidance`` names them.

    Attributes:
        scale: 1 is off, 0 ignores what is dropped, above 1 exaggerates it.
        drops: what the unconditional prediction does not know: the scene, the prompt, or ``all`` that the model can
            do without.
        rescale: share of the result whose spread is brought back to the conditional one's (Lin et al. 2024, section
            3.4); 0 for none.
        interval: times (t_low, t_high) within which guidance acts (Kynkäänniemi et al. 2024); outside, the
            conditional prediction is used alone.
        negative_scale: how far negative prompts push away.
    """

    scale: float
    drops: Drops
    rescale: float
    interval: tuple[float, float]
    negative_scale: float

    def __post_init__(self) -> None:
        """Refuse settings without a meaning."""
        if self.drops not in get_args(Drops):
            raise unknown_name("guidance.classifier_free.drops", self.drops, get_args(Drops))
        if not 0.0 <= self.rescale <= 1.0:
            raise ValueError(f"guidance.classifier_free.rescale must lie in [0, 1], got {self.rescale}.")
        low, high = self.interval
        if not 0.0 <= low < high <= 1.0:
            raise ValueError(
                f"guidance.classifier_free.interval needs 0 <= low < high <= 1, got [{low:g}, {high:g}]."
            )
        for key in ("scale", "negative_scale"):
            if not getattr(self, key) >= 0.0:
                raise ValueError(
                    f"guidance.classifier_free.{key} must not be negative, got {getattr(self, key)}."
                )

    def acts(self, t: Float[Tensor, "b"]) -> bool:
        """Say whether guidance acts at this time, the same for all samples; asks the device only if it must."""
        low, high = self.interval
        return (low, high) == (0.0, 1.0) or low <= float(t[0]) <= high

    def combine(self, parts: dict[str, Tensor]) -> Float[Tensor, "b g d"]:
        """Join the predictions of the branches.

        Args:
            parts: ``conditional``; ``unconditional`` where the scale is not 1; ``negative`` (the mean over the
                negative prompts) and ``unprompted`` where there are negative prompts.
        """
        conditional = guided = parts["conditional"]
        if "unconditional" in parts:
            guided = parts["unconditional"] + self.scale * (conditional - parts["unconditional"])
        if "negative" in parts:
            guided = guided - self.negative_scale * (parts["negative"] - parts["unprompted"])
        if self.rescale > 0.0:
            spread = conditional.std((1, 2), keepdim=True) / guided.std((1, 2), keepdim=True).clamp_min(1e-6)
            guided = guided * (self.rescale * spread + 1.0 - self.rescale)
        return guided
