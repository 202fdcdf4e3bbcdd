"""How a trial of a sweep reports its validations, and ends when it falls behind."""

import logging
import warnings
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from sceneleapultra.utils.core.console import say
from sceneleapultra.utils.sweeps.study import NAME, PRUNED, open_storage

_log = logging.getLogger(__name__)


class PruneTrial(Callback):
    """Report every validation; end the training in order where it is worse than the median of the trials before it.

    Args:
        storage: address of the sweep's file.
        trial: number of this trial.
        monitor: the number that validations log.
        startup_trials: so many are trained to their end before one is ended early.
        warmup_steps: steps of a trial before which it is not ended.
    """

    def __init__(
        self, *, storage: str, trial: int, monitor: str, startup_trials: int, warmup_steps: int
    ) -> None:
        super().__init__()
        self.storage, self.number, self.monitor = storage, trial, monitor
        self.startup_trials, self.warmup_steps = startup_trials, warmup_steps
        self._trial: Any = None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report, and stop all processes of the training where it falls behind.

        Raises:
            ValueError: validations log no such number.
        """
        if trainer.sanity_checking:
            return
        if self.monitor not in trainer.callback_metrics:
            known = ", ".join(sorted(key for key in trainer.callback_metrics if key.startswith("val/")))
            raise ValueError(f"sweep.monitor={self.monitor}: validations log no such number, but {known}.")
        value, behind = float(trainer.callback_metrics[self.monitor]), False
        if trainer.is_global_zero:
            behind = self._behind(value, trainer.global_step)
        if trainer.strategy.broadcast(behind, src=0):
            trainer.should_stop = True

    def _behind(self, value: float, step: int) -> bool:
        trial = self._trial = self._trial or self._open()
        with warnings.catch_warnings():
            # A trial that was killed after its validation reports it again.
            warnings.filterwarnings("ignore", message="The reported value is ignored")
            trial.report(value, step)
        if not trial.should_prune():
            return False
        trial.set_user_attr(PRUNED, step)
        say(
            f"trial {self.number} is pruned at step {step}: {self.monitor} {value:.4g} is worse than the median of the "
            "trials before it"
        )
        return True

    def _open(self) -> Any:
        import optuna

        pruner = optuna.pruners.MedianPruner(self.startup_trials, self.warmup_steps)
        study = optuna.load_study(study_name=NAME, storage=open_storage(self.storage), pruner=pruner)
        found = study.get_trials(deepcopy=False)[self.number]
        return optuna.trial.Trial(study, found._trial_id)
