"""predict.py: mistakes that need no model are answered before one is loaded; what it writes can be read back."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh

from factories.camera_view import TWO, camera_view
from sceneleapultra.utils.core.config import CONFIG_DIR

ROOT = CONFIG_DIR.parent
SCENE = str(ROOT / "model_zoo" / "example_scene.h5")
NO_TORCH = """
import runpy, sys
sys.argv = ["predict.py", *sys.argv[1:]]
sys.path[0] = "scripts"
try:
    runpy.run_path("scripts/predict.py", run_name="__main__")
finally:
    assert "torch" not in sys.modules and "mujoco" not in sys.modules
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of a camera, some of them wrong."""
    view = camera_view(TWO)
    np.savez(tmp_path / "two.npz", depth=view.depth, K=view.K)
    np.savez(tmp_path / "one.npz", depth=view.depth, K=view.K, mask=view.box == 0)
    np.save(tmp_path / "mm.npy", np.nan_to_num(view.depth * 1000).astype(np.uint16))
    np.save(tmp_path / "mask7.npy", np.ones(7, bool))
    np.save(tmp_path / "logits.npy", np.where(view.box == 0, 3.0, -4.0))
    np.save(tmp_path / "km.npy", view.points.reshape(-1, 3) * 0.001)
    np.save(tmp_path / "same.npy", np.full((2000, 3), 0.5))
    (tmp_path / "afile").write_text("x")
    trimesh.creation.box((0.05, 0.05, 0.05)).export(tmp_path / "box.obj")
    return tmp_path


@pytest.mark.untyped  # a command line gives lists where a call has tuples
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("one.npz", "--output", "afile/x"),
            "afile/x: a part of this path is a file where a folder is needed",
        ),
        (("box.obj", "--protocol", "dgb-fcc"), "Unknown protocol 'dgb-fcc'. Did you mean 'dgb-fc'?"),
        (("one.npz", "--sampling.temperature", "cold"), "sampling.temperature: expected a number, got cold."),
        (("one.npz", "--sampling.temperature", "-1"), "temperature must not be negative, got -1"),
        (("one.npz", "--sampling.steps", "0"), "steps must be at least 1, got 0"),
        (("one.npz", "--sampling.guidance", "scor"), "Did you mean 'score'?"),
        (("one.npz", "--num-grasps", "-3"), "--num-grasps: expected at least 1, got -3."),
        (("one.npz", "--retarget"), "--retarget: no hand is named that could take over the model's grasps."),
        (
            ("one.npz", "--num-grasps", "4", "--best", "5"),
            "--best: expected 1 to 4, the number of grasps, got 5.",
        ),
        (
            ("one.npz", "--hypotheses", "4"),
            "--hypotheses 4: they are of a completion, and none is named. Pass --completion CHECKPOINT.",
        ),
        (("one.npz", "--checkpoint", "leap_tabel"), "Unknown model 'leap_tabel'. Did you mean 'leap_table'?"),
        (("one.npz", "--checkpoint", "none.ckpt"), "No checkpoint at none.ckpt."),
        (("nothere.ply",), "There is no depth image, cloud or mesh at nothere.ply."),
        (("nothere.obj",), "There is no mesh at nothere.obj."),
        (("mm.npy", "--depth-scale", "0.001"), "Pass --intrinsics FX FY CX CY (pixels)"),
        (("mm.npy", "--intrinsics", "150", "150", "79.5", "59.5"), "of which unit? Pass --depth-scale 0.001"),
        (("two.npz",), "2 objects stand on the table. Name one: --object N"),
        (("two.npz", "--object", "3"), "--object 3: expected 1 to 2."),
        (("two.npz", "--object", "1", "--any-object"), "--any-object and --object both name the object."),
        (("two.npz", "--pixel", "3", "100"), "--pixel 3 100 shows the table"),
        (("two.npz", "--mask", "above-table"), "--mask: there is no file above-table."),
        (("two.npz", "--mask", "mask7.npy"), "expected booleans, one per point, shape (120, 160)"),
        (("two.npz", "--mask", "logits.npy"), "expected booleans, or 0 and 1; got float64"),
        (("one.npz", "--seed", "-1"), "--seed: expected 0 or more, got -1."),
        (("one.npz", "--up", "0", "0", "0"), "up must point against gravity"),
        (("one.npz", "--viewpoint", "nan", "0", "0"), "viewpoint: expected three finite numbers"),
        (("km.npy", "--mask", "all"), "points must be in metres"),
        (("same.npy", "--mask", "all"), "all 2,000 points are one and the same"),
        ((SCENE,), "shows 8 objects (1 blob-828007, 2 box-828007,"),
        ((SCENE, "--object", "9"), "there is no 9. Name one: --object N."),
        ((SCENE, "--any-object"), "--any-object chooses in what a camera saw."),
        (("none.h5", "--object", "1"), "none.h5"),
        ((SCENE, "--at", "0.1", "0", "0.05"), "--at: no meaning for a data set"),
        (("box.obj", "--up", "0", "1", "0", "--object", "2"), "--up --object: no meaning for a mesh"),
        (("box.obj", "--viewpoint", "0", "0", "1"), "--viewpoint: no meaning for a mesh"),
        (("one.npz", "--repair"), "--repair: no meaning for what a camera saw"),
    ],
)
def test_mistakes_that_need_no_model(
    run_program: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    words: tuple[str, ...],
    sentence: str,
) -> None:
    def load(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.chdir(folder)
    monkeypatch.setattr("sceneleapultra.models.load_grasp_model", load)
    assert run_program("predict", *words) == 1
    said = capsys.readouterr().err
    assert sentence.lower() in said.lower() and "Traceback" not in said


@pytest.mark.parametrize("words", [("two.npz",), ("one.npz", "--output", "afile/x")])
def test_and_neither_torch_nor_mujoco(folder: Path, words: tuple[str, ...]) -> None:
    name, *rest = words
    rest = [str(folder / word) if word.startswith("afile") else word for word in rest]
    command = [sys.executable, "-c", NO_TORCH, str(folder / name), *rest]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "stand on the table" in done.stderr or "a part of this path is a file" in done.stderr


@pytest.mark.slow
def test_the_shipped_view_is_grasped_without_an_argument(
    run_program: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run_program("predict", "--num-grasps", "8", "--output", tmp_path) == 0
    said = capsys.readouterr().out
    assert "up measured: (" in said and "camera tilted" in said
    assert said.splitlines()[-1].split() == ["view", str(tmp_path / "grasps.html")]
    grasps = json.loads((tmp_path / "grasps.json").read_text())
    assert grasps["frame"] == "camera" and len(grasps["grasps"]) == 8 and grasps["warnings"] == []
    with np.load(tmp_path / "grasps.npz") as arrays:
        np.testing.assert_array_equal(arrays["hand_pose"][:, :3], [g["position"] for g in grasps["grasps"]])
        assert (arrays["p_stable"] * arrays["p_collision_free"]).max() > 0.5
    assert (tmp_path / "grasps.png").stat().st_size > 100_000
    assert "metres" not in said and "expected to succeed" in (tmp_path / "grasps.html").read_text()


@pytest.mark.slow
def test_the_demo_picks_the_mug_out_of_the_clutter(
    run_program: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run_program("predict", SCENE, "--object", "6", "--num-grasps", "8", "--output", tmp_path) == 0
    said = capsys.readouterr().out
    assert "mug-828007 among 8 objects" in said and "the best-scored one is picked" in said
    with np.load(tmp_path / "grasps.npz") as arrays:
        assert arrays["picked"].sum() >= 6 and arrays["picked"][0]  # 32 of 32 when this was written
        np.testing.assert_array_equal(arrays["stable"], arrays["picked_cleanly"])
        assert (np.diff(arrays["score"]) <= 0).all()
    page = (tmp_path / "grasps.html").read_text()
    assert "grasp 1: picked cleanly" in page and page.count('class="view"') == 8
