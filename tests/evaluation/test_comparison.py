"""Do two runs differ where they do, by object, and is a comparison that makes no sense refused?"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sceneleapultra.evaluation.comparison import compare_runs
from sceneleapultra.evaluation.metrics import paired_difference
from sceneleapultra.evaluation.records import evaluation_record
from sceneleapultra.evaluation.results import GraspResults
from sceneleapultra.scripts.compare import compare

CONFIG = {"prompt": "none", "points_share": 1.0, "min_clearance_m": 0.0, "samples_per_item": 4}


@pytest.fixture
def make_run(tmp_path: Path, stored_result: Callable[..., GraspResults]) -> Callable[..., Path]:
    def made(
        name: str, *, lr: float = 0.1, stable: Any = None, protocol: str = "p (00)", data: str = "d"
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.yaml").write_text(
            f"run_dir: {folder}\nname: {name}\noptimizer: {{lr: {lr}}}\nseed: 0\n"
        )
        (folder / "data.json").write_text(json.dumps({"frame": "world", "data_hash": data}))
        (folder / "git.txt").write_text("0123\n")
        (folder / "metrics.csv").write_text(f"step,train/loss,val/loss,lr\n0,3.0,,1\n1,2.0,{lr},1\n")
        if stable is not None:
            result = stored_result("test")
            result.table.values["stable"][:] = stable
            provenance = {
                "protocol": protocol,
                "data hash": "s",
                "commit": "0123",
                "date": "today",
                "model checkpoint": f"{name}/best.ckpt ({'0' * 16})",
                "config": CONFIG,
            }
            test = folder / "tests" / "one"
            test.mkdir(parents=True)
            document = {"provenance": provenance, "methods": [result.to_json()], "tuning": None}
            (test / "results.json").write_text(json.dumps(document))
        return folder

    return made


def test_settings_data_and_code_that_differ_are_named(make_run: Callable[..., Path]) -> None:
    found = compare_runs([make_run("a"), make_run("b", lr=0.2, data="other")])
    assert found.runs == ("a", "b")
    assert dict(found.settings) == {"optimizer.lr": ["0.1", "0.2"]}  # not the folder, not the name
    assert found.lineage == {"data": ["d", "other"], "code": ["0123", "0123"]}
    assert found.curves == {
        "train/loss": {"a": [(0, 3.0), (1, 2.0)], "b": [(0, 3.0), (1, 2.0)]},
        "val/loss": {"a": [(1, 0.1)], "b": [(1, 0.2)]},
    }
    text = "\n".join(found.text())
    assert (
        "data: a d; b other" in text
        and "code: 0123, the same" in text
        and "no test that all runs had" in text
    )


def test_success_is_compared_by_object(make_run: Callable[..., Path], tmp_path: Path) -> None:
    """Of four grasps of each of five objects, one fails; the other run holds all of them."""
    first = np.tile([True, True, True, False], 5)
    runs = [make_run("a", stable=first), make_run("b", stable=True), make_run("c", stable=first[::-1])]
    (test,) = compare_runs(runs).tests
    assert (test.protocol, test.split, test.objects, test.grasps) == ("p (00)", "test", 5, 20)
    stable = test.rates[0]
    assert [rate["value"] for rate in stable.rates] == [0.75, 1.0, 0.75]
    better, same = stable.differences
    assert better.value == 0.25 and better.interval == (0.25, 0.25) and better.shown
    assert same.value == 0.0 and not same.shown
    compare(runs, output=tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "+25.0 [+25.0, +25.0]: differs" in page and "no difference shown" in page


def test_tests_that_asked_for_different_things_are_refused(make_run: Callable[..., Path]) -> None:
    runs = [make_run("a", stable=True), make_run("b", stable=True, protocol="q (11)")]
    with pytest.raises(
        ValueError, match=r"cannot be compared: protocol is p \(00\) and q \(11\)\. Test them by"
    ):
        compare_runs(runs)


def test_other_items_are_refused(make_run: Callable[..., Path]) -> None:
    runs = [make_run("a", stable=True), make_run("b", stable=True)]
    path = runs[1] / "tests" / "one" / "results.json"
    document = json.loads(path.read_text())
    document["methods"][0]["rows"]["item"][0] = 99
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"items\.test is 20 grasps \(.*\) and 20 grasps"):
        compare_runs(runs)


def test_what_is_no_run_or_no_pair_is_answered(make_run: Callable[..., Path], tmp_path: Path) -> None:
    run = make_run("a")
    with pytest.raises(ValueError, match="needs two different runs"):
        compare_runs([run, run])
    with pytest.raises(FileNotFoundError, match="is no folder of a run"):
        compare_runs([run, tmp_path])
    make_run("b", stable=True)
    (tmp_path / "b" / "tests" / "one" / "results.json").write_text("{}")
    with pytest.raises(ValueError, match=r"expected the results of test_lightning\.py"):
        compare_runs([run, tmp_path / "b"])


def test_a_record_of_a_test_says_what_was_tested(make_run: Callable[..., Path]) -> None:
    path = make_run("a", stable=np.tile([True, True, True, False], 5)) / "tests" / "one" / "results.json"
    record = evaluation_record(path)
    assert record["checkpoint_hash"] == "0" * 16 and record["protocol"] == "p (00)"
    assert record["rates"]["test"]["stable"]["value"] == 0.75
    path.write_text(path.read_text().replace(f" ({'0' * 16})", ""))
    with pytest.raises(ValueError, match="does not say which file was tested"):
        evaluation_record(path)


def test_a_paired_interval_is_narrower_where_objects_differ_more_than_methods() -> None:
    """Ten objects, easy and hard in turn, one grasp in ten more held by the second method in each of them."""
    hard = np.repeat(np.arange(10) % 2 == 0, 20)
    turn = np.tile(np.arange(20), 10)
    objects = [str(i) for i in np.repeat(np.arange(10), 20)]
    first, second = np.where(hard, turn < 2, turn < 16), np.where(hard, turn < 4, turn < 18)
    value, (low, high) = paired_difference(first, objects, second, objects, seed=0, resamples=500)
    assert value == pytest.approx(0.1) and low == pytest.approx(0.1) and high == pytest.approx(0.1)
    shuffled = objects[100:] + objects[:100]
    assert paired_difference(first, objects, first, objects, seed=0, resamples=500) == (0.0, (0.0, 0.0))
    with pytest.raises(ValueError, match="same objects"):
        paired_difference(first, objects, second, ["other", *shuffled[1:-1], "x"], seed=0, resamples=500)
    assert paired_difference(first, ["one"] * 200, second, ["one"] * 200, seed=0, resamples=9)[1] == (
        -1.0,
        1.0,
    )
