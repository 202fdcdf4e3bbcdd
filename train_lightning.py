"""Train a grasp diffusion model: compose → validate → build → fit; ``--help`` lists groups, overrides, commands."""

import sceneleapultra.utils.core.environment  # noqa: F401

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from sceneleapultra.datasets.store.missing import check_data_there
from sceneleapultra.utils.core import console
from sceneleapultra.utils.core.cli import hydra_program
from sceneleapultra.utils.core.parallel import follow_launcher, one_of_several
from sceneleapultra.utils.core.plugins import use_plugins
from sceneleapultra.utils.core.signals import says_where
from sceneleapultra.utils.training import run_folder
from sceneleapultra.utils.training.run_card import run_cards
from sceneleapultra.utils.training.submit import run_as_job
from sceneleapultra.utils.training.validate import validate


def train(cfg: DictConfig, overrides: list[str]) -> Any:
    """Run, continue or submit the training that ``cfg`` describes; return the Trainer in its final state."""
    check_data_there(cfg)
    validate(cfg)
    use_plugins(cfg.plugins)
    OmegaConf.set_readonly(cfg, True)
    run_folder.refuse_if_in_use(cfg)
    if run_as_job(cfg, overrides):
        return None
    again = run_folder.continued_by(cfg.run_dir, overrides)
    with says_where(lambda: "before its first step", again), follow_launcher() as launched:
        from sceneleapultra.models.assembly import assemble  # here: it takes seconds that --help should not

        parts = assemble(cfg)
        with run_folder.owned(cfg):
            return fit(cfg, overrides, launched, *parts)


def fit(cfg: DictConfig, overrides: list[str], launched: bool, trainer: Any, model: Any, data: Any) -> Any:
    """Write the run folder, and train in it."""
    from sceneleapultra.utils.training.stop import ends_in_order  # here, because it imports torch

    run_dir, first = Path(cfg.run_dir), console.is_first_process()
    resume = None if cfg.dry_run else run_folder.last_checkpoint(run_dir)
    step = run_folder.resumed_step(resume, cfg.trainer.max_steps)
    changed = run_folder.write_run_folder(cfg, overrides) if first and not cfg.dry_run else []
    console.setup_logging(None if cfg.dry_run else run_dir)
    data.setup("fit")
    if not cfg.dry_run:
        run_folder.check_same_data(run_dir, data.frame, data.data_hash, write=first)
    if resume is None:
        from sceneleapultra.models.checkpoints.init import init_weights
        from sceneleapultra.models.statistics import set_statistics, statistics_of

        init_weights(model.generator, cfg.init_from, cfg.encoder_weights, frame=data.frame)
        if found := statistics_of(model, data, scenes=cfg.normalizer_scenes, path=cfg.statistics):
            set_statistics(model.generator, found)
    again = run_folder.continued_by(cfg.run_dir, overrides)
    in_order = ends_in_order(trainer, launched=launched, command=again)
    with run_cards(cfg, model, trainer, overrides, step, changed), in_order:
        trainer.fit(model, datamodule=data, ckpt_path=resume, weights_only=True)
    return trainer


@hydra_program("config")
def main(cfg: DictConfig) -> None:
    """Train with the configuration composed from ``config/`` and the command line."""
    job, overrides = HydraConfig.get().job, list(HydraConfig.get().overrides.task)
    if OmegaConf.is_missing(job, "num"):
        train(cfg, overrides)
        return
    cfg.run_dir = f"{cfg.run_dir}/{job.num}"
    with one_of_several([*overrides, f"run_dir={cfg.run_dir}"]):
        train(cfg, overrides)


if __name__ == "__main__":
    main()
