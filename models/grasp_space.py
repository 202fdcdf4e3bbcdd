"""The space in which grasps are generated: between grasps in the frame of a cloud and the numbers that are denoised.

The codec makes a grasp relative to its anchor a metric *state*. What a process denoises are *clean states*: these
numbers, normalized, or the codes that an autoencoder gives them, normalized.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sceneleapultra.hands import GraspPose, load_hand
from sceneleapultra.models.network.autoencoder import GraspAutoencoder
from sceneleapultra.models.network.context import DecodedGrasps
from sceneleapultra.models.network.encoder.base import SceneEncoder
from sceneleapultra.models.network.tokens import SceneTokens
from sceneleapultra.models.palm_normalizer import PalmNormalizer
from sceneleapultra.models.representation import GraspCodec, PoseRepresentation, Scaling, StateNormalizer
from sceneleapultra.utils.geometry.points import gather


class GraspSpace(nn.Module):
    """Hand, codec, normalizer and, where codes are denoised, their autoencoder.

    Args:
        hand: name of the hand.
        representation: what a state's pose is relative to.
        of_palm: whether states are those of any hand, see :class:`GraspCodec` and :class:`PalmNormalizer`.
        codes: whether codes of the representation's autoencoder are denoised, if it has one; it is not trained with
            what denoises them.

    Attributes:
        config: the plain configuration it was built from, for checkpoints; set by
            :func:`~sceneleapultra.models.checkpoints.load.build_generator`.
        normalizer: by what the numbers that are denoised are normalized, in which frame and from which data that was
            measured.
        scaling: by what states are normalized before they are encoded; None without an autoencoder.
    """

    encoder: SceneEncoder
    autoencoder: GraspAutoencoder | None
    scaling: Scaling | None
    dim_input: int
    """Numbers of noise for each grasp of a training step."""
    contact_points: int | None
    """Points of the cloud that links may touch; None for its tokens."""
    drop_prob: dict[str, float]
    """Share of training scenes that do without a condition, by name."""

    def __init__(
        self,
        *,
        hand: str,
        representation: PoseRepresentation,
        of_palm: bool,
        codes: bool,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] | None = None
        self.hand, self.representation = load_hand(hand), representation
        self.codec = GraspCodec(self.hand, reference_depth=representation.reference_depth, of_palm=of_palm)
        dim_state = self.codec.layout.dim
        self.autoencoder, self.scaling = None, None
        if codes and (sizes := representation.autoencoder) is not None:
            self.autoencoder = sizes.build(dim_state).requires_grad_(False)
            self.scaling = Scaling(dim_state)
            self.normalizer = StateNormalizer(sizes.code)
        else:
            self.normalizer = PalmNormalizer(self.hand) if of_palm else StateNormalizer(dim_state)

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.normalizer.mean.device

    @property
    def dim_clean(self) -> int:
        """How many numbers of a grasp are denoised."""
        return len(self.normalizer.mean)

    @property
    def names(self) -> list[str]:
        """Names of the numbers that are denoised."""
        if self.autoencoder is not None:
            return [f"code_{i}" for i in range(self.dim_clean)]
        return self.codec.layout.names(self.hand.joint_names)

    def groups(self, numbers: Float[Tensor, "*b d"]) -> dict[str, Tensor]:
        """Return the groups of numbers that are denoised, by name: those of a state, or ``code``."""
        return self.codec.layout.split(numbers) if self.autoencoder is None else {"code": numbers}

    def reference_frames(
        self, tokens: SceneTokens, index: Int[Tensor, "b g"]
    ) -> tuple[Float[Tensor, "b g 3"], Float[Tensor, "b g 3 3"]]:
        """Return the frames that grasps anchored at these tokens are expressed in."""
        origins, frames = gather(tokens.xyz, index), gather(tokens.frames, index)
        if self.representation.anchored:
            return origins, frames
        eye = torch.eye(3, device=frames.device, dtype=frames.dtype)
        return torch.zeros_like(origins), eye.expand_as(frames)

    def states(
        self,
        pose: GraspPose,
        squeeze_qpos: Float[Tensor, "b g j"],
        tokens: SceneTokens,
        index: Int[Tensor, "b g"],
    ) -> Float[Tensor, "b g d"]:
        """Return metric states of grasps given in the frame of the cloud, relative to their anchors."""
        return self.codec.encode(pose, squeeze_qpos, *self.reference_frames(tokens, index))

    def normalized(self, states: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """Return metric states, normalized: what heads read."""
        return (self.normalizer if self.scaling is None else self.scaling).normalize(states)

    def measured(self, states: Float[Tensor, "*b d"]) -> Float[Tensor, "*b o"]:
        """Return the numbers of metric states that are denoised, before they are normalized."""
        return states if self.autoencoder is None else self.autoencoder.encode(self.normalized(states))

    def clean(self, states: Float[Tensor, "*b d"]) -> Float[Tensor, "*b o"]:
        """Return the clean states that metric states stand for."""
        return self.normalizer.normalize(self.measured(states))

    def metric(
        self, clean: Float[Tensor, "*b o"], width: Float[Tensor, "*#b o"] | None = None
    ) -> Float[Tensor, "*b d"]:
        """Return the metric states that clean states stand for; of another ``width`` than clean ones if it is given."""
        numbers = self.normalizer.denormalize(clean, width)
        if self.autoencoder is None or self.scaling is None:
            return numbers
        return self.scaling.denormalize(self.autoencoder.decode(numbers))

    def anchored_grasps(
        self,
        pose: GraspPose,
        squeeze_qpos: Float[Tensor, "b g j"],
        tokens: SceneTokens,
        index: Int[Tensor, "b g"],
    ) -> DecodedGrasps:
        """Return grasps given in the frame of the cloud with their states."""
        states = self.states(pose, squeeze_qpos, tokens, index)
        code = None if self.autoencoder is None else self.clean(states)
        point = self.codec.reference_point(pose)
        return DecodedGrasps(self.normalized(states), pose, squeeze_qpos, point, index, code)

    def decode_at(
        self,
        clean: Float[Tensor, "b g o"],
        index: Int[Tensor, "b g"],
        origins: Float[Tensor, "b g 3"],
        frames: Float[Tensor, "b g 3 3"],
    ) -> DecodedGrasps:
        """Return the grasps that clean states stand for, anchored at tokens with these frames."""
        metric = self.metric(clean)
        pose, squeeze, point = self.codec.decode(metric, origins, frames)
        states, code = (clean, None) if self.autoencoder is None else (self.normalized(metric), clean)
        return DecodedGrasps(states, pose, squeeze, point, index, code)
