"""A service with a small model, in a thread of this process, and requests for it."""

import contextlib
import io
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import uvicorn

from factories.views import cloud, small_model
from sceneleapultra.serving import server
from sceneleapultra.serving.app import build_app
from sceneleapultra.serving.engine import Engine
from sceneleapultra.serving.limits import read_limits
from sceneleapultra.serving.service import Service
from sceneleapultra.serving.token import LOOPBACK
from sceneleapultra.utils.core.cli import Settings

LIMITS, _ = Settings("serving/limits").read()


def small_engine(batch: int = 1) -> Engine:
    model = small_model()
    return Engine(model, hand=model.hand, name="small", weights="0" * 12, batch=batch)


def small_request(**changes: Any) -> dict[str, Any]:
    """Return fields of a request that the small model answers in a few milliseconds."""
    points, mask = cloud(400)
    fields = {
        "points": points,
        "mask": mask,
        "up": (0.0, 0.0, 1.0),
        "viewpoint": (0.5, 0.0, 0.5),
        "num_grasps": 4,
    }
    return {**fields, **changes}


def as_json(request: dict[str, Any]) -> bytes:
    plain = {
        name: np.asarray(value).tolist() if isinstance(value, np.ndarray) else value
        for name, value in request.items()
    }
    return json.dumps(plain).encode()


def as_npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Running:
    """A service that answers."""

    url: str
    service: Service
    server: uvicorn.Server

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def ask(self, path: str, body: bytes | None = None, method: str | None = None, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            named = {"Content-Type": "application/json", **named}
        request = urllib.request.Request(self.url + path, body, named, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return Answer(answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, {k.lower(): v for k, v in error.headers.items()}, error.read())

    def grasps(self, **changes: Any) -> Answer:
        return self.ask("/v1/grasps", as_json(small_request(**changes)))


@contextlib.contextmanager
def running(
    load: Callable[[], Engine] = small_engine, *, token: str | None = None, **limits: float
) -> Iterator[Running]:
    """Serve until the test leaves."""
    work, service_limits = read_limits({**LIMITS, **limits})
    service = Service(load, work, service_limits)
    ready = threading.Event()
    with server.listen("127.0.0.1", 0) as listener:
        url = server.address(listener)
        app = build_app(service, token=token, hosts=LOOPBACK)
        instance = server.Server(server.configuration(service, app), service, ready.set)
        thread = threading.Thread(target=instance.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            assert ready.wait(30)
            yield Running(url, service, instance)
        finally:
            instance.should_exit = True
            thread.join(60)
            assert not thread.is_alive()


def at_once(number: int, work: Callable[[int], Any]) -> list[Any]:
    """Return what a function returns for 0 to number - 1, called by as many threads that begin together."""
    results: list[Any] = [None] * number
    begin = threading.Barrier(number)

    def one(i: int) -> None:
        begin.wait()
        results[i] = work(i)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def columns(grasps: Sequence[dict[str, Any]], name: str) -> np.ndarray:
    return np.array([grasp[name] for grasp in grasps])
