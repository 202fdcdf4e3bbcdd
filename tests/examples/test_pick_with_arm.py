"""From a service's answer to an object in the air: the arm of the example picks one that a camera saw."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import trimesh

pytest.importorskip("mink", reason="the extra 'arm' is not installed")
pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")
pytest.importorskip("prometheus_client", reason="the extra 'serve' is not installed")

from factories.services import running
from sceneleapultra.evaluation.requests import request_from_mesh
from sceneleapultra.serving.engine import Engine
from sceneleapultra.simulation.protocols import get_protocol
from sceneleapultra.utils.core.config import CONFIG_DIR, build, load_group


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "pick_with_arm", CONFIG_DIR.parent / "examples" / "pick_with_arm.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_arm_picks_what_a_service_found_grasps_for(example: ModuleType, tmp_path: Path) -> None:
    trimesh.creation.box((0.06, 0.06, 0.1)).export(tmp_path / "box.obj")
    _, item = request_from_mesh(tmp_path / "box.obj", seed=0)

    def load() -> Engine:
        return Engine.load("leap_table", device="cpu", plugins=[], batch=1)

    with running(load) as service:
        hand, grasps_for = example.asked_of(service.url, seed=0)
        found = grasps_for(item, 16)
    own_hand, own = example.model_in_this_process("leap_table", seed=0)
    assert hand.name == own_hand.name == "leap_right"
    # The answer is what the model gives here, best first.
    here = own(item, 16)
    assert {pose.tobytes() for pose in found.hand_pose} == {pose.tobytes() for pose in here.hand_pose}

    cell = example.Cell(build(load_group("arm", "seven_axis")), hand, get_protocol("scene-lift"))
    stills: list = []
    row = example.pick_one(cell, item, found, tries=16, stills=stills)
    assert row["outcome"] == "success" and row["picked"] and row["picked_cleanly"]
    heights = [next(m for m in still.meshes if m.role == "object").vertices[:, 2].min() for still in stills]
    assert np.abs(heights[0]) < 0.005 and heights[-1] > 0.05


def test_an_arm_without_a_service_says_where_it_asked(example: ModuleType) -> None:
    with pytest.raises(ConnectionError, match="There is no service at"):
        example.asked_of("http://127.0.0.1:1", seed=0)
