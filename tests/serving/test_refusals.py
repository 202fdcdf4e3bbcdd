"""Is every request that cannot be answered refused by a status and one sentence, and is none computed in vain?"""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")
pytest.importorskip("prometheus_client", reason="the extra 'serve' is not installed")

from factories.services import Answer, Running, as_json, as_npz, at_once, running, small_engine, small_request
from sceneleapultra.serving.client import GraspClient, ServiceRefusal
from sceneleapultra.serving.engine import Engine
from sceneleapultra.serving.limits import read_limits
from sceneleapultra.serving.schema import NPZ, Problem
from sceneleapultra.serving.token import read_token

TOKEN = "a-token-of-the-tests"


@pytest.fixture(scope="module")
def service() -> Iterator[Running]:
    with running(body_mb=0.5, points=5000) as one:
        yield one


class Slow(Engine):
    """Takes its time, and counts."""

    calls = 0

    def answer(self, works: Any) -> Any:
        time.sleep(0.5)
        self.calls += len(works)
        return super().answer(works)


def slow_engine() -> Slow:
    fast = small_engine()
    return Slow(fast.model, hand=fast.hand, name="slow", weights="0" * 12, batch=1)


def require_problem(answer: Answer, status: int, sentence: str) -> None:
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    problem = Problem.model_validate(answer.json)
    assert problem.status == status and sentence in problem.detail and "\n" not in problem.detail
    assert problem.request_id == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"points": None}, "Expected points, or depth with intrinsics; got neither."),
        ({"points": [[0, 0], [1]]}, "points: expected nested lists of equal lengths"),
        ({"points": [[0, 0, "far"]]}, "points: expected nested lists of numbers, got 'far' in them."),
        ({"points": [[0.0, 0.0]]}, "points: expected floats of shape (n, 3)"),
        ({"points": np.zeros((5001, 3))}, "this service takes at most 5,000, got 5,001."),
        ({"mask": [True]}, "object_mask: expected booleans, one per point, shape (400,)"),
        ({"num_grasps": 0}, "num_grasps: input should be greater than or equal to 1, got 0."),
        ({"num_grasps": 257}, "num_grasps: this service takes at most 256, got 257."),
        ({"num_grasps": 2, "best": 3}, "best: expected 1 to 2, the number of grasps, got 3."),
        ({"deadline_s": 61}, "deadline_s: this service takes at most 60, got 61."),
        ({"num_graps": 2}, "Unknown field 'num_graps'. Did you mean 'num_grasps'?"),
        ({"sampling": {"steps": 101}}, "sampling.steps: this service takes at most 100, got 101."),
        ({"sampling": {"solver": "ddimm"}}, "Did you mean 'ddim'?"),
        (
            {"sampling": {"solver": {"_target_": "os.system"}}},
            "sampling.solver: input should be a valid string",
        ),
        ({"hand": "shadow"}, "hand: this service makes grasps for leap_right, not for shadow."),
        ({"prompt": "cup"}, "prompt"),
        ({"pixel": [3, 4], "mask": None}, "pixel needs an image"),
        ({"up": [0, 0, 0]}, "up must point against gravity"),
        ({"up": [0, 1]}, "up: input has another number of values, got [0, 1]."),
        ({"depth": [[1.0]], "points": None}, "intrinsics: a depth image needs those of its camera"),
        (
            {"depth": [[1.0]], "points": None, "viewpoint": None, "intrinsics": {"K": {}}},
            "intrinsics: expected fx, fy, cx and cy",
        ),
    ],
)
def test_a_request_that_cannot_be_answered_is_a_sentence(
    service: Running, changes: dict[str, Any], sentence: str
) -> None:
    fields = {name: value for name, value in small_request(**changes).items() if value is not None}
    require_problem(service.ask("/v1/grasps", as_json(fields)), 422, sentence)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"PK\3\4 no more", "the body: expected a complete .npz file"),
        (as_npz(points=np.array([{}], dtype=object)), "allow_pickle=False"),
        (as_npz(points=np.zeros((200_000, 3))), "its arrays take"),
        (as_npz(pointz=np.zeros((4, 3))), "Unknown array 'pointz'. Did you mean 'points'?"),
        (
            as_npz(points=np.zeros((9, 3)), K=np.eye(3) + 1j),
            "K: expected numbers or booleans, got an array of complex",
        ),
        (as_npz(settings=np.zeros(3)), "settings: expected one text, JSON, got float64 of shape (3,)."),
        (as_npz(settings=np.array("{")), "settings: expected JSON"),
        (as_npz(settings=np.array("[1]")), "settings: expected a JSON object, got a list."),
        (as_npz(points=np.zeros((9, 3)), settings=np.array('{"depth": 1}')), "Unknown field 'depth'"),
        (
            as_npz(points=np.zeros((9, 3)), K=np.eye(3), settings=np.array('{"seed": 1.5}')),
            "seed: input should be",
        ),
    ],
)
def test_a_damaged_or_hostile_file_is_a_sentence(service: Running, body: bytes, sentence: str) -> None:
    zipped = len(body) < 2**19 and body
    if zipped:
        require_problem(service.ask("/v1/grasps", body, Content_Type=NPZ), 422, sentence)
    else:
        require_problem(
            service.ask("/v1/grasps", body, Content_Type=NPZ), 413, "The body may have 524,288 bytes"
        )


def test_other_bodies_and_paths_are_sentences(service: Running) -> None:
    body = as_json(small_request())
    require_problem(service.ask("/v1/grasps", body, Content_Type="text/plain"), 415, "got text/plain.")
    require_problem(
        service.ask("/v1/grasps", b"x" * 2**19 + b"x"), 413, "it has 524,289. Send the points around"
    )
    require_problem(service.ask("/v1/grasps", b'{"points": '), 422, "The body is no JSON")
    require_problem(service.ask("/v1/grasps"), 405, "GET /v1/grasps: Method Not Allowed.")
    require_problem(service.ask("/v2/grasps", body), 404, "POST /v2/grasps: Not Found.")
    require_problem(service.ask("/", Host="evil.example"), 421, "not as evil.example.")
    require_problem(service.ask("/admin/reload", b""), 403, "This needs a service with a token")


def test_more_requests_than_allowed_are_sent_away_and_the_others_answered() -> None:
    with running(slow_engine, waiting=2) as service:
        answers = at_once(5, lambda i: service.grasps(seed=i))
        assert sorted(a.status for a in answers) == [200, 200, 429, 429, 429]
        refused = next(a for a in answers if a.status == 429)
        require_problem(refused, 429, "2 requests are being answered already. Try again.")
        assert refused.headers["retry-after"] == "1"
        again = at_once(3, lambda i: GraspClient(service.url, attempts=9).grasps(**small_request(seed=i)))
        assert [len(one.grasps) for one in again] == [4, 4, 4]


def test_a_deadline_ends_the_waiting_and_urgent_requests_go_first() -> None:
    with running(slow_engine) as service:
        first, late, low, high = at_once(
            4,
            lambda i: (
                time.sleep(0.1 * i),
                service.grasps(
                    deadline_s=0.4 if i == 1 else 30.0, priority=("normal", "high", "low", "high")[i]
                ),
                time.monotonic(),
            )[1:],
        )
        require_problem(late[0], 503, "No answer within the deadline, 0.4 s. Ask for fewer grasps or steps")
        assert first[0].status == low[0].status == high[0].status == 200
        assert high[1] < low[1]
        assert service.service.engine.calls == 3  # none for whom the deadline had passed


def test_a_client_that_leaves_is_not_computed_for() -> None:
    with running(slow_engine) as service:
        body = as_json(small_request())
        lines = ["POST /v1/grasps HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
        head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""])
        for _ in range(4):
            with socket.create_connection(("127.0.0.1", service.port)) as leaving:
                leaving.sendall(head.encode() + body)
                time.sleep(0.15)
        assert service.grasps().status == 200
        assert service.service.engine.calls <= 3  # the first was begun; of the others at most one more


def test_a_token_is_wanted_and_the_model_is_loaded_again() -> None:
    with running(token=TOKEN) as service:
        for path in ("/", "/metrics", "/v1/model"):
            require_problem(service.ask(path), 401, "Send the service's token")
        assert service.ask("/livez").status == service.ask("/readyz").status == 200
        require_problem(
            service.ask("/v1/model", Authorization="Bearer wrong"), 401, "Send the service's token"
        )
        assert service.ask("/", Authorization="Basic YW55Ym9keTphLXRva2VuLW9mLXRoZS10ZXN0cw==").status == 200
        client = GraspClient(service.url, token=TOKEN)
        before = client.model()["loaded"]
        made = client.grasps(**small_request())
        assert service.ask("/admin/reload", b"", Authorization=f"Bearer {TOKEN}").json["loaded"] > before
        np.testing.assert_array_equal(
            client.grasps(**small_request()).grasps.hand_pose, made.grasps.hand_pose
        )


def test_a_model_that_cannot_be_loaded_again_leaves_the_one_before() -> None:
    models = iter([small_engine()])

    def load() -> Engine:
        try:
            return next(models)
        except StopIteration:
            raise ValueError("weights.safetensors is damaged.") from None

    with running(load, token=TOKEN) as service:
        answer = service.ask("/admin/reload", b"", Authorization=f"Bearer {TOKEN}")
        require_problem(answer, 422, "weights.safetensors is damaged. The model of before is served on.")
        assert len(GraspClient(service.url, token=TOKEN).grasps(**small_request()).grasps) == 4


def test_a_defect_is_an_answer_without_its_trace_and_the_service_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(Engine):
        def answer(self, works: Any) -> Any:
            if works[0].settings.seed == 13:
                raise KeyError("a defect")
            return super().answer(works)

    def load() -> Engine:
        small = small_engine()
        return Broken(small.model, hand=small.hand, name="broken", weights="0" * 12, batch=1)

    with running(load) as service:
        require_problem(service.grasps(seed=13), 500, "A defect of the service; its log holds more")
        assert "a defect" not in service.grasps(seed=13).body.decode()
        assert service.grasps(seed=1).status == 200
    assert any(record.exc_info for record in caplog.records if record.message == "defect")


def test_limits_and_tokens_that_are_none_are_sentences(tmp_path: Path) -> None:
    from factories.services import LIMITS

    with pytest.raises(ValueError, match=r"--limits.body-mb: expected a number above 0, got -1"):
        read_limits({**LIMITS, "body_mb": -1})
    with pytest.raises(ValueError, match=r"--limits.waiting: expected a whole number of at least 1, got 2.5"):
        read_limits({**LIMITS, "waiting": 2.5})
    token = tmp_path / "token"
    with pytest.raises(FileNotFoundError, match=r"--token-file: there is no file .* openssl rand -hex 32"):
        read_token(token)
    token.write_text("short")
    token.chmod(0o644)
    with pytest.raises(ValueError, match=r"others may read .* chmod 600"):
        read_token(token)
    token.chmod(0o600)
    with pytest.raises(ValueError, match=r"one word of at least 16 ASCII characters"):
        read_token(token)
    token.write_text(f"{TOKEN}\n")
    assert read_token(token) == TOKEN


@pytest.mark.untyped  # a command line gives lists where a call has tuples
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("leap_tabel",), "Unknown model 'leap_tabel'. Did you mean 'leap_table'?"),
        (
            ("leap_table", "--host", "0.0.0.0"),
            "--host 0.0.0.0 is reached from other machines: pass --token-file",
        ),
        (("leap_table", "--port", "-1"), "--port -1"),
        (("leap_table", "--port", "70000"), "--port 70000: expected 0 to 65535"),
        (
            ("leap_table", "--engine", "onnxruntime"),
            "leap_table is a checkpoint. Export it: sceneleap export",
        ),
        (
            ("leap_table", "--engine", "onnxruntime", "--device", "cuda"),
            "--device, --plugins, --completion and --hypotheses need",
        ),
        (("leap_table", "--limits.waiting", "none"), "--limits.waiting: expected a whole number"),
    ],
)
def test_a_service_that_cannot_start_says_why(
    run_program, capsys, words: tuple[str, ...], sentence: str
) -> None:
    assert run_program("serve", *words) == 1
    assert sentence in " ".join(capsys.readouterr().err.split())


def test_a_port_in_use_is_a_sentence(service: Running, run_program, capsys) -> None:
    assert run_program("serve", "leap_table", "--port", service.port) == 1
    assert "address already in use. Pass another, or --port 0" in " ".join(capsys.readouterr().err.split())


def test_the_log_is_one_json_object_per_line() -> None:
    import logging

    from sceneleapultra.serving.logs import JsonLines

    record = logging.LogRecord("x", logging.INFO, "x", 1, "a %s\nb", ("word",), None)
    record.fields = {"status": 200}
    line = JsonLines().format(record)
    assert "\n" not in line and json.loads(line) | {"time": 0} == {
        "time": 0,
        "level": "info",
        "event": "a word\nb",
        "status": 200,
    }


def test_refusals_have_their_status(service: Running) -> None:
    with pytest.raises(ServiceRefusal) as error:
        GraspClient(service.url).grasps(points=np.zeros((3, 2)))
    assert error.value.status == 422
