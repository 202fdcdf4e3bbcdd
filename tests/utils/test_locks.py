"""Does a lock file keep a second process out, say who holds it, and let go when its holder dies?"""

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from sceneleapultra.utils.core.locks import owned_lock


def _hold(path: Path, ready: Any) -> None:
    with owned_lock(path, doing="building cups", wait=False):
        ready.set()
        signal.pause()


def test_the_holder_is_named_and_death_lets_go(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    holder = context.Process(target=_hold, args=(tmp_path / "lock", ready))
    holder.start()
    assert ready.wait(20)
    with (
        pytest.raises(
            BlockingIOError, match=rf"held by process {holder.pid} on .*: building cups\. Wait until"
        ),
        owned_lock(tmp_path / "lock", doing="me", wait=False),
    ):
        pass
    os.kill(holder.pid or 0, signal.SIGKILL)
    holder.join()
    with owned_lock(tmp_path / "lock", doing="me", wait=False):
        assert '"doing": "me"' in (tmp_path / "lock").read_text()
    assert (tmp_path / "lock").read_text() == ""
