"""Do the graphs of a bundle compute what the network does, and does an interpreter without torch make its grasps?"""

import subprocess
import sys
import tomllib
from dataclasses import replace
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement

from factories.models import small_generator, small_ptv3
from factories.shipped import LEAP_TABLE
from sceneleapultra.models import load_grasp_model
from sceneleapultra.models.export.onnx import check_exportable
from sceneleapultra.utils.core.config import CONFIG_DIR

ROOT = CONFIG_DIR.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# What a robot's program does.
PROGRAM = """
import sys
import numpy as np
from sceneleapultra import load_onnx_model
asked = dict(np.load(sys.argv[2]))
model = load_onnx_model(sys.argv[1], threads=1)
made = model.sample(asked["points"], 24, object_mask=asked["mask"], up=(0, 0, 1), viewpoint=(0.5, 0.1, 0.5), seed=5,
    sampling={"rank": "none"})
np.savez(sys.argv[3], **{name: getattr(made, name) for name in
    ("hand_pose", "pregrasp_qpos", "squeeze_qpos", "score", "p_stable", "p_collision_free", "clearance_m")},
    warnings=np.array(made.warnings), joint_names=np.array(made.joint_names), nfe=made.nfe)
"""


def environment_of(extra: str, folder: Path) -> Path:
    """Return the Python of an environment that has what an installation with an extra brings, and nothing else."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = (folder / "lib").glob("python*/site-packages")
    todo, seen = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"][extra]], set()
    while todo:
        requirement = Requirement(todo.pop())
        if requirement.name in seen or (
            requirement.marker and not requirement.marker.evaluate({"extra": ""})
        ):
            continue
        seen.add(requirement.name)
        found = distribution(requirement.name)
        todo += found.requires or []
        for entry in {file.parts[0] for file in found.files or []} - {"..", "__pycache__"}:
            if not (packages / entry).exists():
                (packages / entry).symlink_to(found.locate_file(entry))
    assert "numpy" in seen and not {"torch", "mujoco", "hydra-core", "pydantic", "h5py"} & seen
    return folder / "bin" / "python"


@pytest.mark.slow
def test_what_needs_torch_says_what_to_install(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    python = environment_of("runtime", tmp_path / "venv")
    program = "import sceneleapultra as s\ntry:\n    s.load_grasp_model\nexcept ImportError as error:\n    print(error)"
    options = {"cwd": tmp_path, "env": {"PYTHONPATH": str(ROOT)}, "capture_output": True, "text": True}
    said = subprocess.run([python, "-c", program], **options).stdout
    assert said.startswith("load_grasp_model needs ") and "pip install 'sceneleapultra[train]'" in said
    verb = subprocess.run([python, "-m", "sceneleapultra", "train"], **options)
    assert verb.returncode == 1 and len(verb.stderr.splitlines()) == 1
    assert verb.stderr.startswith("torch, pytorch-lightning, hydra-core and 14 more are not installed")


@pytest.mark.slow
@pytest.mark.traced
def test_a_bundle_with_graphs(tmp_path: Path) -> None:
    """One export, which takes a minute, and all that is asked of it."""
    pytest.importorskip("onnxscript")
    from benchmarks.export_parity import parity, sample_parity, scene
    from sceneleapultra.models.bundle.write import write_bundle
    from sceneleapultra.serving.engine import Engine
    from sceneleapultra.serving.reading import Work
    from sceneleapultra.serving.runtime import load_onnx_model
    from sceneleapultra.serving.schema import GraspSettings
    from sceneleapultra.utils.requests import GraspRequest, Target

    cloud = scene(1, 3000, seed=1)
    points, mask = cloud["points"][0].numpy(), cloud["target"][0].numpy()
    model, bundle = load_grasp_model(LEAP_TABLE), tmp_path / "bundle"
    request = GraspRequest.from_points(
        points, target=Target(mask=mask), up=(0, 0, 1), viewpoint=(0.5, 0.1, 0.5)
    )
    write_bundle(model, request, bundle, onnx=True)

    rows = list(parity(model.generator, bundle))
    assert len({(row["graph"], row["b"], row["n"]) for row in rows}) == 7 * 9
    # From double precision the graphs are as far as torch's own rounding. The greatest errors are others on each
    # kind of processor, and where two points are as near, single precision may choose the other: two rows may.
    graph, single = (np.array([row[kind] for row in rows]) for kind in ("apart", "torch_apart"))
    assert np.median(graph) <= max(1e-6, 2.0 * np.median(single))
    assert np.sum(graph > np.maximum(1e-5, 2.0 * single)) <= 2
    assert np.sum(graph > 5e-5) <= 2 and np.sum(single > 5e-5) <= 2
    for row in sample_parity(model.generator, bundle):
        for name, least in (("pose", 1e-5), ("odds", 2e-5)):  # single precision may choose another point
            assert row["onnx"][name] <= max(least, 2.0 * row["torch"][name]), row

    np.savez(tmp_path / "asked.npz", points=points, mask=mask)
    words = [
        environment_of("runtime", tmp_path / "venv"),
        "-c",
        PROGRAM,
        str(bundle),
        str(tmp_path / "asked.npz"),
        str(tmp_path / "made.npz"),
    ]
    done = subprocess.run(words, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    settings = {"object_mask": mask, "up": (0, 0, 1), "viewpoint": (0.5, 0.1, 0.5), "seed": 5}
    expected = model.sample(points, 24, sampling={"rank": "none"}, **settings)
    with np.load(tmp_path / "made.npz") as made:
        for name in (
            "hand_pose",
            "pregrasp_qpos",
            "squeeze_qpos",
            "clearance_m",
            "p_stable",
            "p_collision_free",
        ):
            np.testing.assert_allclose(made[name], getattr(expected, name), rtol=0, atol=1e-5, err_msg=name)
        assert (
            tuple(made["warnings"]) == expected.warnings
            and tuple(made["joint_names"]) == expected.joint_names
        )
        assert int(made["nfe"]) == expected.nfe

    served = Engine.load_onnx(str(bundle))
    assert served.batch == 1 and served.hand.name == "leap_right" and served.device == "onnxruntime"
    work = Work(request, GraspSettings(num_grasps=6, seed=3), ())
    alone = served.answer([work])[0]
    beside = served.answer([work, replace(work, settings=GraspSettings(num_grasps=2)), work])
    for answer in (beside[0], beside[2], served.answer([work])[0]):
        assert np.array_equal(answer.grasps.hand_pose, alone.grasps.hand_pose)
        assert np.array_equal(answer.grasps.score, alone.grasps.score)
        assert np.array_equal(answer.waypoints, alone.waypoints)
    engine = load_onnx_model(bundle, threads=1)
    clear, same = (m.sample_request(request, 8, sampling={"rank": "clearance"}) for m in (engine, model))
    np.testing.assert_allclose(clear.score, same.score, rtol=0, atol=1e-3)
    assert (np.diff(clear.score) <= 0).all()
    guided = engine.sample_request(request, 8, sampling={"guidance": "score", "steps": 4}, trajectory=True)
    assert "not moved up the score head's gradient" in guided.warnings[0]
    assert guided.trajectory is not None and guided.trajectory.shape == (5, 8, 23) and guided.nfe == 8
    with pytest.raises(ValueError, match="reads no prompts"):
        engine.sample_request(request, 8, prompt="mug")
    (bundle / "score.onnx").write_bytes((bundle / "score.onnx").read_bytes()[:-1])
    with pytest.raises(ValueError, match="were written"):
        load_onnx_model(bundle)


def test_what_has_no_form_in_onnx_is_named() -> None:
    with pytest.raises(ValueError, match=r"encoder\.architecture\.attention=varlen has no form in ONNX"):
        check_exportable(small_generator(encoder=small_ptv3(attention="varlen")))
