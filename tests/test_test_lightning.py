"""Does a test run from checkpoint to report, and is wrong input answered by its sentence?"""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from factories.shipped import LEAP_TABLE_CPU
from sceneleapultra import test_lightning, train_lightning
from sceneleapultra.evaluation import suite
from sceneleapultra.evaluation.callback import SimulatedSuccess
from sceneleapultra.models import load_grasp_model
from sceneleapultra.utils.core.config import CONFIG_DIR, load_group

ROOT = Path(__file__).resolve().parent.parent
MODEL = [
    "experiment=quickstart",
    *("logger=csv", "callbacks=default"),
    *("callbacks.simulation.max_items=1", "callbacks.simulation.samples_per_item=1"),
    *("callbacks.simulation.sampling.steps=2", "callbacks.simulation.workers=1"),
    "trainer.max_steps=2",
    "trainer.val_check_interval=2",
    "scheduler.warmup_steps=1",
    "model.generator.encoder.dim=16",
    "model.generator.encoder.levels.fine.widths=[16,16]",
    "model.generator.encoder.levels.coarse.widths=[16,16]",
    "model.generator.encoder.levels.fine.centers=32",
    "model.generator.encoder.levels.coarse.centers=16",
    "model.generator.encoder.levels.fine.neighbors=[8]",
    "model.generator.encoder.levels.coarse.neighbors=[8]",
    "model.generator.decoder.dim=16",
    "model.generator.decoder.depth=1",
    "model.generator.decoder.heads=2",
    "model.generator.heads.score.widths=[8, 8]",
    "model.generator.heads.score.dim=16",
    "data.loading.workers=0",
    "data.cloud.num_points=256",
    "data.min_points=20",
    "data.batch_size=4",
]
FAST = [
    "protocol=dgb-fc-quick",
    "max_items=1",
    "samples_per_item=2",
    "tuning.max_items=1",
    "tuning.temperatures=[0.3,0.7]",
    "tuning.samples_per_item=1",
    "top.samples=3",
    "top.keep=1",
    "top.max_items=1",
    "pictures=2",
    "workers=1",
    "sampling.steps=2",
    "min_points=20",
]


@pytest.fixture(scope="module")
def run_dir(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that trained for two steps."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("config", overrides=[*MODEL, f"data.store={tiny_store}", f"run_dir={folder}"])
    train_lightning.train(cfg, [])
    return folder


@pytest.fixture
def checkpoint(run_dir: Path) -> Path:
    return run_dir / "checkpoints" / "last.ckpt"


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose("test", overrides=[*FAST, *overrides])


def refusal(*overrides: str) -> str:
    """Run a test that must be refused; return the message."""
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        test_lightning.test(composed(*overrides))
    return str(error.value)


def test_from_checkpoint_to_report(run_dir: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]):
    document = test_lightning.test(composed(f"checkpoint={checkpoint}"))
    (output,) = (run_dir / "tests").iterdir()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d-[0-9a-f]{8}", output.name)
    assert {path.name for path in output.iterdir()} == {
        "results.json",
        "report.html",
        "grasps.npz",
        "methods.npz",
        "lock",
    } | {path.name for path in output.glob("grasps.png")}
    written = json.loads((output / "results.json").read_text())
    assert written == json.loads(json.dumps(document))
    methods = [(entry["method"], entry["split"]) for entry in written["methods"]]
    names = (
        "model",
        "model, best 1 of 3 by stable",
        "model, best 1 of 3 by score",
        "nearest training view",
        "nearest view, height kept",
        "random training grasp",
        "initial palm pose",
        "nearest training object",
        "generator, its tries",
    )
    assert methods == [(name, split) for split in ("test", "test_family") for name in names]
    assert written["methods"][0]["summary"]["num_grasps"] == 2
    assert len(written["methods"][0]["rows"]["stable"]) == 2
    facts = written["provenance"]
    for key in ("command", "commit", "seed", "data hash", "protocol", "cores", "versions", "config"):
        assert key in facts
    assert facts["protocol"].startswith("dgb-fc-quick (")
    assert "tuned on validation objects" in facts["model temperature"]
    assert written["tuning"]["temperature"] in (0.3, 0.7)
    page = (output / "report.html").read_text()
    assert "http://" not in page and "https://" not in page
    for name in names:
        assert name in page
    kept = np.load(output / "grasps.npz")
    assert kept["test/hand_pose"].shape == (2, 23)
    others = np.load(output / "methods.npz")
    for number, method in enumerate(written["methods"]):
        assert method["role"] == "model" or len(others[f"{number}/hand_pose"]) == len(method["rows"]["item"])
    said = capsys.readouterr().out
    assert "report.html" in said
    assert "nearest training view" in said


@pytest.mark.slow
def test_a_test_that_was_cut_off_goes_on_in_its_folder(
    run_dir: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
):
    few = ["splits=[test]", "top=null", "pictures=0", "sampling.temperature=0.4", f"checkpoint={checkpoint}"]
    known = set((run_dir / "tests").glob("*"))
    evaluated: list[str] = []
    evaluate = suite.evaluate_method

    def cut_off_at(stop: str | None) -> dict[str, Any]:
        def counted(method: Any, *args: Any, **options: Any) -> Any:
            if method.name == stop:
                raise KeyboardInterrupt
            evaluated.append(method.name)
            return evaluate(method, *args, **options)

        monkeypatch.setattr(suite, "evaluate_method", counted)
        return test_lightning.test(composed(*few))

    with pytest.raises(KeyboardInterrupt):
        cut_off_at("initial palm pose")
    before = list(evaluated)
    document = cut_off_at(None)
    assert "model" in before and not set(before) & set(evaluated[len(before) :])
    (output,) = set((run_dir / "tests").glob("*")) - known
    assert not list(output.glob("parts*"))

    evaluated.clear()
    again = cut_off_at(None)  # a test that is done is another one when it is repeated
    assert evaluated and again["methods"] == document["methods"]
    assert len(set((run_dir / "tests").glob("*")) - known) == 2


@pytest.mark.slow
def test_a_checkpoint_in_no_run_folder_is_tested_elsewhere(
    checkpoint: Path, tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SCENELEAPULTRA_RUNS", str(tmp_path / "runs"))
    (tmp_path / "shipped").mkdir()
    alone = shutil.copy(checkpoint, tmp_path / "shipped/model.ckpt")
    few = ["splits=[test]", "top=null", "baselines={}", "pictures=0", f"store={tiny_store}"]
    test_lightning.test(composed(*few, f"checkpoint={alone}"))
    assert [path.name for path in (tmp_path / "shipped").iterdir()] == ["model.ckpt"]
    (output,) = (tmp_path / "runs/shipped/tests").iterdir()
    assert (output / "report.html").is_file()


def test_a_trial_and_a_metric_from_outside_reach_results_and_report(
    trial_plugin: str, checkpoint: Path, tmp_path: Path
):
    few = ["splits=[test]", "top=null", "baselines=null", "pictures=0", "sampling.temperature=0.3"]
    cfg = composed(*few, f"checkpoint={checkpoint}", f"output={tmp_path / 'out'}")
    cfg.protocol.name = "hang"
    cfg.protocol.trial = {
        "_target_": f"{trial_plugin}.trial.Hang",
        "approach": cfg.protocol.trial.approach,
        "steps": 5,
    }
    cfg.metrics = {"palm": {"_target_": f"{trial_plugin}.metric.palm_height"}}
    (entry,) = test_lightning.test(cfg)["methods"]
    assert entry["summary"]["protocol"] == "hang"
    for key, column in (("sag_mm", "sag_m"), ("palm_height_mm", "palm_height_m")):
        assert entry["summary"][key] == pytest.approx(1e3 * np.mean(entry["rows"][column]), abs=1e-2)
    page = (tmp_path / "out" / "report.html").read_text()
    for words in (
        "sag mm",
        "How far the object sank.",
        "palm height mm",
        "Height of the hand above the object.",
    ):
        assert words in page


def test_a_shipped_model_by_name_lifts_out_of_scenes(tiny_store: Path, tmp_path: Path):
    others = [entry for entry in FAST if not entry.startswith("protocol=")]
    few = ["splits=[test]", "top=null", "baselines=null", "pictures=1", "sampling.temperature=0.3"]
    where = [f"checkpoint={LEAP_TABLE_CPU}", f"store={tiny_store}", f"output={tmp_path}"]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("test", overrides=[*others, *few, *where, "protocol=scene-lift"])
    (entry,) = test_lightning.test(cfg)["methods"]
    rows = entry["rows"]
    assert entry["summary"]["picked_cleanly"]["trials"] == 2
    assert entry["summary"]["picked_cleanly"]["successes"] == sum(rows["picked_cleanly"])
    np.testing.assert_allclose(np.linalg.norm(rows["approach_m"], axis=1), 0.12, atol=1e-5)
    kept = np.load(tmp_path / "grasps.npz")
    np.testing.assert_allclose(kept["test/approach"], rows["approach_m"], atol=1e-6)
    assert "test: picked cleanly" in (tmp_path / "report.html").read_text()


@pytest.mark.slow
def test_a_tuning_is_used_again_and_a_number_needs_none(run_dir: Path, checkpoint: Path, tmp_path: Path):
    few = ["splits=[test]", "top=null", "baselines={}", f"checkpoint={checkpoint}"]
    few += [f"output={tmp_path}", "pictures=0"]
    first = test_lightning.test(composed(*few))
    before = (run_dir / "tuning.json").stat().st_mtime_ns
    again = test_lightning.test(composed(*few))
    assert (run_dir / "tuning.json").stat().st_mtime_ns == before
    assert again["methods"] == first["methods"]  # deterministic, too
    named = test_lightning.test(composed(*few, "sampling.temperature=0.5"))
    assert named["tuning"] is None
    assert named["provenance"]["model temperature"] == "0.5, given on the command line"


def test_a_missing_checkpoint():
    said = refusal("checkpoint=runs/nothing.ckpt")
    assert said.startswith(
        "No checkpoint at runs/nothing.ckpt. Train one with train_lightning.py, or name a shipped"
    )


def test_a_missing_store(checkpoint: Path):
    said = refusal(f"checkpoint={checkpoint}", "store=data/nothing.h5")
    assert "no store at data/nothing.h5. Make it with: python scripts/generate_dataset.py" in said


def test_what_this_model_cannot_take_is_refused_before_anything_is_sampled(checkpoint: Path):
    said = refusal(f"checkpoint={checkpoint}", "sampling.solver=prior", "sampling.steps=1")
    assert said.startswith(
        "solver=prior draws the codes of a CVAE; this model was trained on process=cosine."
    )
    said = refusal(f"checkpoint={checkpoint}", "prompt=category")
    assert said.startswith("This model was trained without positive_prompt, so it cannot take 'category'.")


def test_a_checkpoint_that_lies_in_no_run_folder(checkpoint: Path, tmp_path: Path):
    alone = shutil.copy(checkpoint, tmp_path / "alone.ckpt")
    said = refusal(f"checkpoint={alone}")
    assert "so its store is unknown. Pass store=<file>." in said


def test_a_checkpoint_of_another_frame(checkpoint: Path, tiny_store: Path, tmp_path: Path):
    content = torch.load(checkpoint, weights_only=True)
    for key in list(content):
        if key == "state_dict" or key == "current_model_state":
            for name, value in content[key].items():
                if isinstance(value, dict) and "frame" in value:
                    content[key][name] = {**value, "frame": "camera"}
    torch.save(content, tmp_path / "camera.ckpt")
    said = refusal(f"checkpoint={tmp_path / 'camera.ckpt'}", f"store={tiny_store}")
    assert "trained on poses in frame 'camera'" in said
    assert "Use a checkpoint of one of them" in said


def test_an_unknown_split(checkpoint: Path):
    said = refusal(f"checkpoint={checkpoint}", "splits=[tests]")
    assert said.startswith("Unknown split 'tests'. Did you mean 'test'?")


def test_a_split_without_items(checkpoint: Path):
    said = refusal(f"checkpoint={checkpoint}", "sampling.temperature=0.5", "min_points=100000")
    assert "has no item in split test (targets with at least 100000 visible points)" in said


@pytest.mark.slow
def test_errors_of_perception_have_a_row_each_beside_the_models_own(checkpoint: Path, tmp_path: Path):
    few = ["splits=[test]", "top=null", "baselines=null", "pictures=0", "sampling.temperature=0.5"]
    masks = ["mask_eroded", "mask_dilated", "mask_shifted"]  # this store's cameras have no image
    errors = ["robustness=all", *(f"~robustness.{name}" for name in masks)]
    document = test_lightning.test(composed(*few, f"checkpoint={checkpoint}", f"output={tmp_path}", *errors))
    rows = {entry["method"]: entry for entry in document["methods"]}
    names = ["model", *(f"model, {name}" for name in load_group("robustness", "all") if name not in masks)]
    assert list(rows) == names
    assert {entry["role"] for name, entry in rows.items() if name != "model"} == {"robustness"}
    page = (tmp_path / "report.html").read_text()
    assert all(name in page for name in names)
    with np.load(tmp_path / "grasps.npz") as kept:  # the model's own
        assert len(kept["test/hand_pose"]) == 2


@pytest.mark.slow
def test_thinner_clouds_give_other_grasps_of_the_same_items(checkpoint: Path, tmp_path: Path):
    few = ["splits=[test]", "top=null", "baselines=null", "pictures=0", "sampling.temperature=0.5"]
    few += [f"checkpoint={checkpoint}", f"output={tmp_path}"]
    made = []
    for share in (1.0, 0.5, 0.5):
        document = test_lightning.test(composed(*few, f"points_share={share}"))
        with np.load(tmp_path / "grasps.npz") as kept:
            made.append((document["methods"][0]["rows"]["item"], kept["test/hand_pose"]))
    assert made[0][0] == made[1][0] == made[2][0]
    assert not np.allclose(made[0][1], made[1][1])
    np.testing.assert_array_equal(made[1][1], made[2][1])


@pytest.mark.parametrize(
    ("share", "sentence"),
    [
        (0.01, "points_share=0.01 leaves an item 2 points of its target, the model's encoder needs 8."),
        (0.0, "points_share=0.0: expected a share above 0 and at most 1."),
    ],
)
def test_too_thin_clouds(checkpoint: Path, share: float, sentence: str):
    said = refusal(f"checkpoint={checkpoint}", "sampling.temperature=0.5", f"points_share={share}")
    assert said.startswith(sentence)


def test_training_logs_success_and_keeps_the_best_by_it(run_dir: Path):
    with (run_dir / "metrics.csv").open() as file:
        logged = [row for row in csv.DictReader(file) if row.get("val/stable")]
    assert [float(row["val/stable"]) for row in logged] in ([0.0], [1.0])  # one grasp
    assert all(row["val/penetration_mm"] for row in logged)
    assert (run_dir / "checkpoints" / "best.ckpt").is_file()


def test_success_during_training_is_the_judges(checkpoint: Path, tiny_store: Path):
    settings: dict[str, Any] = {"max_items": 2, "min_points": 20, "samples_per_item": 2, "pictures": 2}
    settings |= {"protocol": "dgb-fc-quick", "sampling": {"solver": "ddim", "steps": 2, "temperature": 0.5}}
    callback = SimulatedSuccess(store=str(tiny_store), min_clearance_m=0.0, workers=1, seed=0, **settings)
    model = load_grasp_model(checkpoint)
    first, second = callback.evaluate(model), callback.evaluate(model)
    assert first.split == "val" and len(first.table) == 4
    np.testing.assert_array_equal(first.grasps.hand_pose, second.grasps.hand_pose)
    np.testing.assert_array_equal(first.table["penetration_m"], second.table["penetration_m"])
    picture = callback._draw(first, model.hand)
    assert picture.shape[1] > picture.shape[0] > 200 and len(np.unique(picture)) > 20  # two panels, drawn


def predict(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "predict.py"), *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=os.environ | {"COLUMNS": "200"}
    )


@pytest.mark.slow
def test_predict_judges_a_mesh_and_answers_a_cloud(checkpoint: Path, tmp_path: Path):
    trimesh.creation.box((0.06, 0.06, 0.1)).export(tmp_path / "brick.stl")
    common = ["--checkpoint", str(checkpoint), "--num-grasps", "2"]
    common += ["--sampling.steps", "2", "--sampling.temperature", "0.5"]
    mesh = predict("brick.stl", *common, "--protocol", "dgb-fc-quick", "--workers", "1", folder=tmp_path)
    assert mesh.returncode == 0, mesh.stderr
    assert "of 2 stable" in mesh.stdout
    found = np.load(tmp_path / "predicted" / "grasps.npz")
    assert found["hand_pose"].shape == (2, 23)
    assert found["stable"].shape == (2,)
    assert 'canvas class="view"' in (tmp_path / "predicted" / "grasps.html").read_text()

    rng = np.random.default_rng(0)
    table = np.concatenate([rng.uniform(-0.2, 0.2, (800, 2)), np.zeros((800, 1))], axis=1)
    cloud = np.concatenate([table, rng.uniform([-0.03, -0.03, 0.02], [0.03, 0.03, 0.08], (200, 3))])
    np.save(tmp_path / "cloud.npy", cloud)
    own = ("--viewpoint", "0.4", "0", "0.5", "--up", "0", "0", "1", "--output", "own")
    cloud_answer = predict("cloud.npy", *common, *own, folder=tmp_path)
    assert cloud_answer.returncode == 0, cloud_answer.stderr
    assert "the only object above the table" in cloud_answer.stdout
    assert np.load(tmp_path / "own" / "grasps.npz")["hand_pose"].shape == (2, 23)


@pytest.mark.slow
def test_predict_answers_wrong_input_by_a_sentence(checkpoint: Path, tmp_path: Path):
    np.save(tmp_path / "flat.npy", np.zeros((5, 2)))
    answer = predict("flat.npy", "--checkpoint", str(checkpoint), folder=tmp_path)
    assert answer.returncode == 1
    assert "flat.npy is a depth image, whose points depend on its camera. Pass --intrinsics" in answer.stderr
    answer = predict("none.npy", "--checkpoint", "no.ckpt", folder=tmp_path)
    assert answer.returncode == 1
    assert "No checkpoint at no.ckpt" in answer.stderr
