"""The one LightningModule: a generator, what it minimizes, and how its weights are updated."""

from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
from jaxtyping import Float
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from sceneleapultra.models.checkpoints.load import build_generator
from sceneleapultra.models.checkpoints.migrate import CHECKPOINT_VERSION
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.grasp_space import GraspSpace
from sceneleapultra.models.learning_rates import (
    LearningRates,
    build_param_groups,
    check_groups,
    check_schedule,
    take_shares,
)
from sceneleapultra.models.many_hands import SharedGenerators
from sceneleapultra.models.metrics import EpochMetrics
from sceneleapultra.models.objectives.objective import Objective
from sceneleapultra.models.optim import use_settings
from sceneleapultra.models.passes import Passes
from sceneleapultra.utils.core.config import build
from sceneleapultra.utils.core.plugins import plugins_in_use


def build_module(
    config: DictConfig,
    *,
    cloud: dict[str, Any],
    optimizer: Callable[..., Any],
    scheduler: Callable[..., Any],
) -> "GraspModule":
    """Build what ``config/model`` describes.

    Args:
        config: with ``generator`` and ``objective``.
        cloud: settings of the clouds it is trained on, which its checkpoints need for sampling.
        optimizer: partial of an optimizer over parameter groups.
        scheduler: partial of a learning-rate schedule over an optimizer.

    Raises:
        ValueError: a value that a part refuses, by its full key, or parts that do not belong together.
    """
    generator = build_generator(config.generator)
    # Resolved by itself: parts that it shares with the generator (a CVAE's decoder) have references of their own.
    plain = OmegaConf.to_container(config.objective, resolve=True)
    objective: Objective = build(OmegaConf.create(plain))
    described = {
        "generator": generator.config,
        "objective": plain,
        "cloud": cloud,
        "plugins": plugins_in_use(),
    }
    return GraspModule(
        generator=generator, objective=objective, config=described, optimizer=optimizer, scheduler=scheduler
    )


class GraspModule(pl.LightningModule):
    """Trains a generator.

    Args:
        generator: what is trained, and all that a checkpoint needs for sampling.
        objective: what is minimized.
        config: plain configuration of ``generator``, ``objective`` and ``cloud``, for checkpoints.
        optimizer: partial of an optimizer over parameter groups.
        scheduler: partial of a learning-rate schedule over an optimizer.

    Attributes:
        losses: unweighted terms of the last step, for what looks into them (guards, probes).
        metrics: figures of merit of the heads over a validation epoch.
        learning_rates: of parts of the model; None learns all of it with the optimizer's.
        memory_note: what is known of the memory of its training, for who starts it.
        passes: how a training step's batch is divided; None computes it at once, and leaves its graph to Lightning.
    """

    def __init__(
        self,
        *,
        generator: nn.Module,
        objective: Objective,
        config: dict[str, Any],
        optimizer: Callable[..., Any],
        scheduler: Callable[..., Any],
    ) -> None:
        super().__init__()
        self.generator, self.objective, self.config = generator, objective, config
        self.optimizer_factory, self.scheduler_factory = optimizer, scheduler
        self.losses: dict[str, Tensor] = {}
        self.metrics = EpochMetrics()
        self.learning_rates: LearningRates | None = None
        self.memory_note = ""
        self.passes: Passes | None = None
        objective.prepare(generator)
        self._of_hands = SharedGenerators(generator) if isinstance(generator, GraspGenerator) else None

    def training_step(self, batch: Any, batch_idx: int) -> Float[Tensor, ""]:
        """Return the weighted sum of the loss terms."""
        return self._step(batch, "train", self.global_step)

    def validation_step(self, batch: Any, batch_idx: int) -> Float[Tensor, ""]:
        """Log the loss on held-out objects, with random numbers that are the same in every validation."""
        return self._step(batch, "val", 0)

    def _step(self, batch: Any, stage: str, step: int) -> Float[Tensor, ""]:
        training = stage == "train"
        if training and self.passes is not None:
            loss, self.losses = self.passes.step(
                self._losses_of, lambda terms: self.objective.total(terms, step), batch, self
            )
        else:
            context = self.context_of(batch, step=step, training=training)
            self.losses = self.objective.losses(context, training=training)
            loss = self.objective.total(self.losses, step)
        values = {f"{stage}/{name}": term.detach() for name, term in self.losses.items()}
        if not training:
            self.metrics.add(self.objective.metrics(context))
        self.log_dict(
            values | {f"{stage}/loss": loss.detach()},
            batch_size=batch.size,
            sync_dist=not training,
            on_step=training,
        )
        return loss

    def context_of(self, batch: Any, *, step: int, training: bool) -> Any:
        """Return what the loss reads of a batch, with the generator of the batch's hand."""
        generator: Any = self.generator
        if self._of_hands is not None and batch.hand:
            generator = self._of_hands.of(batch.hand[0])
        return self.objective.context(generator, batch, step=step, training=training)

    def on_validation_epoch_start(self) -> None:
        """Begin to collect figures of merit."""
        self.metrics.reset()

    def on_validation_epoch_end(self) -> None:
        """Log figures of merit over all held-out objects, of all ranks."""
        values = {f"val/{name}": value for name, value in self.metrics.compute().items()}
        self.log_dict(values, sync_dist=True)  # equal on all ranks, so that their mean changes nothing
        self.metrics.reset()

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, and let the objective act after it; several batches may make one step."""
        super().optimizer_step(*args, **kwargs)
        self.objective.after_step(self.generator)

    def weighted_losses(self) -> dict[str, Tensor]:
        """Return the terms of the last step as they are summed."""
        return self._weighted(self.losses)

    def weighted_losses_of(self, batch: Any) -> dict[str, Tensor]:
        """Compute the terms of a training batch in the present step as they are summed; nothing is logged."""
        return self._weighted(self._losses_of(batch))

    def _losses_of(self, batch: Any) -> dict[str, Tensor]:
        context = self.context_of(batch, step=self.global_step, training=True)
        return self.objective.losses(context, training=True)

    def _weighted(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        step = self.global_step
        return {name: self.objective.terms[name].weight_at(step) * x for name, x in losses.items()}

    def configure_optimizers(self) -> Any:
        """Build the optimizer over decay and no-decay groups, and its schedule in steps.

        Raises:
            ValueError: learning rates of parts that the model has not, or that the schedule would not keep.
        """
        shares = {} if self.learning_rates is None else self.learning_rates.shares(self.generator)
        optimizer = self.optimizer_factory(build_param_groups(self, shares))
        take_shares(optimizer)
        peaks = [group["lr"] for group in optimizer.param_groups]
        scheduler = self.scheduler_factory(optimizer)
        check_schedule(optimizer, peaks, scheduler)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_start(self) -> None:
        """Train with the optimizer's settings of this configuration, where a checkpoint brought those of before."""
        (optimizer,), (schedule,) = self.trainer.optimizers, self.trainer.lr_scheduler_configs
        use_settings(optimizer, self.configure_optimizers()["optimizer"], schedule.scheduler)

    def on_fit_start(self) -> None:
        """Make sure that data come in the coordinate mode whose statistics the generator holds.

        Raises:
            ValueError: they come in another.
        """
        if self.passes is not None:
            self.passes.scaler = getattr(self.trainer.precision_plugin, "scaler", None)
            if self.trainer.world_size > 1:
                self.passes.agree()
        if not isinstance(self.generator, GraspSpace):
            return
        data, frame = self.trainer.datamodule, self.generator.normalizer.frame  # type: ignore[attr-defined]
        if data is not None and frame and data.frame != frame:
            raise ValueError(
                f"The model learned poses in frame '{frame}', data.cloud.frame={data.frame} serves others. Pass "
                f"data.cloud.frame={frame}, or train another model."
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put what is needed to rebuild the generator, and to continue training, beside the weights."""
        checkpoint["version"] = CHECKPOINT_VERSION
        checkpoint["model_config"] = self.config
        checkpoint["training_state"] = self.objective.training_state()
        checkpoint["passes"] = 1 if self.passes is None else self.passes.number
        if isinstance(self.generator, GraspSpace):
            checkpoint["hand_hash"] = self.generator.hand.table_hash

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue what was saved.

        Raises:
            ValueError: the checkpoint is of an earlier version, which can be sampled from and started from only; or
                other parts of the model had learning rates of their own.
        """
        if checkpoint.get("version", 0) != CHECKPOINT_VERSION:
            raise ValueError(
                f"The run was begun by an earlier version of the project (checkpoint version "
                f"{checkpoint.get('version', 0)}, now {CHECKPOINT_VERSION}) and cannot be continued. Start another "
                "from its weights with run_dir=<a new folder> init_from=<the checkpoint>."
            )
        for state in checkpoint.get("optimizer_states", []):
            check_groups(state["param_groups"], self.configure_optimizers()["optimizer"].param_groups)
        self.objective.load_training_state(checkpoint["training_state"])
        if (
            self.passes is not None
        ):  # sums of as many parts as before: a continued run repeats them bit for bit
            self.passes.number = max(self.passes.number, min(checkpoint.get("passes", 1), self.passes.most))
