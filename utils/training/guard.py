"""What stops a training before a value that is not finite reaches the weights or a checkpoint."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.nn.utils import get_total_norm

from sceneleapultra.utils.core.nonfinite import named, nonfinite
from sceneleapultra.utils.core.torch_files import write_torch
from sceneleapultra.utils.training.loss_terms import HasLossTerms, gradients_of_terms
from sceneleapultra.utils.training.sharding import is_sharded, whole


@dataclass
class _Part:
    """A batch of an optimizer step, and what came of it."""

    batch: Any
    loss: Tensor | None = None
    terms: Mapping[str, Tensor] | None = None

    @property
    def bad(self) -> bool:
        return self.loss is not None and not bool(torch.isfinite(self.loss).all())


@dataclass
class _Finding:
    """What is not finite, by what one process sees of its own batches."""

    what: str
    sureness: (
        int  # 2: a loss of its own, 1: the gradient of a term of its own, 0: the gradient that all share
    )
    count: int  # of batches
    parts: list[_Part] = field(default_factory=list)  # those that it comes from; each process keeps its own


class NonFiniteGuard(Callback):
    """Stop before the optimizer steps when a loss or the gradient is not finite, and keep the batches that did it.

    Losses stay on the device until the step, so that a step waits for the device once. All processes stop at the same
    step and name the one whose batch it was. Checkpoints of weights, averages or an optimizer that are not finite are
    refused.

    Args:
        folder: where the batches are saved: ``bad_batch_rank<r>.pt``, a list.
    """

    def __init__(self, *, folder: str) -> None:
        self.folder = Path(folder)
        self._parts: list[_Part] = []  # of the present step

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, _: int
    ) -> None:
        """Remember the batch."""
        self._parts.append(_Part(batch))

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Remember the loss and its terms."""
        terms = pl_module.losses if isinstance(pl_module, HasLossTerms) else {}
        self._parts[-1].loss = loss.detach()
        self._parts[-1].terms = {name: term.detach() for name, term in terms.items()}

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any
    ) -> None:
        """Look at the losses and at the gradient's norm.

        Raises:
            ValueError: one is not finite.
        """
        values = [part.loss for part in self._parts if part.loss is not None]
        if getattr(trainer.precision_plugin, "scaler", None) is None:  # a scaler skips such steps by itself
            norm = get_total_norm([p.grad for p in pl_module.parameters() if p.grad is not None])
            values.append(whole(norm))
        finite = torch.isfinite(torch.stack([value.float() for value in values])).all().int()
        if (
            trainer.world_size > 1
        ):  # before the device is waited for: all stop at one step, none waits for another
            torch.distributed.all_reduce(finite, torch.distributed.ReduceOp.MIN)
        if bool(finite):
            self._parts.clear()
            return
        mine = _find(trainer, pl_module, self._parts)
        found = _of_every_rank(mine, trainer.world_size)
        surest = max(finding.sureness for finding in found)
        if mine.sureness == surest:
            write_torch(self._saved(trainer.global_rank), [_plain(part.batch) for part in mine.parts])
        trainer.strategy.barrier()  # a launcher ends all when the first has ended
        guilty = [rank for rank, finding in enumerate(found) if finding.sureness == surest]
        rank = trainer.global_rank if trainer.global_rank in guilty else guilty[0]
        saved = "Batch" if found[rank].count == 1 else f"{found[rank].count} batches of the step"
        raise ValueError(
            f"{found[rank].what} at step {trainer.global_step} (rank {rank}). {saved} saved to {self._saved(rank)}; "
            "the optimizer was not stepped. Look for bad values there, or lower optimizer.lr."
        )

    def _saved(self, rank: int) -> Path:
        return self.folder / f"bad_batch_rank{rank}.pt"

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Look at everything that training continues from.

        Raises:
            ValueError: some of it is not finite.
        """
        averages = {
            f"state_dict.{key}": checkpoint["state_dict"][key] for key, _ in pl_module.named_parameters()
        }
        if bad := nonfinite(averages) or nonfinite_state(trainer, pl_module):
            raise ValueError(
                f"At step {trainer.global_step} values are not finite: {named(bad)}. No checkpoint was written; the "
                "one before is as it was. Lower optimizer.lr, and continue with the same command."
            )


def nonfinite_state(trainer: pl.Trainer, pl_module: pl.LightningModule) -> list[str]:
    """Return the names of weights and of optimizer values that are not finite."""
    values = dict(pl_module.named_parameters()) | dict(_optimizer_values(trainer, pl_module))
    return nonfinite(whole(values))


def _optimizer_values(trainer: pl.Trainer, pl_module: pl.LightningModule) -> Iterator[tuple[str, Tensor]]:
    names: dict[Tensor, str] = {parameter: name for name, parameter in pl_module.named_parameters()}
    for optimizer in trainer.optimizers:
        for parameter, state in optimizer.state.items():
            for key, value in state.items():
                if isinstance(value, Tensor):
                    yield f"optimizer.{names.get(parameter, '?')}.{key}", value


def _find(trainer: pl.Trainer, module: pl.LightningModule, parts: list[_Part]) -> _Finding:
    if bad := [part for part in parts if part.bad]:
        return _Finding(_bad_loss(bad[0]), 2, len(bad), bad)
    if weights := nonfinite(whole(dict(module.named_parameters()))):
        return _Finding(f"The weights are not finite ({named(weights)})", 0, len(parts), parts)
    gradients = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    names = nonfinite(whole(gradients))
    what = f"The loss is finite, its gradient is not ({named(names) if names else 'its norm overflows'})"
    if not isinstance(module, HasLossTerms) or is_sharded(module):
        return _Finding(what, 0, len(parts), parts)
    for part in parts:
        with torch.enable_grad(), trainer.precision_plugin.train_step_context():
            losses = module.weighted_losses_of(part.batch)
        weights_of = [p for p in module.parameters() if p.requires_grad]
        terms = [
            name
            for name, found in gradients_of_terms(losses, weights_of)
            if nonfinite({str(number): gradient for number, gradient in enumerate(found)})
        ]
        if terms:
            return _Finding(f"{what}, by its terms {', '.join(terms)},", 1, 1, [part])
    return _Finding(f"{what}, though that of each term is when computed again,", 0, len(parts), parts)


def _of_every_rank(mine: _Finding, ranks: int) -> list[_Finding]:
    if ranks == 1:
        return [mine]
    found: list[Any] = [None] * ranks
    torch.distributed.all_gather_object(found, replace(mine, parts=[]))
    return found


def _bad_loss(part: _Part) -> str:
    assert part.loss is not None
    assert part.terms is not None
    terms = nonfinite(part.terms)
    by = f", by its terms {', '.join(terms)}," if terms else ""
    return f"train/loss is {part.loss.item()}{by}"


def _plain(batch: Any) -> Any:
    """Return the fields of a batch; tensors as copies, because those of loading processes share one block of bytes."""
    if not is_dataclass(batch):
        return batch
    values = {f.name: getattr(batch, f.name) for f in fields(batch)}
    return {name: v.clone() if isinstance(v, Tensor) else v for name, v in values.items()}
