"""One way for a picture into TensorBoard, MLflow and Weights & Biases."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from jaxtyping import UInt8
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger

from sceneleapultra.utils.training.mlflow_logger import MlflowLogger

Picture = UInt8[np.ndarray, "h w 3"]


def log_picture(loggers: Iterable[Logger], name: str, draw: Callable[[], Picture], step: int) -> None:
    """Log a picture wherever pictures are kept; it is drawn only if it is kept somewhere.

    Args:
        loggers: of a training.
        name: of the picture, such as ``val/grasps``.
        draw: makes it.
        step: of the optimizer.
    """
    takers = [take for logger in loggers if (take := _taker(logger)) is not None]
    if not takers:
        return
    picture = draw()
    for take in takers:
        take(name, picture, step)


def _taker(logger: Any) -> Callable[[str, Picture, int], Any] | None:
    if isinstance(logger, TensorBoardLogger):
        return lambda name, picture, step: logger.experiment.add_image(name, picture, step, dataformats="HWC")
    if isinstance(logger, WandbLogger):
        return lambda name, picture, step: logger.log_image(name, [picture], step)
    if isinstance(logger, MlflowLogger):
        return logger.log_picture
    return None
