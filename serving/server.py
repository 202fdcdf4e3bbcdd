"""Runs a service until a signal asks it to end: what was begun is answered, then it ends."""

import asyncio
import contextlib
import math
import os
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from sceneleapultra.serving.limits import ServiceLimits
from sceneleapultra.serving.logs import log
from sceneleapultra.serving.problems import Refusal
from sceneleapultra.serving.service import Service


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        ValueError: another program does, or there is no such address.
    """
    if not 0 <= port <= 65535:
        raise ValueError(f"--port {port}: expected 0 to 65535; 0 for a free one.")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        named = isinstance(error, socket.gaierror) or error.errno is None
        reason = (str(error.strerror) if named else os.strerror(error.errno or 0)).lower()
        raise ValueError(
            f"--host {host} --port {port}: {reason}. Pass another, or --port 0 for a free one."
        ) from error
    return listener


def run(service: Service, app: ASGIApp, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP loads the model again.

    Args:
        service: what answers.
        app: the service over HTTP.
        listener: where.
        ready: is called once requests are answered.
    """
    Server(configuration(service, app), service, ready).run(sockets=[listener])


def configuration(service: Service, app: ASGIApp) -> uvicorn.Config:
    """Return uvicorn's settings."""
    return uvicorn.Config(
        app,
        http=_protocol(service.limits),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=service.limits.connections,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=math.ceil(service.limits.drain_s),
    )


class Server(uvicorn.Server):
    """uvicorn's, which says when it is ready, and reloads.

    Args:
        config: uvicorn's.
        service: what answers.
        ready: is called once requests are answered.
    """

    def __init__(self, config: uvicorn.Config, service: Service, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._service, self._ready = service, ready
        self._reloads: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Answer what was begun, then end."""
        self._service.draining = True
        super().handle_exit(sig, frame)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Answer signals while serving, where this is the main thread."""
        loop = asyncio.get_running_loop()
        with super().capture_signals():
            with contextlib.suppress(RuntimeError, ValueError):  # another thread, which gets no signals
                loop.add_signal_handler(signal.SIGHUP, self._reload)
            yield

    def _reload(self) -> None:
        async def reload() -> None:
            with contextlib.suppress(Refusal):  # logged
                await self._service.reload()

        task = asyncio.get_running_loop().create_task(reload())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)


def _protocol(limits: ServiceLimits) -> type[H11Protocol]:
    """Return uvicorn's protocol, which closes connections whose headers do not come."""

    class Patient(H11Protocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._wait()

        def data_received(self, data: bytes) -> None:
            if self._timer is None and self.conn.their_state is h11.IDLE:
                self._wait()
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE:
                self._rest()

        def connection_lost(self, exc: Exception | None) -> None:
            self._rest()
            super().connection_lost(exc)

        def _wait(self) -> None:
            self._timer = self.loop.call_later(limits.head_s, self._give_up)

        def _rest(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _give_up(self) -> None:
            self._timer = None
            if not self.transport.is_closing():
                log("connection closed", reason=f"no complete headers within {limits.head_s:g} s")
                self.transport.close()

    return Patient


def address(listener: socket.socket) -> str:
    """Return where a socket listens, as a URL."""
    host, port, *_ = listener.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
