"""How a generative model of grasps learns, whatever its own loss is: anchors, noise, scores, logging, optimizing."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sceneleapultra.hands import GraspPose
from sceneleapultra.models.checkpoints.migrate import CHECKPOINT_VERSION
from sceneleapultra.models.denoiser import Anchored, Denoiser, SceneContext
from sceneleapultra.models.density import DensityConsistency, ThinDraw, same_grasps
from sceneleapultra.models.losses import anchor_loss, score_loss
from sceneleapultra.models.network.encoder.base import SceneEncoder
from sceneleapultra.models.network.scorer.base import FinishedGrasps, ScorerConfig
from sceneleapultra.models.network.tokens import SceneTokens
from sceneleapultra.models.optim import build_param_groups
from sceneleapultra.models.sampling import GraspSampling, cloud_of
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.training.pose_statistics import Statistics

# Settings of the model by which a grasp becomes a state: where anchors are, which one it takes, what it is relative to.
_STATES_DEPEND_ON = (
    *("hand", "encoder", "representation", "reference_depth"),
    *("anchor_softness", "anchor_reach", "seed"),
)


@dataclass(frozen=True)
class Draws:
    """The random numbers of one training step."""

    t: Float[Tensor, "b"]  # uniform in [0, 1)
    eps: Float[Tensor, "b g d"]
    gumbel: Float[Tensor, "b a s"]
    split: Int[Tensor, "b"]  # where the grasps of an item are parted into two sets
    kept: Bool[Tensor, "b p"] | None = None  # surface points that the scorer is shown; None for all
    thin: ThinDraw | None = None  # how clouds are thinned for the density terms; None without them
    dropped: dict[str, Bool[Tensor, "b"]] = field(default_factory=dict)  # scenes that do without a condition


class GraspLearning(GraspSampling):
    """The half of a model that learns: a subclass says what the loss of clean states is.

    Args:
        denoiser: encoder, decoder, codec and normalizer.
        scorer: what ranks grasps, see ``config/model/scorer``.
        anchor_softness: standard deviation of the choice among anchors near a grasp (m).
        anchor_reach: grasps further than this from every visible target token are not trained on (m).
        anchor_temperature: flattens (> 1) or sharpens (< 1) the choice of anchors when sampling.
        pregrasp_opening: how far the flexion joints open from grasp to pre-grasp (rad).
        squeeze_gain: factor on the predicted squeeze when grasps are generated.
        num_grasps: successful grasps per scene in a training batch; what follows them are failures for the scorer.
        loss_weights: by pose group, ``anchor``, ``score`` and the model's ``own_terms``.
        own_terms: names of further loss terms.
        density: how a model is taught to say the same of a thin cloud, see :mod:`models.density`; None: not taught.
        seed: of all noise, together with the step and the item.
        optimizer: partial of an optimizer over parameter groups; None for inference.
        scheduler: partial of a learning-rate schedule over an optimizer; None for inference.
    """

    next_command = "python test_lightning.py checkpoint={}"

    def __init__(
        self,
        *,
        denoiser: Denoiser,
        scorer: ScorerConfig,
        anchor_softness: float,
        anchor_reach: float,
        anchor_temperature: float,
        pregrasp_opening: float,
        squeeze_gain: float,
        num_grasps: int,
        loss_weights: dict[str, float],
        own_terms: tuple[str, ...],
        density: DensityConsistency | None,
        seed: int,
        optimizer: Callable[..., Any] | None,
        scheduler: Callable[..., Any] | None,
    ) -> None:
        super().__init__()
        self.hand, self.denoiser = denoiser.hand, denoiser
        self.scorer = scorer.build(self.denoiser)
        groups = {*self.denoiser.codec.layout.groups, "anchor", "score", *own_terms}
        if set(loss_weights) != groups:
            raise ValueError(
                f"model.loss_weights needs exactly {sorted(groups)}, got {sorted(loss_weights)}."
            )
        self.anchor_softness, self.anchor_reach = anchor_softness, anchor_reach
        self.anchor_temperature = anchor_temperature
        self.pregrasp_opening, self.squeeze_gain = pregrasp_opening, squeeze_gain
        self.num_grasps, self.seed, self.loss_weights = num_grasps, seed, loss_weights
        self.density = density
        self.optimizer_factory, self.scheduler_factory = optimizer, scheduler
        # The plain configuration this module was built from; goes into checkpoints.
        self.config: dict[str, Any] = {}

    @property
    def encoder(self) -> SceneEncoder:
        """What ``encoder_weights`` fills."""
        return self.denoiser.encoder

    def losses(self, batch: GraspBatch, draws: Draws) -> dict[str, Tensor]:
        """Return every loss term of a batch for given random numbers."""
        hand_pose, squeeze, valid, success = (
            batch.hand_pose,
            batch.squeeze_qpos,
            batch.grasp_valid,
            batch.grasp_success,
        )
        hold, clear = batch.grasp_stable, batch.grasp_collision_free
        if hand_pose is None or squeeze is None or valid is None or success is None:
            raise ValueError(
                "Training needs batches with grasps; this one has none. Is it an inference batch?"
            )
        colorless = draws.dropped.get("color")
        scene = self.encoded_scene(batch, colorless)
        pose = GraspPose.from_hand_pose(hand_pose)
        index, near = self.assign_anchors(scene.tokens, pose, draws.gumbel)
        valid = valid & near
        states = self.denoiser.normalizer.normalize(self.denoiser.states(pose, squeeze, scene.tokens, index))

        g = self.num_grasps
        positive = (valid & success)[:, :g]
        # Sets of every size: the grasps before and behind a random place do not see each other.
        parted = (torch.arange(g, device=index.device) >= draws.split[:, None]).long()
        told = self.denoiser.forget(scene, draws.dropped)
        anchored = self.denoiser.anchor(told, index[:, :g], parted.masked_fill(~positive, -1))
        x0 = states[:, :g]
        if draws.thin is None or self.density is None:
            terms = self.state_losses(x0, draws, anchored, positive)
        else:
            seen = self.denoiser.encode(self.density.thin(cloud_of(batch), draws.thin), colorless)
            thin = self.denoiser.forget(replace(seen, prompts=scene.prompts), draws.dropped)
            student = same_grasps(self.denoiser, thin, anchored)
            terms = self.state_losses(x0, draws, anchored, positive, student)
            terms["density_features"] = self.density.feature_difference(seen.tokens, scene.tokens)
        terms["anchor"] = anchor_loss(scene.anchor_logits, index[:, :g], positive)
        point = self.denoiser.codec.reference_point(pose)
        assert hold is not None and clear is not None
        grasps = FinishedGrasps(states, pose, squeeze, point, index)
        logits = self.scorer(grasps, scene, draws.kept)
        terms["score"] = score_loss(logits, hold, clear, valid)
        return terms

    @abstractmethod
    def state_losses(
        self,
        x0: Float[Tensor, "b g d"],
        draws: Draws,
        anchored: Anchored,
        valid: Bool[Tensor, "b g"],
        student: Anchored | None = None,
    ) -> dict[str, Tensor]:
        """Return the loss of clean normalized states, by pose group and whatever else the model minimizes."""

    def encoded_scene(self, batch: GraspBatch, colorless: Bool[Tensor, "b"] | None = None) -> SceneContext:
        """Encode the clouds of a training batch, some without their colors, and what it says of them."""
        scene = self.denoiser.encode(cloud_of(batch), colorless)
        return self.denoiser.tell(scene, self.said(batch)) if self.denoiser.conditions else scene

    def said(self, batch: GraspBatch) -> dict[str, tuple[str, ...]]:
        """Return what a training batch says, by condition.

        Raises:
            ValueError: it says nothing.
        """
        words = {
            name: getattr(batch, condition.reads) for name, condition in self.denoiser.conditions.items()
        }
        for name, row in words.items():
            if len(row) != batch.size:
                raise ValueError(
                    f"model.conditions.{name} reads {self.denoiser.conditions[name].reads} of {batch.size} scenes, the "
                    f"batch has {len(row)}. Pass data.prompt=category, or model/conditions=none."
                )
        return words

    def assign_anchors(
        self, tokens: SceneTokens, pose: GraspPose, gumbel: Float[Tensor, "b a s"]
    ) -> tuple[Int[Tensor, "b a"], Bool[Tensor, "b a"]]:
        """Choose a visible target token near each grasp's reference point; say whether one is within
        reach.
        """
        point = self.denoiser.codec.reference_point(pose).float()
        squared = (point[:, :, None] - tokens.xyz[:, None]).square().sum(-1)
        squared = squared.masked_fill(~tokens.target[:, None], float("inf"))
        index = (gumbel - squared / (2 * self.anchor_softness**2)).argmax(-1)
        return index, squared.amin(-1) <= self.anchor_reach**2

    def draw(self, batch: GraspBatch, step: int, num_tokens: int) -> Draws:
        """Draw the random numbers of a step, keyed by (seed, step, item): the same for any split over
        processes.
        """
        assert batch.hand_pose is not None
        total, dim = batch.hand_pose.shape[1], self.denoiser.dim_input
        drop_prob = self.denoiser.drop_prob
        g = min(self.num_grasps, total)
        t, eps, uniform, split, drop, kept = [], [], [], [], [], []
        num_surface = min(self.denoiser.contact_points or num_tokens, batch.scene_pc.shape[1])
        for item in batch.item_index:
            key = np.random.SeedSequence([self.seed, step, item]).generate_state(1, np.uint64)[0]
            generator = torch.Generator().manual_seed(int(key))
            t.append(torch.rand((), generator=generator))
            eps.append(torch.randn(g, dim, generator=generator))
            uniform.append(torch.rand(total, num_tokens, generator=generator))
            split.append(torch.randint(1, g + 1, (), generator=generator))
            drop.append(torch.rand(len(drop_prob), generator=generator))
            kept.append(torch.rand(num_surface, generator=generator) < self.scorer.keep)
        gumbel = -torch.log(-torch.log(torch.stack(uniform).clamp(1e-9, 1 - 1e-7)))
        chance = torch.stack(drop).to(self.device)
        return Draws(
            t=torch.stack(t).to(self.device),
            eps=torch.stack(eps).to(self.device),
            gumbel=gumbel.to(self.device),
            split=torch.stack(split).to(self.device),
            kept=torch.stack(kept).to(self.device),
            dropped={name: chance[:, i] < p for i, (name, p) in enumerate(drop_prob.items())},
        )

    def training_step(self, batch: GraspBatch, batch_idx: int) -> Tensor:
        """Return the weighted sum of the loss terms."""
        return self._step(batch, "train", self.global_step)

    def validation_step(self, batch: GraspBatch, batch_idx: int) -> Tensor:
        """Log the loss on held-out objects, with noise that does not change from one validation to the
        next.
        """
        return self._step(batch, "val", 0)

    def _step(self, batch: GraspBatch, stage: str, step: int) -> Tensor:
        weights, draws = self.loss_weights, self.draw(batch, step, self.denoiser.encoder.num_tokens)
        if stage != "train":
            draws = replace(draws, kept=None)
        if stage == "train" and self.density is not None and self.density.active:
            weights = weights | self.density.weights(step)
            num_points = batch.scene_pc.shape[1]
            thin = self.density.draw(batch.item_index, num_points, self.seed, step)
            draws = replace(draws, thin=thin.to(self.device))
        terms = self.losses(batch, draws)
        loss = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        logged = {f"{stage}/{name}": term.detach() for name, term in terms.items()} | {
            f"{stage}/loss": loss.detach()
        }
        self.log_dict(logged, batch_size=batch.size, sync_dist=stage == "val", on_step=stage == "train")
        return loss

    @property
    def states_depend_on(self) -> dict[str, Any] | None:
        """What states are measured by, as plain settings; None for a model that takes statistics from elsewhere."""
        return {name: self.config["model"][name] for name in _STATES_DEPEND_ON}

    def measure(self, batches: Iterable[GraspBatch], describes: Mapping[str, Any]) -> Statistics:
        """Measure the states of the successful grasps in training batches.

        Raises:
            ValueError: there are fewer than two within reach of an anchor.
        """
        states = [np.zeros((0, self.denoiser.codec.layout.dim))]
        with torch.no_grad():
            for batch in batches:
                assert batch.hand_pose is not None and batch.squeeze_qpos is not None
                assert batch.grasp_valid is not None and batch.grasp_success is not None
                scene = self.denoiser.encode(cloud_of(batch))
                pose = GraspPose.from_hand_pose(batch.hand_pose)
                draws = self.draw(batch, 0, self.denoiser.encoder.num_tokens)
                index, near = self.assign_anchors(scene.tokens, pose, draws.gumbel)
                rows = self.denoiser.states(pose, batch.squeeze_qpos, scene.tokens, index)
                states.append(rows[batch.grasp_valid & batch.grasp_success & near].double().numpy())
        names = self.denoiser.codec.layout.names(self.hand.joint_names)
        return Statistics.of(np.concatenate(states), names, describes)

    def adopt(self, statistics: Statistics) -> None:
        """Normalize by these statistics from now on."""
        self.denoiser.normalizer.adopt(statistics)

    def configure_optimizers(self) -> Any:
        """Build the optimizer over decay and no-decay groups, and its schedule in steps."""
        if self.optimizer_factory is None or self.scheduler_factory is None:
            raise ValueError("This model was built for inference; training needs optimizer= and scheduler=.")
        optimizer = self.optimizer_factory(build_param_groups(self))
        scheduler = self.scheduler_factory(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_fit_start(self) -> None:
        """Make sure that data come in the coordinate mode whose statistics the model holds.

        Raises:
            ValueError: they come in another.
        """
        data, learned = self.trainer.datamodule, self.denoiser.normalizer.frame  # type: ignore[attr-defined]
        if data is not None and learned and data.frame != learned:
            raise ValueError(
                f"The model learned poses in frame '{learned}', data.frame={data.frame} serves others. Pass "
                f"data.frame={learned}, or train another model."
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put what is needed to rebuild the model beside its weights."""
        checkpoint["version"] = CHECKPOINT_VERSION
        checkpoint["model_config"] = self.config
        checkpoint["hand_hash"] = self.hand.table_hash
