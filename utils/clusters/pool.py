"""Workers that other machines start: they connect, and get one task at a time; a lost one's task goes to another."""

import pickle
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection
from typing import Any

from sceneleapultra.utils.clusters.channel import listen, welcome
from sceneleapultra.utils.clusters.code_version import code_version, other_code
from sceneleapultra.utils.core.parallel import Result, Submit, Task

LOST = 3  # workers that may be lost with one task, before it is blamed
LOST_SENTENCE = (
    f"{LOST} workers were lost with the same task, one after the other: killed (out of memory?), or it crashes them. "
    "Their logs may say more; launcher=local workers=1 shows where it crashes."
)
_POLL_S = 5.0  # between looks at whether workers may still come


@dataclass
class _Order:
    """A task of a session, and who waits for it."""

    session: int
    content: bytes
    answer: "Future[bytes]" = field(default_factory=Future)
    lost: int = 0


class WorkerPool:
    """The workers of one program, as long as it runs; sessions come one after the other.

    Args:
        host: name by which workers reach this machine.
        missing: says why no worker will come any more, if that is so; asked while there is none.
    """

    def __init__(self, host: str, missing: Callable[[], str | None]) -> None:
        self._missing = missing
        self._socket, self.address = listen(host)
        self._todo: deque[_Order] = deque()
        self._changed = threading.Condition()
        self._session, self._fn = 0, b""
        self._workers = 0
        self._problem: str | None = None
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    @contextmanager
    def session(self, fn: Callable[[Task], Result]) -> Iterator[Submit[Task, Result]]:
        """Let the workers do ``fn``; what they keep beside it is kept as long as the session."""
        with self._changed:
            self._session, self._fn = self._session + 1, pickle.dumps(fn)

        def submit(task: Task) -> Callable[[], Result]:
            order = _Order(self._session, pickle.dumps(task))
            with self._changed:
                self._todo.append(order)
                self._changed.notify()
            return lambda: self._wait(order)

        try:
            yield submit
        finally:
            with self._changed:
                self._todo.clear()

    def close(self) -> None:
        """Take no more workers, and let those that are there end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._socket.close()

    def _wait(self, order: _Order) -> Any:
        while True:
            if self._problem is not None:
                raise ValueError(self._problem)
            try:
                done, value = pickle.loads(order.answer.result(_POLL_S))
                break
            except TimeoutError:
                if not self._workers and (why := self._missing()) is not None:
                    raise ChildProcessError(why) from None
        if not done:
            raise value
        return value

    def _accept(self) -> None:
        while not self._closed:
            with suppress(OSError):  # closed, or whoever came is gone
                accepted, _ = self._socket.accept()
                threading.Thread(target=self._meet, args=(accepted,), daemon=True).start()

    def _meet(self, accepted: socket.socket) -> None:
        """Serve a worker until it or this program ends; strangers are left standing."""
        with (
            suppress(OSError, EOFError, AuthenticationError),
            welcome(accepted, self.address.secret) as connection,
        ):
            host, version = connection.recv()
            if version != code_version():
                self._problem = other_code(f"A worker on {host}", version, code_version())
                return
            with self._counted():
                self._serve(connection)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._changed:
            self._workers += 1
        try:
            yield
        finally:
            with self._changed:
                self._workers -= 1

    def _serve(self, connection: Connection) -> None:
        knows = 0  # the session whose function the worker has
        while (order := self._next(connection)) is not None:
            try:
                connection.send((None if order.session == knows else self._fn, order.content))
                answer = connection.recv_bytes()
            except (OSError, EOFError):
                self._lose(order)
                raise
            knows = order.session
            order.answer.set_result(answer)

    def _next(self, connection: Connection) -> _Order | None:
        """Wait for a task; None where there will be none, or the worker is gone."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._todo or self._closed, timeout=_POLL_S)
                if self._closed:
                    return None
                if connection.poll():  # a worker that waits says nothing; its end can be read
                    self._changed.notify()
                    return None
                if self._todo:
                    return self._todo.popleft()

    def _lose(self, order: _Order) -> None:
        """Give the task of a lost worker to another, before all that wait."""
        order.lost += 1
        if order.lost < LOST:
            with self._changed:
                if order.session == self._session:
                    self._todo.appendleft(order)
                    self._changed.notify()
            return
        order.answer.set_exception(ChildProcessError(LOST_SENTENCE))
