"""Are stages timed where they run, in this process and in others, and does nothing happen when it is off?"""

import json
import re
import time
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from hydra import initialize_config_dir

from sceneleapultra.train_lightning import train
from sceneleapultra.utils.core.config import CONFIG_DIR, build
from sceneleapultra.utils.training.profiling import DATA_STAGES, LoadRecord, StageClock, StageProfiler
from sceneleapultra.utils.training.profiling.rules import RULES, advice
from sceneleapultra.utils.training.profiling.tree import StageTree


def test_a_clock_adds_up_and_begins_again() -> None:
    clock = StageClock(("a", "b"), on=True)
    for _ in range(3):
        with clock("a"):
            time.sleep(0.002)
    a, b = clock.take()
    assert 0.006 <= a < 0.05 and b == 0.0
    assert clock.take() == (0.0, 0.0)


def test_a_clock_that_is_off_does_nothing() -> None:
    clock = StageClock(("a", "b"), on=False)
    assert clock("a") is clock("b")
    with clock("a"):
        pass
    assert clock.take() == (0.0, 0.0)


def test_a_tree_tells_self_from_total() -> None:
    """Of 10 s, 6 in the step, of which 4 forward and 1.5 of those encoding: 4 s of the whole are nobody's."""
    tree = StageTree("train")
    tree.nodes[tree.root].total_s, tree.nodes[tree.root].count = 10.0, 1
    for _ in range(2):
        tree.add(("train", "step"), 3.0)
        tree.add(("train", "step", "fwd"), 2.0)
    for seconds in (0.5, 1.0):
        tree.add(("train", "step", "fwd", "fwd.encode"), seconds)
    rows = {row.name: row for row in tree.rows()}
    assert [row.name for row in tree.rows()] == ["train", "step", "fwd", "fwd.encode"]
    assert {n: (r.count, r.total_s, r.self_s) for n, r in rows.items()} == {
        "train": (1, 10.0, 4.0),
        "step": (2, 6.0, 2.0),
        "fwd": (2, 4.0, 2.5),
        "fwd.encode": (2, 1.5, 1.5),
    }
    encode = rows["fwd.encode"]
    assert (encode.mean_ms, encode.p50_ms, encode.share) == (750.0, 750.0, 0.15)
    assert encode.p95_ms == pytest.approx(975.0)  # 500 + 0.95 * 500
    assert tree.shares() == {"train": 0.4, "step": 0.6, "fwd": 0.4, "fwd.encode": 0.15}


def test_a_stage_inside_itself_counts_once() -> None:
    tree = StageTree("train")
    tree.nodes[tree.root].total_s = 10.0
    tree.add(("train", "callbacks"), 5.0)
    tree.add(("train", "callbacks", "callbacks"), 4.0)
    assert tree.shares()["callbacks"] == 0.5


def test_forward_and_backward_stand_beside_the_optimizer_that_calls_them() -> None:
    profiler = StageProfiler(device_times=True, nvtx=False)
    profiler.begin()
    actions = ("run_training_batch", "[LightningModule]M.optimizer_step", "[Strategy]S.training_step")
    for action in actions:
        profiler.start(action)
    time.sleep(0.02)
    profiler.stop(actions[2])
    time.sleep(0.005)
    profiler.start("[Strategy]S.backward")
    time.sleep(0.01)
    profiler.stop("[Strategy]S.backward")
    profiler.stop(actions[1])
    profiler.start("nobody asks about this")
    profiler.stop("nobody asks about this")
    profiler.stop(actions[0])
    profiler.measure()
    rows = {"/".join(row.path): row.total_s for row in profiler.tree.rows()}
    assert set(rows) == {"train", "train/step", "train/step/fwd", "train/step/bwd", "train/step/opt"}
    assert rows["train/step/fwd"] >= 0.02 and rows["train/step/bwd"] >= 0.01
    assert 0.005 <= rows["train/step/opt"] < 0.015
    step = rows["train/step"]
    assert step == pytest.approx(sum(rows[f"train/step/{n}"] for n in ("fwd", "bwd", "opt")), abs=2e-3)
    assert rows["train"] >= step


def test_an_attached_method_is_timed_until_it_is_taken_off() -> None:
    class Model:
        def encode(self, x: int) -> int:
            return x + 1

    model, profiler = Model(), StageProfiler(device_times=False, nvtx=False)
    profiler.begin()
    take_off = profiler.attach(model, "encode", "fwd.encode")
    assert model.encode(3) == 4 and profiler.tree.nodes["train", "fwd.encode"].count == 1
    take_off()
    assert model.encode(3) == 4 and profiler.tree.nodes["train", "fwd.encode"].count == 1
    assert "encode" not in vars(model)


class Event:
    """A GPU event whose time comes when the test says so."""

    now = 0.0

    def __init__(self) -> None:
        self.at = Event.now

    def query(self) -> bool:
        return self.at <= Event.now - 1.0

    def elapsed_time(self, other: "Event") -> float:
        return 1e3 * (other.at - self.at)


def test_events_are_read_late_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage of 0.25 s on the GPU is known only once the GPU is a second past it; nothing waits for that."""
    monkeypatch.setattr("torch.cuda.synchronize", lambda: pytest.fail("waited"))
    profiler = StageProfiler(device_times=True, nvtx=False)
    profiler.on_device = True
    monkeypatch.setattr(profiler, "_event", Event)
    profiler.begin()
    for k in range(4):
        Event.now = float(k)
        profiler.enter("fwd")
        Event.now += 0.25
        profiler.leave()
    node = profiler.tree.nodes["train", "fwd"]
    assert node.count == 4 and node.device_s == pytest.approx(0.75)
    Event.now = 10.0
    profiler.resolve(wait=False)
    assert node.device_s == pytest.approx(1.0)


def test_what_loading_processes_measured_is_merged() -> None:
    profiler = StageProfiler(device_times=False, nvtx=False)
    for total in (0.01, 0.03):
        seconds = tuple(total if stage == "data.total" else 0.001 for stage in DATA_STAGES)
        profiler.loaded(LoadRecord(seconds, hits=3, misses=1, mapped=1000, decoded=0, fetched=400))
    rows = {row.name: row for row in profiler.loading.rows()}
    assert rows["data.total"].count == 2 and rows["data.total"].total_s == pytest.approx(0.04)
    assert rows["data.augment"].share == pytest.approx(0.05)  # 2 ms of 40
    assert profiler.read == {"hits": 6, "misses": 2, "mapped": 2000, "decoded": 0, "fetched": 800}


READ = {"hits": 0, "misses": 8, "mapped": 100, "decoded": 0, "fetched": 90}


@pytest.mark.parametrize(
    ("shares", "loading", "read", "words"),
    [
        ({"opt": 0.3}, {}, READ, "opt takes 30% of the time: trainer.accumulate_grad_batches"),
        ({"wait": 0.5}, {"data.read_scene": 0.8}, READ, "reading takes 80% of loading; data.loading.staging="),
        ({"wait": 0.5}, {"data.read_scene": 0.8}, {**READ, "fetched": 0}, "data.loading.cache_mb remembers more"),
        ({"wait": 0.5}, {"data.augment": 0.8}, READ, "augmentation takes 80% of loading; data.loading.augment_on"),
        ({"wait": 0.5}, {"data.sample_grasps": 0.8}, READ, "data.grasps.strategy=random"),
        ({"wait": 0.5}, {"data.augment": 0.3}, READ, "wait takes 50% of the time: data.loading.workers"),
    ],
)  # fmt: skip
def test_rules_name_the_bottleneck_and_the_key(
    shares: dict[str, float], loading: dict[str, float], read: dict[str, int], words: str
) -> None:
    assert words in advice(shares, loading, read)[0]


def test_rules_speak_of_the_worst_first_and_of_nothing_small() -> None:
    found = advice({"opt": 0.15, "ema": 0.3, "clip": 0.01, "wait": 0.09}, {}, READ)
    assert [sentence.split()[0] for sentence in found] == ["ema", "opt"]


def test_every_key_a_rule_names_exists(compose: Any) -> None:
    cfg = compose("profiler=stages")
    pattern = r"\b(?:data|model|trainer|callbacks|optimizer)\.[a-z_.]+\w"
    named = [key for rule in RULES for key in re.findall(pattern, rule.remedy)]
    assert len(named) > 10
    for key in named:
        node: Any = cfg
        for part in key.split("."):
            assert part in node, f"{key} is no setting"
            node = node[part]


TINY = [
    "hardware=cpu", "callbacks=no_simulation", "logger=csv", "scheduler.warmup_steps=1", "scheduler.total_steps=12",
    "model.generator.decoder.dim=16", "model.generator.decoder.depth=1", "model.generator.decoder.heads=2",
    "model.generator.heads.score.dim=16",
    "model.generator.heads.score.widths=[8, 8]", "model.generator.encoder.dim=16",
    "model.generator.encoder.levels.fine.centers=32", "model.generator.encoder.levels.coarse.centers=16",
    "data.batch_size=4", "data.grasps.number=4",
    "trainer.val_check_interval=4", "trainer.log_every_n_steps=2", "normalizer_scenes=8", "trainer.max_steps=8",
]  # fmt: skip


def run(tiny_data: list[str], folder: Path, *overrides: str) -> Any:
    words = [*tiny_data, *TINY, f"run_dir={folder}", *overrides]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return train(hydra.compose("config", overrides=words), words)


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_run_tells_where_its_time_went(
    tiny_data: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], workers: int
) -> None:
    steps = ["profiler=stages", "callbacks.stages.warmup_steps=2", "callbacks.stages.every_n_steps=2"]
    trainer = run(tiny_data, tmp_path, *steps, f"data.loading.workers={workers}")
    out = capsys.readouterr().out
    for stage in ("train", "step", "fwd", "fwd.encode", "bwd", "opt", "wait", "data.total", "data.augment"):
        assert re.search(rf"^ *{re.escape(stage)} +\d+ ", out, re.M), stage
    assert "requests were answered from the cache" in out
    lines = [json.loads(line) for line in (tmp_path / "profile.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [4, 6, 8, 8]
    stages = {s["stage"]: s for s in lines[-1]["stages"]}
    assert stages["train/step"]["count"] == 6 == stages["train/step/fwd/fwd.encode"]["count"]
    inside = sum(s["total_s"] for name, s in stages.items() if name.count("/") == 1)
    assert inside <= stages["train"]["total_s"] and stages["train/step/opt"]["self_s"] >= 0.0
    assert {s["stage"] for s in lines[-1]["loading"]} >= {"data.total", "data.total/data.read_scene"}
    assert lines[-1]["loading"][0]["count"] >= 6 and lines[-1]["read"]["hits"] > 0
    metrics = (tmp_path / "metrics.csv").read_text()
    assert "perf/step_ms" in metrics and "perf/wait_share" in metrics
    assert "encode" not in vars(trainer.lightning_module.generator), "the clocks are taken off"


@pytest.mark.slow
def test_a_trace_shows_stages_around_what_ran_in_them(tiny_data: list[str], tmp_path: Path) -> None:
    steps = ["profiler=stages", "callbacks.stages.warmup_steps=2", "callbacks.stages.trace_steps=2"]
    run(tiny_data, tmp_path, *steps, "data.loading.workers=0", "callbacks.stages.every_n_steps=2")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    ranges = {
        n: [(e["ts"], e["ts"] + e["dur"]) for e in events if e.get("name") == n]
        for n in ("fwd", "fwd.encode")
    }
    # One step ends and the next begins between two ends of a batch: of two steps both are whole.
    assert len(ranges["fwd"]) == len(ranges["fwd.encode"]) == 2
    for (start, end), (first, last) in zip(ranges["fwd"], ranges["fwd.encode"], strict=True):
        assert start <= first < last <= end
        assert any(e.get("name") == "aten::linear" and first <= e["ts"] <= last for e in events)
    lines = [json.loads(line) for line in (tmp_path / "profile.jsonl").read_text().splitlines()]
    assert {s["stage"]: s["count"] for s in lines[-1]["stages"]}[
        "train/step"
    ] == 4  # of 8: 2 + 2 do not count


def test_ranges_for_nsight_need_a_gpu(compose: Any) -> None:
    if torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    with pytest.raises(ValueError, match=r"nvtx=true marks ranges.*Pass trainer\.profiler\.nvtx=false"):
        build(compose("profiler=stages", "trainer.profiler.nvtx=true").trainer.profiler)


def test_a_method_the_model_lacks_is_named(tiny_data: list[str], tmp_path: Path) -> None:
    with pytest.raises(
        ValueError,
        match=r"callbacks\.stages\.methods\.fwd\.encode: GraspModule has no method generator\.encod\.",
    ):
        run(tiny_data, tmp_path, "profiler=stages", "callbacks.stages.methods={fwd.encode: generator.encod}")
    with pytest.raises(
        ValueError, match=r"but trainer\.profiler is PassThroughProfiler\. Pass profiler=stages"
    ):
        run(tiny_data, tmp_path, "profiler=stages", "trainer.profiler=null")
