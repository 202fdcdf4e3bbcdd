"""How a run is logged to Weights & Biases: one wandb run per run folder, without a network if asked."""

import hashlib
from pathlib import Path

from pytorch_lightning.loggers import WandbLogger


def wandb_logger(*, project: str, name: str, save_dir: str, offline: bool) -> WandbLogger:
    """Build Lightning's logger; a run that is continued in its folder continues its wandb run.

    A function of our own because the annotations of Lightning's constructor cannot be resolved when it is called.
    """
    Path(save_dir).mkdir(parents=True, exist_ok=True)
    run_id = hashlib.sha256(str(Path(save_dir).resolve()).encode()).hexdigest()[:16]
    return WandbLogger(
        project=project,
        name=name,
        save_dir=save_dir,
        offline=offline,
        id=run_id,
        resume=None if offline else "allow",
        log_model=False,
    )
