"""The science without the trainer: encode a scene once, denoise grasps anchored on it any number of times."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sceneleapultra.hands import GraspPose, Hand
from sceneleapultra.models.network.conditions.base import Condition, PromptTokens
from sceneleapultra.models.network.contacts import ContactFeatures
from sceneleapultra.models.network.decoder.base import (
    Decoder,
    DecoderConfig,
    DecoderDims,
    GraspContext,
    KeysValues,
)
from sceneleapultra.models.network.encoder.base import SceneEncoder
from sceneleapultra.models.network.surface import Surface, observed_surface
from sceneleapultra.models.network.tokens import Cloud, SceneTokens
from sceneleapultra.models.representation import GraspCodec, StateNormalizer
from sceneleapultra.utils.core.names import unknown_name
from sceneleapultra.utils.geometry.points import gather

Representation = Literal["anchored", "plain"]
_FREQUENCIES = 3


@dataclass(frozen=True)
class SceneContext:
    """An encoded scene and what was said of it: constant over grasps and steps."""

    tokens: SceneTokens
    surface: Surface
    keys_values: KeysValues
    up: Float[Tensor, "b 3"]  # against gravity
    anchor_logits: Float[Tensor, "b s"]  # how likely each token carries a grasp
    seen: Bool[Tensor, "b"]  # false where the decoder must do without the scene
    prompts: dict[str, PromptTokens]  # by condition

    def repeated(self, times: int) -> "SceneContext":
        """Return the scenes several times over, one whole batch after the other."""

        def again(x: Tensor) -> Tensor:
            return x.repeat(times, *[1] * (x.dim() - 1))

        def each(part: Any) -> dict[str, Tensor]:
            return {f.name: again(getattr(part, f.name)) for f in fields(part)}

        return SceneContext(
            tokens=SceneTokens(**each(self.tokens)),
            surface=Surface(**each(self.surface)),
            keys_values=tuple((again(k), again(v)) for k, v in self.keys_values),
            up=again(self.up),
            anchor_logits=again(self.anchor_logits),
            seen=again(self.seen),
            prompts={name: PromptTokens(**each(p)) for name, p in self.prompts.items()},
        )


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
        with torch.autocast(origins.device.type, enabled=False):  # half precision knows a metre to 4 mm
            # (x_s - o_g) R_g without forming the differences first: two products instead of a broadcast one.
            rotated = torch.einsum("bsi,bgij->bgsj", tokens.xyz, frames)
            own = (origins[:, :, None] @ frames).squeeze(-2)
            offset = (rotated - own[:, :, None]) / self.scale
            normal = torch.einsum("bsi,bgij->bgsj", tokens.frames[..., 2], frames)
            waves = torch.cat([offset * (torch.pi * 2.0**k) for k in range(_FREQUENCIES)], dim=-1)
            target = tokens.target.to(offset.dtype)[:, None, :, None].expand(*offset.shape[:-1], 1)
            seen = torch.cat([offset, normal, target, waves.sin(), waves.cos()], dim=-1)
        return self.mlp(seen)


class Denoiser(nn.Module):
    """Encoder, decoder, pose codec and normalizer behind two calls, ``encode`` and ``denoise``.

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
        conditions: what the model is told beside the scene, by name.
        scene_drop_prob: share of training scenes that the decoder does without, by a learned stand-in for them.
        color_drop_prob: share of training scenes whose colors the encoder does without, by a learned color.
        latent_dim: length of what is turned into grasps, where that is a latent code; None for noised states.
        compiled: whether ``denoise`` runs through torch.compile; parameters and their names are the same.
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
        conditions: Mapping[str, Condition],
        scene_drop_prob: float,
        color_drop_prob: float,
        latent_dim: int | None,
        compiled: bool,
    ) -> None:
        super().__init__()
        if representation not in get_args(Representation):
            raise unknown_name("model.representation", representation, get_args(Representation))
        self.representation, self.contact_points, self.hand = representation, contact_points, hand
        self.encoder = encoder
        self.codec = GraspCodec(hand, reference_depth=reference_depth)
        self.normalizer = StateNormalizer(self.codec.layout.dim)
        dim_state = self.codec.layout.dim
        self.compiled, self.dim_input = compiled, latent_dim or dim_state
        if latent_dim is not None and decoder.hand_geometry:
            raise ValueError(
                "model.decoder.hand_geometry=true looks from a noised grasp, and a latent code is none. "
                "Pass model.decoder.hand_geometry=false."
            )
        self.conditions: dict[str, Condition] = nn.ModuleDict(conditions)  # type: ignore[assignment]
        widths = {condition.dim for condition in conditions.values()}
        if len(widths) > 1:
            raise ValueError(
                f"model.conditions must share one dim, got {sorted(widths)}: their tokens stand side by side."
            )
        self.dim_prompt = next(iter(widths), None)
        self.decoder = decoder.build(
            DecoderDims(
                dim_state=self.dim_input,
                dim_scene=encoder.dim,
                dim_out=dim_state,
                dim_prompt=self.dim_prompt,
            )
        )
        shares = {"scene": scene_drop_prob, "color": color_drop_prob}
        for name, share in shares.items():
            if not 0.0 <= share < 1.0:
                raise ValueError(f"model.{name}_drop_prob: expected at least 0 and less than 1, got {share}.")
        if color_drop_prob and not encoder.use_color:
            raise ValueError(
                f"model.color_drop_prob={color_drop_prob:g} drops colors, but model.encoder sees none. Pass "
                f"{encoder.color_settings[0]}, or model.color_drop_prob=0."
            )
        self.unseen = nn.Parameter(torch.randn(encoder.dim) * encoder.dim**-0.5) if scene_drop_prob else None
        self.no_color = nn.Parameter(torch.full((3,), 0.5)) if color_drop_prob else None
        self.drop_prob = {name: c.drop_prob for name, c in conditions.items() if c.drop_prob}
        self.drop_prob |= {name: share for name, share in shares.items() if share}
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

    def encode(self, cloud: Cloud, colorless: Bool[Tensor, "b"] | None = None) -> SceneContext:
        """Encode a scene; everything that does not depend on the grasps is computed here, once.

        Args:
            cloud: the clouds; without colors, where the model has learned to do without.
            colorless: clouds whose colors are not shown.
        """
        tokens = self.encoder(self._colored(cloud, colorless))
        logits = self.anchor_head(tokens.features).squeeze(-1).float()
        return SceneContext(
            tokens=tokens,
            surface=self.observed_surface(cloud, tokens),
            keys_values=self.decoder.keys_values(tokens.features),
            up=cloud.up.float(),
            anchor_logits=logits.masked_fill(~tokens.target, float("-inf")),
            seen=torch.ones(len(logits), dtype=torch.bool, device=logits.device),
            prompts={},
        )

    def _colored(self, cloud: Cloud, colorless: Bool[Tensor, "b"] | None) -> Cloud:
        """Return clouds with the learned color where none is shown; the encoder refuses what still lacks one."""
        if self.no_color is None:
            return cloud
        none = self.no_color.expand_as(cloud.points)
        if cloud.rgb is None:
            return replace(cloud, rgb=none)
        return (
            cloud
            if colorless is None
            else replace(cloud, rgb=cloud.rgb.where(~colorless[:, None, None], none))
        )

    def observed_surface(self, cloud: Cloud, tokens: SceneTokens) -> Surface:
        """Return the surface that links may touch."""
        if self.contact_points is None:
            return Surface(tokens.xyz, tokens.frames[..., 2], tokens.target, tokens.valid)
        return observed_surface(cloud, self.contact_points, neighbors=12, radius=0.02)

    def tell(self, scene: SceneContext, said: Mapping[str, Sequence[str | None]]) -> SceneContext:
        """Add what is said of each scene, by condition; ``None`` says nothing."""
        return replace(scene, prompts={name: self.conditions[name](words) for name, words in said.items()})

    def forget(self, scene: SceneContext, dropped: Mapping[str, Bool[Tensor, "b"]]) -> SceneContext:
        """Return the scenes without their ``scene``, or without one of the conditions, where ``dropped`` says so."""
        prompts = {
            name: self.conditions[name].forgotten(prompt, dropped[name]) if name in dropped else prompt
            for name, prompt in scene.prompts.items()
        }
        scene = replace(scene, prompts=prompts)
        if "scene" not in dropped:
            return scene
        assert self.unseen is not None
        blind = dropped["scene"]
        nothing = self.decoder.keys_values(self.unseen.expand(1, 1, -1))
        row = blind[:, None, None, None]
        return replace(
            scene,
            keys_values=tuple(
                (torch.where(row, n_k, k), torch.where(row, n_v, v))
                for (k, v), (n_k, n_v) in zip(scene.keys_values, nothing, strict=True)
            ),
            seen=scene.seen & ~blind,
        )

    def anchor(self, scene: SceneContext, index: Int[Tensor, "b g"], set_id: Int[Tensor, "b g"]) -> Anchored:
        """Look at a scene from the tokens that carry the grasps; grasps of equal number in ``set_id`` are a set."""
        origins, frames = self.reference_frames(scene.tokens, index)
        geometry, anchor = self.view(scene, index, origins, frames)
        prompt = self._prompt(scene)
        context = GraspContext(
            keys_values=scene.keys_values,
            geometry=geometry,
            anchor=anchor,
            token_valid=scene.tokens.valid,
            set_id=set_id,
            prompt=None if prompt is None else self.decoder.prompt_keys_values(prompt.tokens),
            prompt_valid=None if prompt is None else prompt.valid,
        )
        return Anchored(scene=scene, index=index, origins=origins, frames=frames, context=context)

    def view(
        self,
        scene: SceneContext,
        index: Int[Tensor, "b g"],
        origins: Float[Tensor, "b g 3"],
        frames: Float[Tensor, "b g 3 3"],
    ) -> tuple[Float[Tensor, "b g s p"], Float[Tensor, "b g c"]]:
        """Return pair geometry and the features of the anchors, or what stands for them in a scene not seen."""
        geometry = self.geometry(origins, frames, scene.tokens)
        anchor = gather(scene.tokens.features, index)
        if self.unseen is not None:
            geometry = geometry * scene.seen[:, None, None, None]
            anchor = torch.where(scene.seen[:, None, None], anchor, self.unseen.to(anchor.dtype))
        return geometry, anchor

    def context_for(self, decoder: Decoder, anchored: Anchored) -> GraspContext:
        """Return what another decoder of the same kind knows of the same scene."""
        scene, prompt = anchored.scene, self._prompt(anchored.scene)
        return replace(
            anchored.context,
            keys_values=decoder.keys_values(scene.tokens.features),
            prompt=None if prompt is None else decoder.prompt_keys_values(prompt.tokens),
        )

    def _prompt(self, scene: SceneContext) -> PromptTokens | None:
        if not self.conditions:
            return None
        said = [scene.prompts[name] for name in self.conditions]
        return PromptTokens(
            tokens=torch.cat([p.tokens for p in said], dim=1), valid=torch.cat([p.valid for p in said], dim=1)
        )

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
    ) -> Float[Tensor, "b g o"]:
        """Return the network's prediction (of the model's prediction type) for noised normalized states.

        The first three are what the path shows a network: the state, its noise level, the share of x0 in it.
        """
        run = _compiled_prediction() if self.compiled else Denoiser._prediction
        return run(self, x_t, t, alpha_t, anchored)

    def _prediction(self, x_t: Tensor, t: Tensor, alpha_t: Tensor, anchored: Anchored) -> Tensor:
        geometry, grasp_features = anchored.context.geometry, torch.zeros_like(x_t[..., :1])
        if self.hand_geometry is not None and self.contacts is not None:
            # The hand that x_t stands for; meaningless in pure noise, so both views fade in with the signal.
            pose, _ = self.grasps((x_t / alpha_t.clamp(min=0.1)[:, None, None]).float(), anchored)
            point, tokens = self.codec.reference_point(pose), anchored.scene.tokens
            share = alpha_t * anchored.scene.seen if self.unseen is not None else alpha_t
            view = self.hand_geometry(point, pose.rotation, tokens)
            geometry = geometry + share[:, None, None, None] * view
            grasp_features = share[:, None, None] * self.contacts(pose, anchored.scene.surface)
        return self.decoder(x_t, t, geometry, grasp_features, anchored.context)

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


@cache
def _compiled_prediction() -> Any:
    # Compiled as a function of the module: a copy of the model (as averaging of weights makes) uses its own weights.
    return torch.compile(Denoiser._prediction)
