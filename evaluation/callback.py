"""How good a model is while it trains: its grasps for a few validation objects, put into physics every now and then."""

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from jaxtyping import UInt8
from pytorch_lightning.callbacks import Callback

from sceneleapultra.datasets import GraspStore
from sceneleapultra.evaluation.evaluate import evaluate_method
from sceneleapultra.evaluation.gallery import draw_row
from sceneleapultra.evaluation.items import Item
from sceneleapultra.evaluation.methods.model import ModelMethod
from sceneleapultra.evaluation.results import GraspResults
from sceneleapultra.evaluation.stored import chosen_items
from sceneleapultra.hands import Hand
from sceneleapultra.models import GraspModel
from sceneleapultra.reporting.pictures import render_panels
from sceneleapultra.simulation.protocols import get_protocol
from sceneleapultra.utils.core import signals
from sceneleapultra.utils.core.parallel import LocalExecutor
from sceneleapultra.utils.training.pictures import log_picture


class SimulatedSuccess(Callback):
    """Log ``val/stable`` and its companions at every validation; the best checkpoint is kept by it.

    Under a protocol that lifts out of the scene, ``val/picked`` and ``val/picked_cleanly`` are logged besides.

    Items, noise and therefore the metric depend on the weights and ``seed`` alone. Must stand before the callback that
    averages weights, so that it judges the averaged ones. One process simulates, all log its numbers.

    Args:
        store: files of the data set whose validation objects are used.
        max_items: views of objects judged, at most one of each object.
        min_points: visible points of the target from which an item is a fair question.
        samples_per_item: grasps for each.
        protocol: name of the physics test.
        sampling: changes of the model's own sampling, by name.
        min_clearance_m: distance to table and neighbors from which a grasp counts as clear.
        pictures: items whose first grasp is drawn at every validation, where a logger keeps pictures.
        workers: processes of the simulation.
        seed: of the choice of items and of the noise.
    """

    def __init__(
        self,
        *,
        store: str | list[str],
        max_items: int,
        min_points: int,
        samples_per_item: int,
        protocol: str,
        sampling: dict[str, Any],
        min_clearance_m: float,
        pictures: int,
        workers: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.store, self.max_items, self.samples_per_item = store, max_items, samples_per_item
        self.min_points, self.pictures = min_points, pictures
        self.protocol, self.sampling = protocol, sampling
        self.min_clearance_m, self.workers, self.seed = min_clearance_m, workers, seed
        self._items: Sequence[Item] = ()

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Judge the present weights.

        Raises:
            Stopped: a signal ended the simulation; every process gets it.
        """
        if trainer.sanity_checking:
            return
        values: dict[str, float | None] = {}
        signum: int | None = None
        if trainer.is_global_zero:
            try:
                with signals.deferred(wait=False):  # it takes longer than a scheduler waits
                    result = self._measure(pl_module)
                    values = _values(result)
                    if self.pictures:
                        generator: Any = pl_module.generator
                        draw = partial(self._draw, result, copy.deepcopy(generator.hand).cpu())
                        log_picture(trainer.loggers, "val/grasps", draw, trainer.global_step)
            except signals.Stopped as stop:
                signum = int(stop.signal)
        values, signum = trainer.strategy.broadcast((values, signum), src=0)
        if signum is not None:
            raise signals.Stopped(signum)
        for name, value in values.items():
            if value is not None:
                pl_module.log(
                    f"val/{name}", value, prog_bar=name == "stable", rank_zero_only=False, sync_dist=False
                )

    def _measure(self, module: Any) -> GraspResults:
        was_training = module.training
        module.eval()
        with torch.no_grad():
            model = GraspModel(generator=module.generator, cloud_settings=module.config["cloud"])
            result = self.evaluate(model)
        module.train(was_training)
        return result

    def _draw(self, result: GraspResults, hand: Hand) -> UInt8[np.ndarray, "h w 3"]:
        """Draw the first grasp of the first items: the same at every validation."""
        items = {item.index: item for item in self._items}
        indices, first = np.unique(result.table["item"], return_index=True)
        rows = sorted(zip(first.tolist(), indices.tolist(), strict=True))[: self.pictures]
        drawings = [draw_row(result, row, items[index], hand) for row, index in rows]
        return render_panels(drawings, columns=min(4, len(drawings)), size=240)

    def evaluate(self, model: GraspModel) -> GraspResults:
        """Put grasps of a model into physics."""
        if not self._items:
            chosen: dict[str, Any] = {
                "max_items": self.max_items,
                "per_object": 1,
                "min_points": self.min_points,
                "seed": self.seed,
            }
            self._items = chosen_items(GraspStore(self.store), "val", **chosen)
        sampler = ModelMethod(
            model=model,
            sampling=model.generator.sampling.changed(**self.sampling),
            seed=self.seed,
        )
        return evaluate_method(
            sampler,
            self._items,
            self.samples_per_item,
            hand=copy.deepcopy(model.hand).cpu(),  # physics runs beside the device
            protocol=get_protocol(self.protocol),
            executor=LocalExecutor(workers=self.workers),
            min_clearance_m=self.min_clearance_m,
        )


def _values(result: GraspResults) -> dict[str, float | None]:
    summary = result.summary()
    rates = ("stable", "stable_and_collision_free", "picked", "picked_cleanly")
    return {
        **{name: summary[name]["value"] for name in rates if name in summary},
        "penetration_mm": summary["penetration_mm"],
        "joint_spread_rad": summary["diversity"]["joints_rad"],
    }
