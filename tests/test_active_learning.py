"""Does a run of active learning that is killed go on to the end of one that was not?"""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from benchmarks.active_learning import cell, curve, labels_to_reach
from factories.programs import Server, Starter
from sceneleapultra.datasets import GraspStore
from sceneleapultra.scripts.active_learning import settings_of
from sceneleapultra.utils.core.config import CONFIG_DIR

SMALL = [
    *("protocol=dgb-fc-quick", "min_points=20", "candidates=3", "sampling.steps=1", "workers=1"),
    *("rounds=4", "per_round=4", "scorer.members=2", "scorer.steps=2", "scorer.batch=4"),
    "test_splits=[test,test_family]",
]


def test_the_shipped_settings_make_rounds() -> None:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        settings = settings_of(compose("active_learning", overrides=["folder=x", "store=y"]))
    assert (settings.acquisition, settings.scorer.members) == ("disagreement", 3)
    assert settings.scorer.head.widths == (16, 32)


def test_a_round_without_an_area_leaves_the_others_to_be_averaged() -> None:
    def rounds(*areas: float | None) -> list[dict[str, object]]:
        return [
            {"labels": 8 * k, "cpu_s": 1.0, "auroc": area, "best": 0.5} for k, area in enumerate(areas, 1)
        ]

    rows = curve([rounds(None, 0.6, None), rounds(None, 0.8, 0.7)])
    assert [row["auroc"] for row in rows] == [None, pytest.approx(0.7), 0.7]
    assert [row["auroc_std"] for row in rows] == [None, pytest.approx(0.1 * 2**0.5, abs=1e-4), None]
    assert labels_to_reach(rows, "auroc", 0.65) == 16 and labels_to_reach(rows, "auroc", None) is None
    assert [cell(row["auroc"], row["auroc_std"]) for row in rows] == [
        "undefined",
        "70.0 ± 14.1",
        "70.0 ± 0.0",
    ]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    server = Server.begin()
    yield Starter(server, tmp_path)
    server.end()


def rounds(folder: Path) -> list[dict[str, object]]:
    path = folder / "disagreement-0.json"
    found = json.loads(path.read_text())["rounds"] if path.is_file() else []
    return [{k: v for k, v in one.items() if k != "cpu_s"} for one in found]


@pytest.mark.faults
def test_a_run_that_is_killed_goes_on_to_the_same_end(start: Starter, tiny_store: Path) -> None:
    one, other = start.folder / "one", start.folder / "other"
    start("scripts/active_learning", f"folder={one}", f"store={tiny_store}", *SMALL).finish()
    words = [f"folder={other}", f"store={tiny_store}", *SMALL]
    for count in (1, 2, 3):
        program = start("scripts/active_learning", *words)
        assert program.until(lambda n=count: len(rounds(other)) >= n)
        assert program.stop(signal.SIGKILL) == -9
    start("scripts/active_learning", *words).finish()
    assert rounds(other) == rounds(one) and len(rounds(one)) == 4
    stores = [GraspStore(folder / "disagreement-0.h5") for folder in (one, other)]
    assert stores[0].content_hash == stores[1].content_hash
    assert sum(stores[0].num_grasps(s, t) for s in range(stores[0].num_scenes) for t in range(2)) == 16
