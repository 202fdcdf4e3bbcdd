"""Does a service live through clients that are slow, huge, rude or random, and end in order when it is asked to?

Nothing that a client sends may be answered by 5xx but a full or ending service's own 503.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")
pytest.importorskip("prometheus_client", reason="the extra 'serve' is not installed")

from factories.services import Running, as_json, as_npz, at_once, running, small_request
from sceneleapultra.serving.client import GraspClient
from sceneleapultra.serving.schema import NPZ, GraspSettings, GraspsRequest
from sceneleapultra.utils.core.config import CONFIG_DIR

pytestmark = pytest.mark.faults
ROOT = CONFIG_DIR.parent
HEAD = b"POST /v1/grasps HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
FEW = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def service() -> Iterator[Running]:
    with running(
        body_mb=1.0, bodies_mb=3.0, body_s=2.0, head_s=1.0, grasps=4, steps=3, deadline_s=30.0
    ) as one:
        yield one


def connect(service: Running) -> socket.socket:
    link = socket.create_connection(("127.0.0.1", service.port))
    link.settimeout(60.0)
    return link


def closed_after(link: socket.socket) -> float:
    """Return how many seconds pass until the other side closes."""
    begin = time.monotonic()
    while True:
        try:
            if not link.recv(4096):
                return time.monotonic() - begin
        except ConnectionResetError:
            return time.monotonic() - begin


NUMBERS = st.one_of(st.floats(), st.integers(), st.booleans(), st.none(), st.text(max_size=5))
ANYTHING = st.recursive(
    NUMBERS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
FIELDS = st.sampled_from(sorted(GraspsRequest.model_fields))


@given(changes=st.dictionaries(FIELDS, ANYTHING, min_size=1, max_size=3))
@settings(FEW, max_examples=120)
def test_no_field_of_json_is_answered_by_a_defect(service: Running, changes: dict[str, Any]) -> None:
    body = json.dumps({**json.loads(as_json(small_request(num_grasps=1))), **changes}).encode()
    answer = service.ask("/v1/grasps", body)
    assert answer.status in (200, 413, 422), (answer.status, changes, answer.body)
    assert answer.status == 200 or answer.json["detail"].strip()


@given(
    arrays=st.dictionaries(
        st.sampled_from(("points", "depth", "mask", "rgb", "K", "depth_scale")),
        st.tuples(
            st.lists(st.integers(0, 40), max_size=3),
            st.sampled_from(("f4", "f8", "u1", "i8", "?", "U3", "c8", "f2", "S2")),
        ),
        max_size=4,
    ),
    text=st.one_of(
        st.text(max_size=20),
        st.dictionaries(st.sampled_from(sorted(GraspSettings.model_fields)), ANYTHING, max_size=2).map(
            json.dumps
        ),
    ),
)
@settings(FEW, max_examples=120)
def test_no_array_is_answered_by_a_defect(service: Running, arrays: dict[str, Any], text: str) -> None:
    rng = np.random.default_rng(0)
    made = {name: (3 * rng.random(shape)).astype(kind) for name, (shape, kind) in arrays.items()}
    answer = service.ask("/v1/grasps", as_npz(**made, settings=np.array(text)), Content_Type=NPZ)
    assert answer.status in (200, 413, 422), (answer.status, arrays, text, answer.body)


@given(place=st.floats(0, 1), value=st.integers(0, 255), cut=st.booleans())
@settings(FEW, max_examples=60)
def test_no_damaged_file_is_answered_by_a_defect(
    service: Running, place: float, value: int, cut: bool
) -> None:
    request = small_request()
    body = bytearray(
        as_npz(points=request["points"], mask=request["mask"], settings=np.array('{"num_grasps": 1}'))
    )
    at = int(place * (len(body) - 1))
    body[at] = value
    answer = service.ask("/v1/grasps", bytes(body[:at] if cut else body), Content_Type=NPZ)
    assert answer.status in (200, 422), (at, value, cut, answer.body)


@given(raw=st.binary(max_size=200))
@settings(FEW, max_examples=60)
def test_bytes_that_are_no_http_harm_nobody(service: Running, raw: bytes) -> None:
    with connect(service) as link:
        link.sendall(raw + b"\r\n\r\n")
        link.shutdown(socket.SHUT_WR)
        answer = link.recv(200)
        assert not re.match(rb"HTTP/1.1 5", answer)
    assert service.ask("/livez").status == 200


def test_headers_and_bodies_that_do_not_come_are_given_up(service: Running) -> None:
    with connect(service) as no_head, connect(service) as half_head, connect(service) as half_body:
        half_head.sendall(HEAD)
        half_body.sendall(HEAD + b"Content-Length: 1000\r\n\r\n{")
        assert 0.5 < closed_after(no_head) < 20.0
        closed_after(half_head)
        answer = half_body.recv(4096)
        assert b"408" in answer.splitlines()[0]
    with connect(service) as second:  # a second request on a connection that stays
        second.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in second.recv(4096)
        second.sendall(b"GET /livez HTTP/1.1\r\nHost: loc")
        assert closed_after(second) < 20.0
    assert service.grasps().status == 200


def test_more_bodies_than_fit_are_sent_away(service: Running) -> None:
    links = [connect(service) for _ in range(4)]
    part = b" " * 900_000
    for link in links:
        link.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n" + part)
    answers = [link.recv(4096).splitlines()[0] for link in links]
    for link in links:
        link.close()
    assert any(b"503" in line for line in answers) and all(b"503" in a or b"408" in a for a in answers)
    assert service.grasps().status == 200


def test_a_chunked_body_without_an_end_is_cut_off(service: Running) -> None:
    with connect(service) as link:
        link.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        for _ in range(20):
            link.sendall(chunk)
        link.sendall(b"0\r\n\r\n")
        assert b" 413 " in link.recv(4096).splitlines()[0]


def test_clients_that_drop_everywhere_leave_nothing_behind(service: Running) -> None:
    body = as_json(small_request())
    whole = HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
    for cut in np.linspace(1, len(whole), 12).astype(int):
        with connect(service) as link:
            link.sendall(whole[:cut])
    deadline = time.monotonic() + 60
    left = service.service
    while (left._inside or left._bodies._bytes) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left._inside == 0 and left._bodies._bytes == 0
    answers = at_once(8, lambda i: GraspClient(service.url).grasps(**small_request(seed=i % 2)))
    np.testing.assert_array_equal(answers[0].grasps.hand_pose, answers[2].grasps.hand_pose)


def test_sigterm_answers_what_was_begun_and_sighup_loads_again(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sceneleapultra", "serve", "leap_table", "--port", "0"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environ, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as process:
        assert process.stderr is not None
        lines: list[dict[str, Any]] = []

        def until(event: str) -> dict[str, Any]:
            assert process.stderr is not None
            for raw in process.stderr:
                if raw.startswith(b"{"):
                    lines.append(json.loads(raw))
                    if lines[-1]["event"] == event:
                        return lines[-1]
            raise AssertionError(f"no {event}: {lines}")

        try:
            client = GraspClient(until("ready")["url"])
            process.send_signal(signal.SIGHUP)
            assert until("reloaded")["model"] == "leap_table"
            with np.load(ROOT / "model_zoo" / "example_view.npz") as view:
                request = {
                    "depth": view["depth"],
                    "intrinsics": view["K"],
                    "depth_scale": float(view["depth_scale"]),
                }
                request["mask"] = view["mask"]
            found: list[Any] = []
            asking = threading.Thread(target=lambda: found.append(client.grasps(**request, num_grasps=8)))
            asking.start()
            time.sleep(0.7)
            process.send_signal(signal.SIGTERM)
            asking.join(120)
            assert len(found) == 1 and len(found[0].grasps) == 8
            assert process.wait(60) == 128 + signal.SIGTERM
        finally:
            process.kill()
