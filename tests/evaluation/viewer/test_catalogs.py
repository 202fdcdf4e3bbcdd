"""What the viewer opens, by looking at it, and what it says of all else."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sceneleapultra.datasets import GraspStore
from sceneleapultra.evaluation.viewer.opening import open_catalog
from sceneleapultra.evaluation.viewer.subject import Catalog
from sceneleapultra.simulation.protocols import evaluate_grasps
from sceneleapultra.utils.records import Outcome


def opened(path: Path, **changes: str) -> Catalog:
    known: dict[str, str | None] = dict.fromkeys(("store", "hand", "checkpoint", "protocol"))
    return open_catalog(str(path), **(known | changes))  # type: ignore[arg-type]


def test_a_data_set_is_shown_with_the_grasps_that_held_first(tiny_store: Path) -> None:
    catalog, store = opened(tiny_store), GraspStore(tiny_store)
    assert len(catalog) == store.num_items
    subject = catalog.read(0)
    found = subject.candidates["stored"]
    held = [outcome == "success" for outcome in found.outcomes]
    assert held == sorted(held, reverse=True) and any(held) and not all(held)
    item = store.items("train", min_points=1, require_success=False)[0]
    labeled = store.labeled(item.scene, item.target)
    assert sorted(map(tuple, found.grasps.hand_pose)) == sorted(map(tuple, labeled.grasps.hand_pose))
    np.testing.assert_array_equal(subject.request.points, store.view(item.view).points)


@pytest.mark.parametrize("name", ["", "results.json", "grasps.npz", "methods.npz", "report.html"])
def test_a_test_is_known_by_each_of_its_files(tested: Path, name: str) -> None:
    catalog = opened(tested / name)
    document = json.loads((tested / "results.json").read_text())
    subject = catalog.read(0)
    assert len(catalog) == 1 and catalog.title == document["provenance"]["title"]
    assert list(subject.candidates) == [m["method"] for m in document["methods"]]
    for method in document["methods"]:
        outcomes = [Outcome(o).name.lower().replace("_", " ") for o in method["rows"]["outcome"]]
        assert sorted(subject.candidates[method["method"]].outcomes) == sorted(outcomes)


def test_the_grasps_of_every_method_are_those_that_were_judged(tested: Path) -> None:
    catalog = opened(tested)
    subject = catalog.read(0)
    assert subject.item is not None and catalog.rules.protocol is not None
    for found in subject.candidates.values():
        scene, target = subject.item.scene, subject.item.target
        table = evaluate_grasps(catalog.hand, scene, found.grasps, catalog.rules.protocol, 0, target)
        again = [Outcome(o).name.lower().replace("_", " ") for o in table["outcome"]]
        assert again == found.outcomes


def test_a_test_of_a_hand_that_another_ones_model_serves_is_shown(tested: Path, tmp_path: Path) -> None:
    document = json.loads((tested / "results.json").read_text())
    name = document["provenance"]["model hand"]
    document["provenance"]["model hand"] = (
        f"{name}, served by a model of allegro_right"  # as the test writes it
    )
    (tmp_path / "results.json").write_text(json.dumps(document))
    shutil.copy(tested / "grasps.npz", tmp_path)
    assert opened(tmp_path).hand.name == name


def test_a_prediction_is_shown_in_its_cloud(predicted: Path) -> None:
    for name in ("", "grasps.npz", "grasps.html"):
        catalog = opened(predicted / name)
        subject = catalog.read(0)
        assert subject.item is None and catalog.rules.protocol is None
        found = subject.candidates["predicted"]
        written = json.loads((predicted / "grasps.json").read_text())["grasps"]
        np.testing.assert_allclose(found.grasps.hand_pose[:, :3], [g["position"] for g in written], atol=1e-6)
        center = subject.request.target_points.mean(0)
        assert np.linalg.norm(found.grasps.hand_pose[:, :3] - center, axis=1).max() < 0.4


@pytest.fixture
def wrong(tested: Path, predicted: Path, tmp_path: Path) -> Path:
    """Things that cannot be looked at."""
    for folder in ("empty", "moved", "arm", "other", "torn", "old", "evil"):
        (tmp_path / folder).mkdir()
    for name in ("moved", "torn", "other", "evil"):
        for file in ("results.json", "grasps.npz"):
            shutil.copy(tested / file, tmp_path / name / file)
    results = json.loads((tested / "results.json").read_text())

    def write(folder: str, change: Callable[[dict], None]) -> None:
        document = json.loads(json.dumps(results))
        change(document)
        (tmp_path / folder / "results.json").write_text(json.dumps(document))

    write("moved", lambda d: d["provenance"].update({"data store": "gone.h5"}))
    write("other", lambda d: d["provenance"].update({"data hash": "0" * 64}))
    write("torn", lambda d: d["methods"][0]["rows"]["item"].append(7))
    write("evil", lambda d: d["provenance"]["config"]["protocol"].update({"_target_": "os.system"}))
    (tmp_path / "arm" / "results.json").write_text('{"rows": []}')
    arrays = dict(np.load(predicted / "grasps.npz"))
    np.savez(tmp_path / "old" / "grasps.npz", **{k: v for k, v in arrays.items() if k != "points"})
    np.savez(tmp_path / "view.npz", depth=np.zeros((2, 2)))
    (tmp_path / "notes.txt").write_text("remember the milk")
    (tmp_path / "cut.npz").write_bytes((tested / "grasps.npz").read_bytes()[:200])
    return tmp_path


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nothing.h5", "There is no store at"),
        ("empty", "is a folder without results.json or grasps.npz. Expected a data set"),
        ("notes.txt", "notes.txt is a text of 17 bytes. Expected a data set"),
        ("view.npz", "is no prediction, and there is no results.json beside it"),
        ("cut.npz", "expected a complete .npz file of numbers"),
        ("old", "lacks points: it has no cloud to show the grasps in. Predict again"),
        ("arm", "holds no results of a test. Expected what test_lightning.py writes."),
        ("moved", "was measured on gone.h5, which is not here. Pass --store <file>"),
        ("other", "was measured on a data set of the hash 0000000000000000"),
        ("torn", "grasps and results.json are of different tests"),
        ("evil", "is built from os.system, which is code outside the project"),
    ],
)
def test_what_is_nothing_to_look_at_gets_a_sentence(
    wrong: Path, name: str, sentence: str, run_program: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("viser", reason="the extra 'view' is not installed")
    assert run_program("view", wrong / name) == 1
    assert sentence in capsys.readouterr().err


def test_without_viser_it_says_what_to_install(
    tiny_store: Path,
    run_program: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "viser", None)
    assert run_program("view", tiny_store) == 1
    assert "Run: python -m pip install 'sceneleapultra[view]'" in capsys.readouterr().err


def test_results_whose_data_set_was_moved_are_told_where_it_is(wrong: Path, tiny_store: Path) -> None:
    assert len(opened(wrong / "moved", store=str(tiny_store))) == 1


def test_a_protocol_that_would_judge_otherwise_is_not_replayed(tested: Path, tmp_path: Path) -> None:
    for file in ("results.json", "grasps.npz"):
        shutil.copy(tested / file, tmp_path / file)
    document = json.loads((tmp_path / "results.json").read_text())
    document["provenance"]["config"]["protocol"]["physics"]["friction"] = [0.1, 0.02]
    (tmp_path / "results.json").write_text(json.dumps(document))
    rules = opened(tmp_path).rules
    assert rules.protocol is None and "no replay" in rules.why_not
