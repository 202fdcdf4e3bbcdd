"""What training minimizes: masked, and averaged per scene so that batches split over processes add up."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def masked_mean(values: Float[Tensor, "b g"], mask: Bool[Tensor, "b g"]) -> Float[Tensor, ""]:
    """Average over the valid grasps of each scene, then over all scenes; a scene without any counts as
    zero.
    """
    weight = mask.to(values.dtype)
    return ((values * weight).sum(-1) / weight.sum(-1).clamp(min=1.0)).mean()


def anchor_loss(logits: Float[Tensor, "b s"], index: Tensor, valid: Bool[Tensor, "b g"]) -> Float[Tensor, ""]:
    """Negative log-likelihood of the tokens that carry the successful grasps of each scene."""
    log_p = torch.log_softmax(logits, dim=-1)
    chosen = log_p.gather(-1, index)
    return masked_mean(-chosen.masked_fill(~valid, 0.0), valid)


def score_loss(
    logits: Float[Tensor, "b g 2"],
    stable: Float[Tensor, "b g"],
    collision_free: Float[Tensor, "b g"],
    valid: Bool[Tensor, "b g"],
) -> Float[Tensor, ""]:
    """Binary cross-entropy of being stable plus that of being collision-free, each where it is known (not NaN)."""
    truth = torch.stack([stable, collision_free], dim=-1)
    bce = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth.nan_to_num(), reduction="none")
    known = truth.isfinite() & valid[..., None]
    return masked_mean(bce[..., 0], known[..., 0]) + masked_mean(bce[..., 1], known[..., 1])
