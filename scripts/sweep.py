"""Search settings: train a recipe under values that vary, end early what falls behind, keep the best; ``--help``."""

from __future__ import annotations

import sceneleapultra.utils.core.environment  # noqa: F401

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sceneleapultra.datasets.store.missing import check_data_there
from sceneleapultra.utils.core.cli import hydra_program
from sceneleapultra.utils.core.compare import leaves
from sceneleapultra.utils.core.console import card, say, shown
from sceneleapultra.utils.core.files import make_folder
from sceneleapultra.utils.core.locks import owned_folder
from sceneleapultra.utils.core.overrides import word, written
from sceneleapultra.utils.core.signals import says_where
from sceneleapultra.utils.sweeps.recipe import write_recipe
from sceneleapultra.utils.sweeps.space import check_space, read_space
from sceneleapultra.utils.sweeps.study import Study, require_optuna
from sceneleapultra.utils.sweeps.trials import Trials

_IN_USE = "Wait until it is done, stop it, or choose another folder"
_DECIDED = ("run_dir", "name", "dry_run")


def sweep(cfg: DictConfig) -> Study:
    """Run, or continue, the sweep that ``cfg`` describes.

    Raises:
        ValueError: settings that no training has, or that the folder's sweep has not.
    """
    require_optuna()
    check(cfg)
    train: dict[str, Any] = leaves(OmegaConf.to_container(cfg.train, resolve=True))
    varied: Mapping[str, Any] = OmegaConf.to_container(cfg.sweep.space, resolve=True)  # type: ignore[assignment]
    words, space = [word(key, value) for key, value in train.items()], read_space(varied)
    one = check_space(space, words, cfg.sweep.monitor)
    check_data_there(one)
    interval, steps = one.trainer.val_check_interval, one.trainer.max_steps
    if isinstance(interval, int) and interval > steps:
        raise ValueError(
            f"trainer.max_steps={steps} ends before the first validation (trainer.val_check_interval={interval}). "
            f"Pass +train.trainer.val_check_interval={max(1, steps // 4)}."
        )
    folder = Path(cfg.folder)
    make_folder(folder)
    facts = {
        "train": train,
        "space": varied,
        "monitor": cfg.sweep.monitor,
        "mode": cfg.sweep.mode,
        "seed": cfg.seed,
    }
    pruning: dict[str, Any] = OmegaConf.to_container(cfg.sweep.pruning)  # type: ignore[assignment]
    trials = Trials(folder, words, {"monitor": cfg.sweep.monitor, **pruning})
    with owned_folder(folder, doing="a sweep", remedy=_IN_USE), says_where(lambda: "in a sweep"):
        study = Study.open(folder, space, seed=cfg.seed, mode=cfg.sweep.mode, facts=facts)
        trials.run(study, trials=cfg.trials, jobs=cfg.jobs)
        finish(cfg, study, train)
    return study


def check(cfg: DictConfig) -> None:
    """Refuse numbers that no sweep has.

    Raises:
        ValueError: a sentence for each.
    """
    counts = {
        "trials": cfg.trials,
        "jobs": cfg.jobs,
        "sweep.pruning.startup_trials": cfg.sweep.pruning.startup_trials,
    }
    problems = [
        f"{key}={value}: expected a whole number of at least 1."
        for key, value in counts.items()
        if not isinstance(value, int) or isinstance(value, bool) or value < 1
    ]
    if cfg.sweep.mode not in ("min", "max"):
        problems.append(f"sweep.mode={cfg.sweep.mode}: expected min or max.")
    problems += [f"train.{key} is decided by the sweep. Remove it." for key in _DECIDED if key in cfg.train]
    if problems:
        raise ValueError("\n".join(problems))


def finish(cfg: DictConfig, study: Study, train: Mapping[str, Any]) -> None:
    """Write the page and the best trial's recipe, and say where they are."""
    from sceneleapultra.reporting.sweep import write_sweep_page

    folder, best = Path(cfg.folder), study.best()
    page = write_sweep_page(
        folder / "sweep.html",
        study.trials,
        monitor=cfg.sweep.monitor,
        mode=cfg.sweep.mode,
        shares_of=study.importances(),
    )
    states = [trial.state.name for trial in study.ended]
    rows = {
        "trials": f"{len(states)}: {states.count('COMPLETE')} trained to their end, "
        f"{states.count('PRUNED')} ended early, {states.count('FAIL')} failed",
        "page": shown(page),
    }
    if best is None:
        card("sweep", rows)
        say("No trial was trained to its end, so there is no best one. Pass more trials.", "yellow")
        return
    recipe = folder / "experiment" / "best.yaml"
    value = f"{cfg.sweep.monitor} {best.value:.4g}"
    command = f"python train_lightning.py -cd {shown(folder)} experiment=best"
    write_recipe(recipe, {**train, **best.params}, [command, f"Trial {best.number} of a sweep: {value}."])
    rows |= {
        "best": f"trial {best.number}, {value}: {' '.join(written(*one) for one in best.params.items())}",
        "recipe": shown(recipe),
    }
    card("sweep", rows, {"next": command})


@hydra_program("sweep")
def main(cfg: DictConfig) -> None:
    """Work with the configuration composed from ``config/sweep.yaml`` and the command line."""
    sweep(cfg)


if __name__ == "__main__":
    main()
