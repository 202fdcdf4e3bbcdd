"""Does a service answer what the model makes, bit for bit, whatever else it does, and say what it is?"""

import contextlib
import json
import socketserver
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from factories.pages import HOSTILE
from factories.views import small_model
from sceneleapultra.utils.requests import GraspRequest, Target

pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")
pytest.importorskip("prometheus_client", reason="the extra 'serve' is not installed")

from factories.services import (
    Running,
    as_json,
    as_npz,
    at_once,
    columns,
    running,
    small_engine,
    small_request,
)
from sceneleapultra.models import GraspModel, SampledGrasps
from sceneleapultra.serving.arrays import read_npz_bytes
from sceneleapultra.serving.client import GraspClient, ServiceRefusal
from sceneleapultra.serving.schema import NPZ, GraspsAnswer, ModelCard, SamplingChanges
from sceneleapultra.utils.core.cli import Settings


@pytest.fixture(scope="module")
def service() -> Iterator[Running]:
    with running() as one:
        yield one


@pytest.fixture(scope="module")
def model() -> GraspModel:
    return small_model()


def expected(model: GraspModel, **changes: Any) -> SampledGrasps:
    fields = small_request(**changes)
    request = GraspRequest.from_points(
        fields["points"], target=Target(mask=fields["mask"]), up=fields["up"], viewpoint=fields["viewpoint"]
    )
    return model.sample_request(request, fields["num_grasps"], seed=changes.get("seed", 0))


def test_an_answer_holds_the_grasps_of_the_model_bit_for_bit(service: Running, model: GraspModel) -> None:
    answer = service.grasps(seed=7, frame="map")
    assert answer.status == 200
    checked = GraspsAnswer.model_validate_json(answer.body, strict=True)
    made = expected(model, seed=7)
    found = answer.json["grasps"]
    for name in (
        "position",
        "quat_wxyz",
        "qpos",
        "pregrasp_qpos",
        "squeeze_qpos",
        "score",
        "p_stable",
        "clearance_m",
    ):
        np.testing.assert_array_equal(columns(found, name), getattr(made, name), err_msg=name)
    assert checked.joint_names == list(made.joint_names) and checked.frame == "map"
    assert checked.up == (0.0, 0.0, 1.0) and checked.hand == "leap_right" and checked.nfe == made.nfe


def test_the_binary_form_says_the_same_as_json(service: Running) -> None:
    fields = small_request(seed=3)
    arrays = {name: fields.pop(name) for name in ("points", "mask")}
    body = as_npz(**arrays, settings=np.array(json.dumps(fields)))
    binary = service.ask("/v1/grasps", body, Content_Type=NPZ)
    text = service.ask("/v1/grasps", body, Content_Type=NPZ, Accept="application/json").json
    assert binary.headers["content-type"] == NPZ, binary.body
    found = read_npz_bytes(binary.body, "answer", 2**20)
    assert text == service.grasps(seed=3).json
    np.testing.assert_array_equal(found["hand_pose"][:, :3], columns(text["grasps"], "position"))
    start = text["grasps"][0]["approach"]["waypoints"][0]
    np.testing.assert_array_equal(found["waypoints"][0, 0], [*start["position"], *start["quat_wxyz"]])
    assert json.loads(str(found["answer"]))["joint_names"] == text["joint_names"]


def test_the_client_gets_what_the_model_makes(service: Running, model: GraspModel) -> None:
    served = GraspClient(service.url).grasps(**small_request(seed=11, best=2, num_grasps=4))
    best = expected(model, seed=11).best(2)
    np.testing.assert_array_equal(served.grasps.hand_pose, best.hand_pose)
    np.testing.assert_array_equal(served.grasps.squeeze_qpos, best.squeeze_qpos)
    np.testing.assert_array_equal(served.waypoints[:, 1, :3], best.position)
    assert served.grasps.joint_names == best.joint_names and len(served.free) == 2
    assert any("off the table's" in warning for warning in served.grasps.warnings)


def test_arrays_that_are_none_are_as_good_as_not_there(service: Running) -> None:
    client = GraspClient(service.url)
    nothing = dict.fromkeys(("depth", "rgb", "intrinsics"))
    served, plain = client.grasps(**small_request(), **nothing), client.grasps(**small_request())
    np.testing.assert_array_equal(served.grasps.hand_pose, plain.grasps.hand_pose)


@pytest.mark.parametrize(
    ("clients", "batch"),
    [(4, 2), pytest.param(32, 1, marks=pytest.mark.slow), pytest.param(32, 4, marks=pytest.mark.slow)],
)
def test_clients_at_once_get_what_each_gets_alone(model: GraspModel, clients: int, batch: int) -> None:
    """Every third asks for another number of grasps, and so for another batch; priorities change the order."""
    sizes, priorities = (2, 2, 1), ("normal", "high", "low")

    def changes(i: int) -> dict[str, Any]:
        points = small_request()["points"] + np.float32(0.01) * (i % 5)
        return {"seed": i % 8, "num_grasps": sizes[i % 3], "points": points}

    with running(lambda: small_engine(batch), waiting=64, batch_wait_s=0.2) as service:
        client = GraspClient(service.url)
        served = at_once(
            clients, lambda i: client.grasps(**small_request(**changes(i), priority=priorities[i % 3]))
        )
        counters = service.ask("/metrics").body.decode().splitlines()
    for i, one in enumerate(served):
        made = expected(model, **changes(i))
        for name in ("hand_pose", "pregrasp_qpos", "squeeze_qpos", "score", "p_stable", "clearance_m"):
            np.testing.assert_array_equal(getattr(one.grasps, name), getattr(made, name))
    calls = next(line for line in counters if line.startswith("sceneleap_batch_requests_count"))
    assert (float(calls.split()[1]) < clients) == (batch > 1)


def test_a_depth_image_with_a_pixel_is_answered(service: Running) -> None:
    from factories.camera_view import TWO, camera_view

    view = camera_view(TWO)
    fields = {
        "depth": np.nan_to_num(view.depth),
        "intrinsics": view.K,
        "pixel": view.pixel(1),
        "num_grasps": 2,
    }
    served = GraspClient(service.url).grasps(**fields)
    assert served.grasps.frame == "camera" and len(served.grasps) == 2
    np.testing.assert_allclose(served.up, view.up, atol=0.02)
    whole = np.nan_to_num(view.depth * 1000).astype(np.uint16)
    plain = {
        "depth": whole,
        "depth_scale": 0.001,
        "intrinsics": {"K": view.K.tolist()},
        "pixel": [*view.pixel(0)],
    }
    answer = service.ask("/v1/grasps", as_json({**plain, "num_grasps": 1}))
    assert answer.status == 200, answer.json


def test_it_says_who_it_is_and_whether_it_is_there(service: Running, model: GraspModel) -> None:
    card = ModelCard.model_validate_json(service.ask("/v1/model").body)
    assert card.joint_names == list(model.hand.joint_names) and card.limits["grasps"] == 256
    np.testing.assert_array_equal(np.array(card.joint_limits), model.hand.joint_limits.numpy())
    assert service.ask("/livez").status == service.ask("/readyz").status == 200
    document = service.ask("/openapi.json").json
    known = document["components"]["schemas"]
    assert {"GraspsRequest", "GraspsAnswer", "Problem", "ModelCard"} <= set(known)
    assert "num_grasps" in known["GraspsRequest"]["properties"]
    assert "sceneleap_requests_total" in service.ask("/metrics").body.decode()


def test_the_page_shows_the_last_grasps_and_nothing_from_elsewhere(service: Running) -> None:
    named = service.ask(
        "/v1/grasps",
        as_json(small_request(frame=HOSTILE, num_grasps=1)),
        X_Request_Id="the-one-that-is-drawn",
    )
    assert named.headers["x-request-id"] == "the-one-that-is-drawn"
    page = service.ask("/").body.decode()
    assert "the-one-that-is-drawn" in page and 'data-drawing="0"' in page
    assert "://" not in page and "<img src=x" not in page


def test_the_settings_of_sampling_are_those_that_there_are() -> None:
    assert set(SamplingChanges.model_fields) == set(Settings("sampling/changes").read()[0])


def test_a_service_that_is_not_there_is_a_sentence() -> None:
    with pytest.raises(ConnectionError, match=r"There is no service at http://127.0.0.1:9 .*sceneleap serve"):
        GraspClient("http://127.0.0.1:9", attempts=1).model()


@contextlib.contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """Answer every connection with these bytes, and hang up."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():
                pass
            self.wfile.write(answer)

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc", b"SSH-2.0-other\r\n"]
)
def test_an_answer_that_is_cut_off_or_none_is_a_sentence(answer: bytes) -> None:
    with answering(answer) as url, pytest.raises(ConnectionError, match=r"There is no service at http://127"):
        GraspClient(url, attempts=1).model()


def test_a_date_to_try_again_at_is_no_error_of_the_client() -> None:
    later = b"HTTP/1.1 503 no\r\nContent-Length: 0\r\nRetry-After: Wed, 21 Oct 2026 07:28:00 GMT\r\n\r\n"
    with answering(later) as url, pytest.raises(ServiceRefusal, match="503"):
        GraspClient(url, attempts=1).model()


def test_a_refusal_reaches_the_caller_of_the_client(service: Running) -> None:
    with pytest.raises(ServiceRefusal, match=r"num_grasps: this service takes at most 256, got 257") as error:
        GraspClient(service.url).grasps(**small_request(num_grasps=257))
    assert error.value.status == 422
