"""What a configuration becomes before it trains: trainer, model and data module."""

from typing import Any

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import seed_everything

from sceneleapultra.models.checks import check_data, check_optimizer
from sceneleapultra.models.hardware import fit_to_hardware
from sceneleapultra.models.module import build_module
from sceneleapultra.utils.core import console
from sceneleapultra.utils.core.config import build
from sceneleapultra.utils.core.resources import require_accelerator
from sceneleapultra.utils.training.sharding import FullySharded
from sceneleapultra.utils.training.stop import OrderlyStop


def assemble(cfg: DictConfig) -> tuple[Any, Any, Any]:
    """Build trainer, model and data module; wrong values are answered here, before any data is read."""
    console.quiet_lightning()
    require_accelerator(cfg.trainer.accelerator)
    seed_everything(cfg.seed, verbose=False)
    check_optimizer(cfg.optimizer, cfg.scheduler)
    data, parts = build(cfg.data), {name: build(cfg[name]) for name in ("optimizer", "scheduler")}
    model = build_module(cfg.model, cloud=data.cloud, **parts)
    model.learning_rates = build(cfg.learning_rates)
    model.configure_optimizers()  # once, before any data is read: its settings are looked at when it is called
    check_data(model, data)
    # The Trainer's own time limit counts the time of earlier starts, and validates out of turn.
    changes = {"max_time": None, "fast_dev_run": 1 if cfg.dry_run else cfg.trainer.fast_dev_run}
    # Weights that were gathered in inference mode would take no gradient.
    sharded = {"strategy": FullySharded(), "inference_mode": False} if cfg.trainer.strategy == "fsdp" else {}
    callbacks = [build(callback) for callback in cfg.callbacks.values() if callback is not None]
    trainer = build(
        OmegaConf.merge(cfg.trainer, changes),
        callbacks=[*callbacks, OrderlyStop(cfg.trainer.max_time)],
        logger=[build(logger) for logger in cfg.logger.values() if logger is not None],
        default_root_dir=cfg.run_dir,
        **sharded,
    )
    fit_to_hardware(cfg, model, trainer)
    return trainer, model, data
