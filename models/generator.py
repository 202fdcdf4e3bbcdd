"""The generator of grasps: encode a scene once, denoise grasps anchored on it any number of times, decode them.

It is what a checkpoint holds, what is exported and what is served; nothing here knows of training or of a trainer.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sceneleapultra.hands import GraspPose
from sceneleapultra.hands.rows import HandRows
from sceneleapultra.models.grasp_space import GraspSpace
from sceneleapultra.models.network.completion_encoder import CompletionEncoder
from sceneleapultra.models.network.conditioning import Conditioning, prompt_dim
from sceneleapultra.models.network.conditions.base import Condition
from sceneleapultra.models.network.contacts import ContactFeatures
from sceneleapultra.models.network.context import (
    AnchoredScene,
    DecodedGrasps,
    GeneratedGrasps,
    NoiseLevel,
    SceneContext,
)
from sceneleapultra.models.network.decoder.base import (
    CompletionContext,
    Decoder,
    DecoderConfig,
    DecoderDims,
    GraspContext,
    StepView,
)
from sceneleapultra.models.network.encoder.base import SceneEncoder
from sceneleapultra.models.network.hand_encoder import HandEncoder, HandEncoderConfig, HandTokens
from sceneleapultra.models.network.heads.base import Head, HeadConfig, HeadInputs, SceneHead
from sceneleapultra.models.network.heads.score import ScoreHead
from sceneleapultra.models.network.low_rank import add_adapters
from sceneleapultra.models.network.pair_geometry import PairGeometry
from sceneleapultra.models.network.surface import Surface, observed_surface
from sceneleapultra.models.network.tokens import Cloud, SceneTokens
from sceneleapultra.models.process import GenerativeProcess
from sceneleapultra.models.representation import PoseRepresentation
from sceneleapultra.models.sampling import sample
from sceneleapultra.models.sampling_config import SamplingConfig
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.geometry.voxels.field import SceneField


class GraspGenerator(GraspSpace):
    """Network, codec, normalizer, process, heads and hand behind ``encode``, ``denoise``, ``decode`` and ``sample``.

    Attributes:
        heads: what is predicted besides grasps, by name.
        head_inputs: what heads are built upon.
    """

    def __init__(
        self,
        *,
        hand: str,
        encoder: SceneEncoder,
        decoder: DecoderConfig,
        process: GenerativeProcess,
        heads: dict[str, HeadConfig],
        conditions: dict[str, Condition],
        representation: PoseRepresentation,
        contact_points: int | None,
        hand_encoder: HandEncoderConfig | None,
        completion: CompletionEncoder | None,
        condition_dropout: dict[str, float],
        compile: bool,
        sampling: SamplingConfig,
    ) -> None:
        many = hand_encoder is not None
        if many and representation.autoencoder is not None:
            raise ValueError(
                "model.generator.hand_encoder makes states of any hand, an autoencoder is of one. Pass "
                "model/generator/hand_encoder=none, or model/generator/autoencoder=none."
            )
        super().__init__(hand=hand, representation=representation, of_palm=many, codes=True)
        process.check_solver(sampling.solver)
        self.encoder, self.process, self.sampling = encoder, process, sampling
        self.contact_points, self.compiled = contact_points, compile
        self.hand_encoder = None if hand_encoder is None else HandEncoder(hand_encoder)
        if completion is not None and condition_dropout["scene"]:
            raise ValueError(
                "model.generator.completion tells of the scene that model.generator.condition_dropout.scene="
                f"{condition_dropout['scene']:g} leaves out. Pass model.generator.condition_dropout.scene=0, or "
                "model/generator/completion=none."
            )
        self.completion = completion
        self.hand_rows = HandRows(self.hand) if many else None
        dim_hand = None if hand_encoder is None else hand_encoder.dim
        dim_clean = self.dim_clean
        self.dim_input = process.input_dim(dim_clean)
        if self.dim_input != dim_clean and many:
            raise ValueError(
                "model.generator.hand_encoder makes states of any hand, a latent code is of none. Pass "
                "model/generator/hand_encoder=none."
            )
        if self.dim_input != dim_clean and decoder.hand_geometry:
            raise ValueError(
                "model.generator.decoder.hand_geometry=true reads the hand of a noised grasp, which a latent code is "
                "not. Pass model.generator.decoder.hand_geometry=false."
            )
        self.dim_prompt = prompt_dim(conditions)
        self.decoder: Decoder = decoder.build(
            DecoderDims(
                dim_state=self.dim_input,
                dim_scene=encoder.dim,
                dim_out=dim_clean,
                dim_prompt=self.dim_prompt,
                dim_hand=dim_hand,
                dim_completion=None if completion is None else completion.dim,
            )
        )
        self.conditioning = Conditioning(
            conditions=conditions, encoder=encoder, condition_dropout=condition_dropout
        )
        self.drop_prob = self.conditioning.drop_prob
        width, scale = decoder.dim_geometry, decoder.geometry_scale
        self.geometry = PairGeometry(width, scale)
        self.hand_geometry = PairGeometry(width, scale) if decoder.hand_geometry else None
        self.contacts = (
            ContactFeatures(self.hand, dim=decoder.dim, scale=decoder.contact_scale, dim_hand=dim_hand)
            if decoder.hand_geometry
            else None
        )
        self.head_inputs = HeadInputs(self.hand, self.codec, encoder.dim, dim_hand, self.dim_prompt)
        self.heads: dict[str, Head] = nn.ModuleDict(  # type: ignore[assignment]
            {name: head.build(self.head_inputs) for name, head in heads.items()}
        )
        if hand_encoder is not None and hand_encoder.adapter_rank is not None:
            add_adapters(self, ("hand_encoder", "decoder"), hand_encoder.adapter_rank)
        if "anchors" not in self.heads:
            raise ValueError(
                f"model.generator.heads needs 'anchors', which chooses where grasps are, got {sorted(self.heads)}."
            )

    @property
    def has_score_head(self) -> bool:
        """Whether the generator predicts if grasps succeed."""
        return "score" in self.heads and isinstance(self.heads["score"], ScoreHead)

    @property
    def score_head(self) -> ScoreHead:
        """The head that predicts whether grasps succeed.

        Raises:
            ValueError: the generator has none.
        """
        if not self.has_score_head:
            raise ValueError(
                "This model has no head 'score', which ranking and guidance by success need. Pass "
                "sampling.rank=log_prob, or train with model/generator/heads/score=surface."
            )
        return self.heads["score"]  # type: ignore[return-value]

    def encode(self, cloud: Cloud, color_dropped: Bool[Tensor, "b"] | None = None) -> SceneContext:
        """Encode a scene; everything that does not depend on the grasps is computed here, once.

        Args:
            cloud: the clouds; without colors, where the model was trained to do without.
            color_dropped: clouds whose colors are not used.
        """
        tokens = self.encoder(self.conditioning.fill_color(cloud, color_dropped))
        outputs = {name: head(tokens) for name, head in self.heads.items() if isinstance(head, SceneHead)}
        return SceneContext(
            tokens=tokens,
            surface=self.observed_surface(cloud, tokens),
            keys_values=self.decoder.keys_values(tokens.features),
            up=cloud.up.float(),
            outputs=outputs,
            scene_kept=torch.ones(tokens.xyz.shape[0], dtype=torch.bool, device=tokens.xyz.device),
            prompts={},
            hand=self.hand_tokens(),
            completion=None if self.completion is None else self.completion(cloud),
        )

    def hand_tokens(self) -> HandTokens | None:
        """Return the hand's tokens; None for a model of one hand."""
        if self.hand_encoder is None or self.hand_rows is None:
            return None
        return self.hand_encoder(self.hand_rows)

    def observed_surface(self, cloud: Cloud, tokens: SceneTokens) -> Surface:
        """Return the surface that links may touch."""
        if self.contact_points is None:
            return Surface(tokens.xyz, tokens.frames[..., 2], tokens.target, tokens.valid)
        return observed_surface(cloud, self.contact_points, neighbors=12, radius=0.02)

    def anchor(
        self, scene: SceneContext, index: Int[Tensor, "b g"], set_id: Int[Tensor, "b g"]
    ) -> AnchoredScene:
        """Return a scene as the grasps' anchors see it; grasps of equal ``set_id`` attend to one another."""
        origins, frames = self.reference_frames(scene.tokens, index)
        geometry, anchor = self.view(scene, index, origins, frames)
        prompt = self.conditioning.prompt(scene)
        context = GraspContext(
            keys_values=scene.keys_values,
            geometry=geometry,
            anchor=anchor,
            token_valid=scene.tokens.valid,
            set_id=set_id,
            prompt=None if prompt is None else self.decoder.prompt_keys_values(prompt.tokens),
            prompt_valid=None if prompt is None else prompt.valid,
            hand=scene.hand,
            completion=self._completion_of(scene, origins, frames),
        )
        context.prepare()
        scene.surface.prepare()
        return AnchoredScene(
            scene=scene, index=index, origins=origins, frames=frames, prompt=prompt, context=context
        )

    def _completion_of(
        self, scene: SceneContext, origins: Float[Tensor, "b g 3"], frames: Float[Tensor, "b g 3 3"]
    ) -> CompletionContext | None:
        if scene.completion is None:
            return None
        tokens = scene.completion
        return CompletionContext(
            self.decoder.completion_keys_values(tokens.features),
            self.geometry(origins, frames, tokens),
            tokens.valid,
        )

    def view(
        self,
        scene: SceneContext,
        index: Int[Tensor, "b g"],
        origins: Float[Tensor, "b g 3"],
        frames: Float[Tensor, "b g 3 3"],
    ) -> tuple[Float[Tensor, "b g s p"], Float[Tensor, "b g d"]]:
        """Return pair geometry, and what the decoder takes of the anchors."""
        geometry = self.geometry(origins, frames, scene.tokens)
        anchor = self.decoder.embed_anchor(self.conditioning.anchor_features(scene, index))
        return self.conditioning.mask_geometry(geometry, scene.scene_kept), anchor

    def noise_level(self, t: Float[Tensor, "n"]) -> NoiseLevel:
        """Return what the network takes of times, for all of them at once."""
        run = _compiled(GraspGenerator._noise_level) if self.compiled else GraspGenerator._noise_level
        return run(self, *self.process.network_level(t))

    def _noise_level(self, level: Float[Tensor, "n"], share: Float[Tensor, "n"]) -> NoiseLevel:
        share = share[:, None, None]
        return NoiseLevel(self.decoder.embed_level(level), share, self.normalizer.std / share.clamp(min=0.1))

    def predict_x0(
        self,
        x_t: Float[Tensor, "b g d"],
        t: Float[Tensor, "b"],
        anchored: AnchoredScene,
        level: NoiseLevel | None = None,
    ) -> Float[Tensor, "b g o"]:
        """Return the clean states that are predicted from noised ones.

        Args:
            x_t: noised normalized states.
            t: time of each scene.
            anchored: the scenes.
            level: of these times, where it is known: of each scene, or one for all.
        """
        known = self.noise_level(t) if level is None else level
        return self.process.predict_x0(lambda state: self.denoise(state, known, anchored), x_t, t)

    def denoise(
        self,
        x_t: Float[Tensor, "b g d"],
        level: NoiseLevel,
        anchored: AnchoredScene,
    ) -> Float[Tensor, "b g o"]:
        """Return the network's output (of the process's prediction type) for states as the process shows them."""
        run = _compiled(GraspGenerator._prediction) if self.compiled else GraspGenerator._prediction
        return run(self, x_t, level, anchored)

    def _prediction(self, x_t: Tensor, level: NoiseLevel, anchored: AnchoredScene) -> Tensor:
        view = StepView(anchored.context.geometry, None)
        if self.hand_geometry is not None and self.contacts is not None:
            # The hand that x_t stands for; meaningless in pure noise, so both views fade in with the signal.
            state = self.metric(x_t.float(), level.width)
            pose, point = self.codec.place(state, anchored.origins, anchored.frames)
            tokens = anchored.scene.tokens
            dropped = self.conditioning.null_scene is not None
            share = level.share * anchored.scene.scene_kept[:, None, None] if dropped else level.share
            axes, scene = self.codec.axes(pose), anchored.scene
            hand_view = self.hand_geometry(point, axes, tokens)
            view = StepView(
                geometry=torch.addcmul(view.geometry, share[..., None], hand_view),
                grasp_features=self.contacts(pose, axes, scene.surface, scene.hand),
                share=share,
            )
        return self.decoder(x_t, level.embedded, view, anchored.context)

    def grasps(
        self, clean: Float[Tensor, "b g o"], anchored: AnchoredScene
    ) -> tuple[GraspPose, Float[Tensor, "b g j"]]:
        """Return grasps in the frame of the cloud, and their squeeze joints."""
        pose, squeeze, _ = self.codec.decode(self.metric(clean), anchored.origins, anchored.frames)
        return pose, squeeze

    def decode(self, clean: Float[Tensor, "b g o"], anchored: AnchoredScene) -> DecodedGrasps:
        """Return the grasps that clean states stand for."""
        return self.decode_at(clean, anchored.index, anchored.origins, anchored.frames)

    def sample(
        self,
        batch: GraspBatch,
        num_grasps: int,
        *,
        seeds: Sequence[int],
        sampling: SamplingConfig | Mapping[str, Any] | None = None,
        trajectory: bool = False,
        fields: Sequence[SceneField] | None = None,
    ) -> GeneratedGrasps:
        """Generate grasps for each scene of a batch; ground truth is neither needed nor read.

        Each scene's grasps depend on its cloud and its seed alone: on a CPU a batch gives, bit for bit, what its scenes
        give one by one.

        Args:
            batch: scenes.
            num_grasps: grasps of each.
            seeds: of anchors and noise, one per scene.
            sampling: instead of the generator's own; a mapping changes that by name.
            trajectory: whether to return the poses after every step of the solver.
            fields: completed scenes in the frames of the clouds, for guidance by physics.

        Raises:
            ValueError: seeds that are not one per scene; a solver, prompt, guidance or rank that this model does not
                admit.
        """
        if sampling is None or isinstance(sampling, Mapping):
            sampling = self.sampling.changed(**(sampling or {}))
        return sample(self, batch, num_grasps, sampling, seeds, trajectory=trajectory, fields=fields)


@cache
def _compiled(method: Callable[..., Any]) -> Any:
    # Compiled as a function of the module: a copy of the model (as averaging of weights makes) uses its own weights.
    return torch.compile(method)
