"""Train a grasp diffusion model: compose → validate → build → fit; ``--help`` lists groups, overrides, commands."""

import sceneleapultra.utils.core.environment  # noqa: F401

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from sceneleapultra.utils.core import console
from sceneleapultra.utils.core.cli import hydra_program
from sceneleapultra.utils.core.config import build
from sceneleapultra.utils.core.plugins import use_plugins
from sceneleapultra.utils.core.resources import require_accelerator
from sceneleapultra.utils.training import run_folder
from sceneleapultra.utils.training.run_card import run_cards
from sceneleapultra.utils.training.validate import validate


def train(cfg: DictConfig, overrides: list[str]) -> Any:
    """Run, or continue, the training that ``cfg`` describes; return the Trainer in its final state."""
    validate(cfg)
    use_plugins(cfg.plugins)
    OmegaConf.set_readonly(cfg, True)
    run_dir, first = Path(cfg.run_dir), console.is_first_process()
    resume = None if cfg.dry_run else run_folder.last_checkpoint(run_dir)
    trainer, model, data = assemble(cfg)
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
    with run_cards(cfg, model, trainer, overrides, run_folder.step_of(resume), changed):
        trainer.fit(model, datamodule=data, ckpt_path=resume, weights_only=True)
    return trainer


def assemble(cfg: DictConfig) -> tuple[Any, Any, Any]:
    """Build trainer, model and data module; wrong values are answered here, before any data is read."""
    from pytorch_lightning import seed_everything  # here: it takes seconds that --help should not

    from sceneleapultra.models.checks import check_data, check_optimizer
    from sceneleapultra.models.module import build_module

    console.quiet_lightning()
    require_accelerator(cfg.trainer.accelerator)
    seed_everything(cfg.seed, verbose=False)
    check_optimizer(cfg.optimizer, cfg.scheduler)
    data, parts = build(cfg.data), {name: build(cfg[name]) for name in ("optimizer", "scheduler")}
    model = build_module(cfg.model, cloud=data.cloud, **parts)
    check_data(model, data)
    trainer = build(
        cfg.trainer if not cfg.dry_run else OmegaConf.merge(cfg.trainer, {"fast_dev_run": 1}),
        callbacks=[build(callback) for callback in cfg.callbacks.values() if callback is not None],
        logger=[build(logger) for logger in cfg.logger.values() if logger is not None],
        default_root_dir=cfg.run_dir,
    )
    return trainer, model, data


@hydra_program("config")
def main(cfg: DictConfig) -> None:
    """Train with the configuration composed from ``config/`` and the command line."""
    job = HydraConfig.get()
    if not OmegaConf.is_missing(job.job, "num"):  # one of several runs of a multirun
        cfg.run_dir = f"{cfg.run_dir}/{job.job.num}"
    train(cfg, list(job.overrides.task))


if __name__ == "__main__":
    main()
