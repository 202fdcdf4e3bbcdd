"""Do the ROS 2 messages say what their definitions ask for, and does the tool answer what the service does?"""

import asyncio
import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")
pytest.importorskip("prometheus_client", reason="the extra 'serve' is not installed")

from factories.camera_view import camera_view
from factories.services import running, small_request
from sceneleapultra.serving import ros2
from sceneleapultra.serving.client import GraspClient
from sceneleapultra.serving.ros2 import goal_as_request, served_as_result

FOLDER = Path(ros2.__file__).parent
HEADER = {"stamp": {"sec": 3, "nanosec": 4}, "frame_id": "camera_optical"}


def fields_of(definition: str) -> list[str]:
    lines = (line.partition("#")[0].split() for line in definition.splitlines())
    return [words[1] for words in lines if len(words) == 2]


def goal(points: np.ndarray, index: np.ndarray, **changes: Any) -> dict[str, Any]:
    """A goal whose cloud has a color beside each point, and padded rows, as drivers write them."""
    layout = np.dtype({"names": list("xyz"), "formats": ["<f4"] * 3, "offsets": [0, 4, 8], "itemsize": 20})
    records = np.zeros(len(points), dtype=layout)
    for axis, name in enumerate("xyz"):
        records[name] = points[:, axis]
    rows = np.zeros((2, len(points) // 2 * 20 + 12), dtype=np.uint8)
    rows[:, :-12] = records.view(np.uint8).reshape(2, -1)
    cloud = {
        "header": HEADER,
        "height": 2,
        "width": len(points) // 2,
        "fields": [{"name": n, "offset": 4 * i, "datatype": 7, "count": 1} for i, n in enumerate("xyz")],
        "is_bigendian": False,
        "point_step": 20,
        "row_step": rows.shape[1],
        "data": rows.tobytes(),
        "is_dense": True,
    }
    up = [{"x": 0.0, "y": 0.0, "z": 1.0}]
    viewpoint = [{"x": 0.5, "y": 0.0, "z": 0.5}]
    fields = {
        "cloud": cloud,
        "object_indices": index.tolist(),
        "up": up,
        "viewpoint": viewpoint,
        "num_grasps": 4,
    }
    return {**fields, "best": 0, "seed": 5, "deadline_s": 0.0, **changes}


def test_a_goal_becomes_a_request_and_its_answer_the_result() -> None:
    request = small_request(seed=5)
    asked = goal(request["points"], np.flatnonzero(request["mask"]))
    parts = (FOLDER / "GenerateGrasps.action").read_text().split("---")
    assert list(asked) == fields_of(parts[0])
    with running() as service:
        client = GraspClient(service.url)
        served = client.grasps(**goal_as_request(asked))
        direct = client.grasps(**request)
    np.testing.assert_array_equal(served.grasps.hand_pose, direct.grasps.hand_pose)
    result = served_as_result(served, HEADER)
    assert list(result) == fields_of(parts[1]) and result["header"] == HEADER
    first = result["grasps"][0]
    assert list(first) == fields_of((FOLDER / "GraspCandidate.msg").read_text())
    turned = first["pose"]["orientation"]
    assert [turned[k] for k in "wxyz"] == direct.grasps.quat_wxyz[0].tolist()
    assert first["waypoints"][-1] == first["pose"]
    json.dumps(result)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"object_indices": [400]}, "object_indices: expected less than 400, the number of points, got 400."),
        ({"fields": []}, "cloud: expected the fields x, y and z as FLOAT32 or FLOAT64, got none."),
        ({"width": 300}, "do not fit the 8024 bytes of its data."),
    ],
)
def test_a_goal_that_makes_no_sense_is_a_sentence(changes: dict[str, Any], sentence: str) -> None:
    request = small_request()
    odd = goal(request["points"], np.flatnonzero(request["mask"]))
    for name, value in changes.items():
        (odd if name in odd else odd["cloud"])[name] = value
    with pytest.raises(ValueError, match=re.escape(sentence)):
        goal_as_request(odd)


def test_the_tool_answers_what_the_service_does(tmp_path: Path) -> None:
    pytest.importorskip("mcp", reason="the extra 'mcp' is not installed")
    from mcp import Client

    from sceneleapultra.serving.tool import build_tool

    view = camera_view()
    np.savez(tmp_path / "view.npz", depth=view.depth, K=view.K)

    async def call(server: Any, name: str, arguments: dict[str, Any]) -> Any:
        async with Client(server) as client:
            assert {tool.name for tool in (await client.list_tools()).tools} == {
                "generate_grasps",
                "describe_hand",
            }
            return await client.call_tool(name, arguments)

    with running() as service, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library about itself
        server = build_tool(GraspClient(service.url))
        arguments = {"file": str(tmp_path / "view.npz"), "num_grasps": 2, "best": 1}
        answer = asyncio.run(call(server, "generate_grasps", arguments))
        made = json.loads(answer.content[0].text)
        direct = GraspClient(service.url).grasps(points=view.points, num_grasps=2, best=1, frame="camera")
        assert made["grasps"] == direct.to_dict()["grasps"] and made["joint_names"] == list(
            direct.grasps.joint_names
        )
        wrong = asyncio.run(
            call(server, "generate_grasps", {**arguments, "file": str(tmp_path / "none.npz")})
        )
        assert wrong.is_error and "There is no depth image" in wrong.content[0].text
