"""What stops a training before a value that is not finite reaches the weights or a checkpoint."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.nn.utils import get_total_norm

from sceneleapultra.utils.core.torch_files import write_torch
from sceneleapultra.utils.training.loss_terms import HasLossTerms

_NAMED = 3  # parameters that a sentence names


@dataclass
class _Part:
    """A batch of an optimizer step, and what came of it."""

    batch: Any
    loss: Tensor | None = None
    terms: Mapping[str, Tensor] | None = None

    @property
    def bad(self) -> bool:
        return self.loss is not None and not bool(torch.isfinite(self.loss).all())


class NonFiniteGuard(Callback):
    """Stop before the optimizer steps when a loss or the gradient is not finite, and keep the batches that did it.

    Losses stay on the device until the step, so that a step waits for the device once. Checkpoints of weights, averages
    or an optimizer that are not finite are refused.

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
            values.append(get_total_norm([p.grad for p in pl_module.parameters() if p.grad is not None]))
        if bool(torch.isfinite(torch.stack([value.float() for value in values])).all()):
            self._parts.clear()
            return
        bad = [part for part in self._parts if part.bad]
        kept = bad or self._parts
        path = self.folder / f"bad_batch_rank{trainer.global_rank}.pt"
        write_torch(path, [_plain(part.batch) for part in kept])
        what = _bad_loss(bad[0]) if bad else _bad_gradient(pl_module)
        saved = "Batch" if len(kept) == 1 else f"{len(kept)} batches of the step"
        raise ValueError(
            f"{what} at step {trainer.global_step} (rank {trainer.global_rank}). {saved} saved to {path}; the "
            "optimizer was not stepped. Look for bad values there, or lower optimizer.lr."
        )

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
                f"At step {trainer.global_step} values are not finite: {_some(bad)}. No checkpoint was written; the "
                "one before is as it was. Lower optimizer.lr, and continue with the same command."
            )


def nonfinite_state(trainer: pl.Trainer, pl_module: pl.LightningModule) -> list[str]:
    """Return the names of weights and of optimizer values that are not finite."""
    return nonfinite(dict(pl_module.named_parameters()) | dict(_optimizer_values(trainer, pl_module)))


def nonfinite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names of those that are not finite throughout; waits once for each device they lie on."""
    on_device: dict[torch.device, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if value.is_floating_point() and value.numel():
            # The largest value is not finite where one is not, of whatever size and kind.
            on_device.setdefault(value.device, {})[name] = value.detach().abs().amax().double()
    finite: dict[str, bool] = {}
    for largest in on_device.values():
        finite |= zip(largest, torch.isfinite(torch.stack([*largest.values()])).tolist(), strict=True)
    return [name for name in tensors if not finite.get(name, True)]


def _optimizer_values(trainer: pl.Trainer, pl_module: pl.LightningModule) -> Iterator[tuple[str, Tensor]]:
    names: dict[Tensor, str] = {parameter: name for name, parameter in pl_module.named_parameters()}
    for optimizer in trainer.optimizers:
        for parameter, state in optimizer.state.items():
            for key, value in state.items():
                if isinstance(value, Tensor):
                    yield f"optimizer.{names.get(parameter, '?')}.{key}", value


def _bad_loss(part: _Part) -> str:
    assert part.loss is not None
    assert part.terms is not None
    terms = nonfinite(part.terms)
    named = f", by its terms {', '.join(terms)}," if terms else ""
    return f"train/loss is {part.loss.item()}{named}"


def _bad_gradient(module: pl.LightningModule) -> str:
    if weights := nonfinite(dict(module.named_parameters())):
        return f"The weights are not finite ({_some(weights)})"
    gradients = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    bad = nonfinite(gradients)
    return f"The loss is finite, its gradient is not ({_some(bad) if bad else 'its norm overflows'})"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _plain(batch: Any) -> Any:
    """Return the fields of a batch; tensors as copies, because those of loading processes share one block of bytes."""
    if not is_dataclass(batch):
        return batch
    values = {f.name: getattr(batch, f.name) for f in fields(batch)}
    return {name: v.clone() if isinstance(v, Tensor) else v for name, v in values.items()}
