"""How a training ends before its last step: at the end of a batch, the same in every process, so that it goes on."""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.trainer.connectors.signal_connector import _SignalConnector
from pytorch_lightning.utilities.exceptions import SIGTERMException

from sceneleapultra.utils.core import signals
from sceneleapultra.utils.core.console import card, is_first_process, print_error
from sceneleapultra.utils.training.peers import watch_peers

_TIME = re.compile(r"(\d+):(\d\d):(\d\d):(\d\d)")
_TIME_LIMIT = 1000  # where others have the number of a signal


class OrderlyStop(Callback):
    """Stops after a signal or a time limit: within a validation after one of its batches, else after the step.

    A signal may reach one process of several, and at another step than the others, so all agree after every batch.

    Args:
        max_time: time from the start of this program's training, ``days:hours:minutes:seconds``; None for no limit.
    """

    def __init__(self, max_time: str | None) -> None:
        self.limit_s = None if max_time is None else seconds(max_time)
        self.reason = 0
        self.on_setup: Callable[[Any], None] = lambda _: None
        self._start = 0.0
        self._group: Any = None

    @property
    def out_of_time(self) -> bool:
        """Whether the time limit stopped the training."""
        return self.reason == _TIME_LIMIT

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Take Lightning's signal handlers away: they talk to other processes in the middle of anything."""
        trainer._signal_connector = _Agreed(trainer, self)
        # Numbers on the processor go by a group of their own: over the device's, each batch would wait for the device.
        self._group = torch.distributed.new_group(backend="gloo") if trainer.world_size > 1 else None
        self.on_setup(self._group)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._start = time.monotonic()

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """Agree; Lightning ends the training when the step is logged. The last one ends it by itself."""
        if trainer.global_step < trainer.max_steps or trainer.max_steps == -1:
            self._agree(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End before a validation is begun that would be cut off."""
        self.end_if_agreed()

    def on_validation_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """Agree, and end."""
        self._agree(trainer)
        self.end_if_agreed()

    def end_if_agreed(self) -> None:
        """End here.

        Raises:
            SystemExit: the processes have agreed to end.
        """
        if self.reason:
            raise SystemExit(0) if self.out_of_time else signals.Stopped(self.reason)

    def _agree(self, trainer: pl.Trainer) -> None:
        late = self.limit_s is not None and time.monotonic() - self._start >= self.limit_s
        reason = signals.wished() or (_TIME_LIMIT if late else 0)
        if self._group is not None:
            agreed = torch.tensor(int(reason))
            torch.distributed.all_reduce(agreed, torch.distributed.ReduceOp.MAX, self._group)
            reason = int(agreed)
        self.reason = int(reason)


class _Agreed(_SignalConnector):
    """In place of Lightning's handlers: it asks at the ends of batches whether a SIGTERM came."""

    def __init__(self, trainer: pl.Trainer, stop: OrderlyStop) -> None:
        self._stop = stop
        super().__init__(trainer)

    @property
    def received_sigterm(self) -> bool:
        """Whether to end now."""
        return self._stop.reason != 0

    @received_sigterm.setter
    def received_sigterm(self, _: bool) -> None: ...

    def register_signal_handlers(self) -> None:
        """Leave the program's in place."""

    def teardown(self) -> None:
        """Leave the program's in place."""


@contextmanager
def ends_in_order(
    trainer: pl.Trainer, *, launched: bool, command: str = "the same command"
) -> Iterator[None]:
    """Fit in here: a signal waits for the end of the step, and a training that was stopped says how far it came.

    Until the processes have met, which they may wait for without an end, a signal is answered at once.

    Args:
        trainer: has :class:`OrderlyStop` among its callbacks.
        launched: whether another process of this training started this one, and answers for the exit status.
        command: which continues the training.

    Raises:
        Stopped: by a signal; a time limit just ends the context.
    """
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    stop = next(callback for callback in callbacks if isinstance(callback, OrderlyStop))

    met = False

    def where() -> str:
        return f"at step {trainer.global_step} of {trainer.max_steps}" if met else "before its first step"

    def say(number: signal.Signals) -> None:
        if is_first_process():
            print_error(f"stopped by {number.name} {where()}; {command} continues")

    try:
        with signals.says_where(where, command), ExitStack() as until_end, ExitStack() as until_met:
            until_met.enter_context(signals.answered_in_libraries(say))

            def lose(who: str) -> None:
                if signals.wished() is None:  # else the others may end in the middle of agreeing
                    print_error(
                        f"{who} is gone {where()}: killed, out of memory, or its machine is not reached; {command} "
                        "continues"
                    )
                os._exit(1)

            def wait_for_steps(group: Any) -> None:
                nonlocal met
                met = True
                until_met.close()
                until_end.enter_context(signals.deferred())
                if group is not None:
                    rank, world = trainer.global_rank, trainer.world_size
                    until_end.enter_context(watch_peers(rank, world, group, lose))

            stop.on_setup = wait_for_steps
            try:
                yield
            except SIGTERMException:
                stop.end_if_agreed()
                raise
    except SystemExit as end:
        signals.ignore_from_now_on()
        if launched and isinstance(end, signals.Stopped):
            # At another status Lightning kills all, in the middle of a checkpoint. At once, because the process that
            # started this one does not wait for it, and an interpreter takes seconds to end.
            os._exit(0)
        if not stop.out_of_time:
            raise
        card(f"stopped by trainer.max_time {where()}; {command} continues", {})


def seconds(text: str) -> float:
    """Read ``days:hours:minutes:seconds``.

    Raises:
        ValueError: it is written otherwise.
    """
    if not (found := _TIME.fullmatch(str(text).strip())):
        raise ValueError(
            f"trainer.max_time={text}: expected days:hours:minutes:seconds, for example 00:07:50:00."
        )
    days, hours, minutes, rest = map(int, found.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=rest).total_seconds()
