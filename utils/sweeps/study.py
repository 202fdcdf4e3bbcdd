"""The memory of a sweep: a file of Optuna's in its folder, from which a sweep that was killed goes on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sceneleapultra.utils.core.compare import differences
from sceneleapultra.utils.sweeps.space import Setting

if TYPE_CHECKING:
    import optuna

NAME = "sweep"
PRUNED = "pruned_at"  # attribute of a trial that ended early: its step
_FACTS = "facts"


def require_optuna() -> None:
    """Refuse to begin without the library that proposes settings.

    Raises:
        ValueError: it is not installed.
    """
    if find_spec("optuna") is None:
        raise ValueError("optuna: not installed. Run: python -m pip install 'sceneleapultra[sweep]'")


def storage_of(folder: Path) -> str:
    """Return the address of a sweep's file."""
    return f"sqlite:///{folder.resolve() / 'study.db'}"


def open_storage(address: str) -> optuna.storages.RDBStorage:
    """Open a sweep's file, in which several processes write."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.storages.RDBStorage(address, engine_kwargs={"connect_args": {"timeout": 120}})


@dataclass(frozen=True)
class Study:
    """The trials of a sweep: begun, ended, and the next ones.

    Attributes:
        study: Optuna's.
        space: what varies.
        seed: of what is proposed; the next trial depends on it and on the trials before, not on when one was stopped.
        mode: whether the best is the min or the max.
    """

    study: optuna.Study
    space: tuple[Setting, ...]
    seed: int
    mode: str

    @classmethod
    def open(
        cls, folder: Path, space: Sequence[Setting], *, seed: int, mode: str, facts: Mapping[str, Any]
    ) -> Study:
        """Begin the sweep of a folder, or continue it.

        Args:
            folder: of the sweep.
            space: what varies.
            seed: of what is proposed.
            mode: min or max.
            facts: settings by which trials can be compared; those of before must be the same.

        Raises:
            ValueError: the folder holds a sweep of other settings.
        """
        import optuna

        storage = open_storage(storage_of(folder))
        directions = optuna.study.StudyDirection
        study = optuna.create_study(
            storage=storage,
            study_name=NAME,
            direction={"min": directions.MINIMIZE, "max": directions.MAXIMIZE}[mode],
            load_if_exists=True,
        )
        before = study.user_attrs.get(_FACTS)
        if before is None:
            study.set_user_attr(_FACTS, dict(facts))
        elif changed := differences(before, facts):
            raise ValueError(
                f"{folder} holds a sweep of other settings: {'; '.join(changed)}. Repeat them, or pass another folder."
            )
        return cls(study, tuple(space), seed, mode)

    @property
    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """All trials, in their order."""
        return self.study.get_trials(deepcopy=False)

    @property
    def ended(self) -> list[optuna.trial.FrozenTrial]:
        """Trials that will not go on."""
        return [trial for trial in self.trials if trial.state.is_finished()]

    @property
    def complete(self) -> list[optuna.trial.FrozenTrial]:
        """Trials that were trained to their end."""
        return [trial for trial in self.ended if trial.state.name == "COMPLETE"]

    def unfinished(self) -> list[int]:
        """Return the numbers of trials that were running when the sweep was stopped."""
        return [trial.number for trial in self.trials if not trial.state.is_finished()]

    def begin(self, number: int | None) -> tuple[int, dict[str, Any]]:
        """Return a trial's number and values.

        Args:
            number: of a trial that was begun before; None for the next.
        """
        import optuna

        count = len(self.trials) if number is None else number
        # A sampler for each trial: what it proposes depends on the trials before, not on when the sweep began.
        self.study.sampler = optuna.samplers.TPESampler(seed=self.seed + 1000 * count, n_startup_trials=5)
        trial = (
            self.study.ask()
            if number is None
            else optuna.trial.Trial(self.study, self.trials[number]._trial_id)
        )
        return trial.number, {setting.key: setting.suggest(trial) for setting in self.space}

    def end(self, number: int, *, failed: bool) -> optuna.trial.FrozenTrial:
        """Close a trial whose training has ended: its value is the best of its validations."""
        import optuna

        states = optuna.trial.TrialState
        trial = self.trials[number]
        values = [value for value in trial.intermediate_values.values() if math.isfinite(value)]
        if failed or not values:
            self.study.tell(number, state=states.FAIL)
        elif PRUNED in trial.user_attrs:
            self.study.tell(number, state=states.PRUNED)
        else:
            self.study.tell(number, min(values) if self.mode == "min" else max(values))
        return self.trials[number]

    def best(self) -> optuna.trial.FrozenTrial | None:
        """Return the best of the trials that were trained to their end; None while there is none."""
        return self.study.best_trial if self.complete else None

    def importances(self) -> dict[str, float]:
        """Return how much of the lead of the best third each setting explains; {} of fewer than four trials."""
        import optuna

        if len(self.complete) < 4 or len({trial.value for trial in self.complete}) < 2:
            return {}
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(
            target_quantile=0.3, evaluate_on_local=False
        )
        return optuna.importance.get_param_importances(self.study, evaluator=evaluator)
