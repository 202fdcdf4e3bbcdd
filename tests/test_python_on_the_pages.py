"""The Python that the pages show runs, on the shipped view, where what it names can be made here.

Of ``docs/extending.md`` tests/test_extending.py runs the files that it quotes; what trains, needs a device or
an export to ONNX is only parsed and imported (tests/test_readme.py).
"""

import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sceneleapultra.hands import load_hand
from sceneleapultra.models import load_grasp_model
from sceneleapultra.utils.core.config import CONFIG_DIR
from sceneleapultra.utils.requests import GraspRequest, Target
from tests.factories.hands import write

ROOT = CONFIG_DIR.parent
pytestmark = pytest.mark.slow


def block(page: str, shows: str) -> str:
    """Return the block of a page that shows a text."""
    found = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    (text,) = [text for text in found if shows in text]
    return text


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a block in a folder that has the shipped models, with what the page says that its reader has."""
    (tmp_path / "model_zoo").symlink_to(ROOT / "model_zoo")
    monkeypatch.chdir(tmp_path)
    view = np.load("model_zoo/example_view.npz")
    K = view["K"]
    request = GraspRequest.from_depth(view["depth"], K, depth_scale=0.001, target=Target(mask=view["mask"]))
    has = {
        "depth": view["depth"],
        **dict(zip(("fx", "fy", "cx", "cy"), (K[0, 0], K[1, 1], K[0, 2], K[1, 2]), strict=True)),
        "points": request.points,
        "mask": request.object_mask,
        "qpos": load_hand("leap_right").rest_qpos,
    }

    def made(text: str, **further: Any) -> dict[str, Any]:
        (tmp_path / "block.py").write_text(text)
        return runpy.run_path(str(tmp_path / "block.py"), init_globals=has | further)

    return made


def test_the_readme(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    grasps = run(block("README.md", "GraspRequest"))["grasps"]
    assert grasps.position.shape == (64, 3) and (np.diff(grasps.score) <= 0).all()
    assert len(capsys.readouterr().out.split()) >= 3 + 4 + 16 + 1


def test_a_depth_image_and_a_pixel(run: Any) -> None:
    view = np.load(ROOT / "model_zoo" / "example_view.npz")
    v, u = np.argwhere(view["mask"]).mean(0).round().astype(int).tolist()
    text = block("docs/camera.md", "Target(pixel=")
    made = run(re.sub(r"pixel=\(\d+, \d+\)", f"pixel=({u}, {v})", text))
    assert {"position", "quat_wxyz", "qpos", "p_stable", "p_collision_free", "clearance_m"} <= made[
        "best"
    ].keys()


def test_a_bundle(run: Any) -> None:
    command = [sys.executable, str(ROOT / "scripts/export_model.py"), "leap_table", "bundles/leap_table"]
    subprocess.run(command, check=True, capture_output=True)
    grasps = run(block("docs/export.md", 'load_grasp_model("bundles'))["grasps"]
    assert grasps.position.shape == (64, 3)


def test_a_hand_by_name_card_and_file(run: Any, tmp_path: Path) -> None:
    (tmp_path / "path/to").mkdir(parents=True)
    write(tmp_path / "path/to", "jaws.urdf").rename(tmp_path / "path/to/hand.urdf")
    (tmp_path / "hands/my_hand").mkdir(parents=True)
    (tmp_path / "hands/my_hand/hand.yaml").write_text("name: mine\ndescription: ../../path/to/hand.urdf\n")
    text = block("docs/hands.md", "forward_kinematics")
    made = run(text, qpos=torch.zeros(3, 1))
    assert made["T_base_body"].shape == (3, len(made["hand"].body_names), 4, 4)


def test_a_left_hand(run: Any) -> None:
    text = block("docs/hands.md", "MirroredModel.of")
    model = run(text, load_grasp_model=load_grasp_model, load_hand=load_hand)["model"]
    assert model.hand.name == "leap_left"
