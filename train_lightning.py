"""Train a grasp diffusion model: compose → validate → build → fit; ``--help`` lists groups, overrides, commands."""

import time
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from sceneleapultra.utils.core import console
from sceneleapultra.utils.core.config import build, try_partial
from sceneleapultra.utils.core.plugins import use_plugins
from sceneleapultra.utils.core.resources import require_accelerator
from sceneleapultra.utils.training.run_card import closing, opening
from sceneleapultra.utils.training.run_folder import last_checkpoint, same_data, step_of, write_run_folder
from sceneleapultra.utils.training.validate import validate


def train(cfg: DictConfig, overrides: list[str]) -> Any:
    """Run, or continue, the training that ``cfg`` describes; return the Trainer in its final state."""
    with console.sentences():
        validate(cfg)
        use_plugins(cfg.plugins)
        OmegaConf.set_readonly(cfg, True)
        run_dir = Path(cfg.run_dir)
        resume = None if cfg.dry_run else last_checkpoint(run_dir)
        trainer, model, data = assemble(cfg)
        changed = write_run_folder(cfg, overrides) if console.is_first_process() and not cfg.dry_run else []
        console.setup_logging(None if cfg.dry_run else run_dir)
        data.setup("fit")
        if not cfg.dry_run:
            same_data(run_dir, data.frame, data.data_hash, write=console.is_first_process())
        if resume is None:
            from sceneleapultra.models.checkpoints.init import init_weights
            from sceneleapultra.models.statistics import set_statistics, statistics_of

            init_weights(model.generator, cfg.init_from, cfg.encoder_weights, frame=data.frame)
            if found := statistics_of(model, data, scenes=cfg.normalizer_scenes, path=cfg.statistics):
                set_statistics(model.generator, found)
    console.card(cfg.name, opening(cfg, model, trainer, overrides, step_of(resume), changed))
    start = time.monotonic()
    trainer.fit(model, datamodule=data, ckpt_path=resume, weights_only=True)
    rows = closing(cfg, trainer, time.monotonic() - start)
    console.card("dry run passed" if cfg.dry_run else "finished", rows)
    return trainer


def assemble(cfg: DictConfig) -> tuple[Any, Any, Any]:
    """Build trainer, model and data module; wrong values are answered here, before any data is read."""
    import pytorch_lightning as pl
    import torch  # here, because it takes seconds that --help should not

    from sceneleapultra.models.checks import check_data
    from sceneleapultra.models.module import build_module

    console.quiet_lightning()
    require_accelerator(cfg.trainer.accelerator)
    pl.seed_everything(cfg.seed, verbose=False)
    optimizer = try_partial("optimizer", cfg.optimizer, [{"params": [torch.nn.Parameter(torch.zeros(1))]}])
    try_partial("scheduler", cfg.scheduler, optimizer)
    parts = {"optimizer": build(cfg.optimizer), "scheduler": build(cfg.scheduler)}
    data = build(cfg.data)
    model = build_module(cfg.model, cloud=data.cloud, **parts)
    check_data(model, data)
    trainer = build(
        cfg.trainer if not cfg.dry_run else OmegaConf.merge(cfg.trainer, {"fast_dev_run": 1}),
        callbacks=[build(callback) for callback in cfg.callbacks.values() if callback is not None],
        logger=[build(logger) for logger in cfg.logger.values() if logger is not None],
        default_root_dir=cfg.run_dir,
    )
    return trainer, model, data


@hydra.main(version_base="1.3", config_path="config", config_name="config")
def main(cfg: DictConfig) -> None:
    """Train with the configuration composed from ``config/`` and the command line."""
    job = HydraConfig.get()
    if job.mode == RunMode.MULTIRUN:
        cfg.run_dir = f"{cfg.run_dir}/{job.job.num}"
    train(cfg, list(job.overrides.task))


if __name__ == "__main__":
    console.run_app(main, "config")
