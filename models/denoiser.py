"""The science without the trainer: encode a scene once, denoise grasps anchored on it any number of times."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hands import GraspPose, Hand
from models.contacts import ContactFeatures
from models.decoder.base import DecoderConfig, GraspContext, KeysValues
from models.encoder.base import SceneEncoder
from models.representation import GraspCodec, StateNormalizer
from models.surface import Surface, observed_surface
from models.tokens import Cloud, SceneTokens
from utils.names import unknown_name
from utils.points import gather

Representation = Literal["anchored", "plain"]
_FREQUENCIES = 3


@dataclass(frozen=True)
class SceneContext:
    """An encoded scene: tokens, the decoder's keys and values, and how likely each token carries a grasp."""

    tokens: SceneTokens
    surface: Surface
    keys_values: KeysValues
    anchor_logits: Float[Tensor, "b s"]


@dataclass(frozen=True)
class Anchored:
    """A scene as seen from the anchor of each grasp: reference frames, geometry and the decoder's context."""

    scene: SceneContext
    index: Int[Tensor, "b g"]
    origins: Float[Tensor, "b g 3"]
    frames: Float[Tensor, "b g 3 3"]
    context: GraspContext


class PairGeometry(nn.Module):
    """Embeds where a scene token lies, how it faces and whether it is the target, as seen from a frame."""

    def __init__(self, dim: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.mlp = nn.Sequential(nn.Linear(7 + 6 * _FREQUENCIES, dim), nn.GELU(), nn.Linear(dim, dim))

    def forward(
        self, origins: Float[Tensor, "b g 3"], frames: Float[Tensor, "b g 3 3"], tokens: SceneTokens
    ) -> Float[Tensor, "b g s p"]:
        """Return one embedding per (grasp, token) pair."""
        # (x_s - o_g) R_g without forming the differences first: two products instead of a broadcast one.
        rotated = torch.einsum("bsi,bgij->bgsj", tokens.xyz, frames)
        own = (origins[:, :, None] @ frames).squeeze(-2)
        offset = (rotated - own[:, :, None]) / self.scale
        normal = torch.einsum("bsi,bgij->bgsj", tokens.frames[..., 2], frames)
        waves = torch.cat([offset * (torch.pi * 2.0**k) for k in range(_FREQUENCIES)], dim=-1)
        target = tokens.target.to(offset.dtype)[:, None, :, None].expand(*offset.shape[:-1], 1)
        return self.mlp(torch.cat([offset, normal, target, waves.sin(), waves.cos()], dim=-1))


class Denoiser(nn.Module):
    """Encoder, decoder, pose codec and normaliser behind two calls, ``encode`` and ``denoise``.

    Args:
        hand: the hand whose grasps are generated.
        encoder: scene encoder.
        representation: ``anchored`` expresses each grasp in the local frame of a point of the target's
            cloud, which makes
            generation equivariant to turns about the vertical and to translations; ``plain`` in the cloud's
            own frame.
        reference_depth: distance of the pose's reference point in front of the palm (m).
        contact_points: points of the cloud that make the surface the links' distances are taken to; None for the
            encoder's tokens.
        decoder: the decoder, its sizes and what it is shown.
    """

    def __init__(
        self,
        *,
        hand: Hand,
        encoder: SceneEncoder,
        representation: Representation,
        reference_depth: float,
        contact_points: int | None,
        decoder: DecoderConfig,
    ) -> None:
        super().__init__()
        if representation not in get_args(Representation):
            raise unknown_name("model.representation", representation, get_args(Representation))
        self.representation, self.contact_points = representation, contact_points
        self.encoder = encoder
        self.codec = GraspCodec(hand, reference_depth=reference_depth)
        self.normalizer = StateNormalizer(self.codec.layout.dim)
        dim_state = self.codec.layout.dim
        self.decoder = decoder.build(
            dim_state=dim_state, dim_scene=encoder.dim, dim_out=dim_state, dim_prompt=None
        )
        width, scale = decoder.dim_geometry, decoder.geometry_scale
        self.geometry = PairGeometry(width, scale)
        self.hand_geometry = PairGeometry(width, scale) if decoder.hand_geometry else None
        self.contacts = (
            ContactFeatures(hand, dim=decoder.dim, scale=decoder.contact_scale)
            if decoder.hand_geometry
            else None
        )
        self.anchor_head = nn.Sequential(
            nn.Linear(encoder.dim, encoder.dim), nn.GELU(), nn.Linear(encoder.dim, 1)
        )

    def encode(self, cloud: Cloud) -> SceneContext:
        """Encode a scene; everything that does not depend on the grasps is computed here, once."""
        tokens = self.encoder(cloud)
        logits = self.anchor_head(tokens.features).squeeze(-1).float()
        return SceneContext(
            tokens=tokens,
            surface=self.observed_surface(cloud, tokens),
            keys_values=self.decoder.keys_values(tokens.features),
            anchor_logits=logits.masked_fill(~tokens.target, float("-inf")),
        )

    def observed_surface(self, cloud: Cloud, tokens: SceneTokens) -> Surface:
        """Return the surface that links may touch."""
        if self.contact_points is None:
            return Surface(tokens.xyz, tokens.frames[..., 2], tokens.target, tokens.valid)
        return observed_surface(cloud, self.contact_points, neighbours=12, radius=0.02)

    def anchor(
        self, scene: SceneContext, index: Int[Tensor, "b g"], together: Int[Tensor, "b g"]
    ) -> Anchored:
        """Look at a scene from the tokens that carry the grasps; grasps of equal number in ``together`` are a set."""
        origins, frames = self.reference_frames(scene.tokens, index)
        context = GraspContext(
            keys_values=scene.keys_values,
            geometry=self.geometry(origins, frames, scene.tokens),
            anchor=gather(scene.tokens.features, index),
            token_valid=scene.tokens.valid,
            together=together,
            prompt=None,
            prompt_valid=None,
        )
        return Anchored(scene=scene, index=index, origins=origins, frames=frames, context=context)

    def reference_frames(
        self, tokens: SceneTokens, index: Int[Tensor, "b g"]
    ) -> tuple[Float[Tensor, "b g 3"], Float[Tensor, "b g 3 3"]]:
        """Return the frames that grasps anchored at these tokens are expressed in."""
        origins, frames = gather(tokens.xyz, index), gather(tokens.frames, index)
        if self.representation == "plain":
            return torch.zeros_like(origins), torch.eye(
                3, device=frames.device, dtype=frames.dtype
            ).expand_as(frames)
        return origins, frames

    def denoise(
        self,
        x_t: Float[Tensor, "b g d"],
        t: Float[Tensor, "b"],
        alpha_t: Float[Tensor, "b"],
        anchored: Anchored,
    ) -> Float[Tensor, "b g d"]:
        """Return the network's prediction (of the model's prediction type) for noised normalised states.

        The first three are what the path shows a network: the state, its noise level, the share of x0 in it.
        """
        geometry, hint = anchored.context.geometry, torch.zeros_like(x_t[..., :1])
        if self.hand_geometry is not None and self.contacts is not None:
            # The hand that x_t stands for; meaningless in pure noise, so both views fade in with the signal.
            pose, _ = self.grasps((x_t / alpha_t.clamp(min=0.1)[:, None, None]).float(), anchored)
            point, tokens = self.codec.reference_point(pose), anchored.scene.tokens
            geometry = geometry + alpha_t[:, None, None, None] * self.hand_geometry(
                point, pose.rotation, tokens
            )
            hint = alpha_t[:, None, None] * self.contacts(pose, anchored.scene.surface)
        return self.decoder(x_t, t, geometry, hint, anchored.context)

    def states(
        self,
        pose: GraspPose,
        squeeze_qpos: Float[Tensor, "b g j"],
        tokens: SceneTokens,
        index: Int[Tensor, "b g"],
    ) -> Float[Tensor, "b g d"]:
        """Return metric states of grasps given in the frame of the cloud, relative to the tokens they are
        anchored at.
        """
        return self.codec.encode(pose, squeeze_qpos, *self.reference_frames(tokens, index))

    def grasps(
        self, states: Float[Tensor, "b g d"], anchored: Anchored
    ) -> tuple[GraspPose, Float[Tensor, "b g j"]]:
        """Return grasps in the frame of the cloud, and their squeeze joints."""
        return self.codec.decode(self.normalizer.denormalize(states), anchored.origins, anchored.frames)
