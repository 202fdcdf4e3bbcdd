"""Whatever kills a program, and whenever: nothing is lost beyond the last checkpoint, and nothing is left running.

The moments are drawn from fixed seeds. A program that was killed is started again by the same command until it ends;
what it leaves is then compared with what a run without a kill left, bit for bit.
"""

import csv
import itertools
import json
import os
import random
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from factories.programs import Program, Server, Starter
from factories.ranks import free_port
from factories.shipped import LEAP_TABLE_CPU
from factories.tiny_programs import GENERATED, TESTED, content
from factories.training import TINY, assert_same, state

pytestmark = [pytest.mark.faults, pytest.mark.skipif(not os.path.exists("/proc"), reason="counts in /proc")]

KILL, TERM, INT, USR1 = signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1
STATUS = {KILL: -9, TERM: 143, INT: 130, USR1: 138}
STEPS = 12


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server.begin()
    yield server
    server.end()


@pytest.fixture(scope="module")
def shared(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Starter:
    """Starts what is compared with."""
    return Starter(server, tmp_path_factory.mktemp("whole"))


@pytest.fixture
def start(server: Server, tmp_path: Path) -> Starter:
    return Starter(server, tmp_path)


@pytest.fixture(scope="module")
def words(tiny_data: list[str]) -> list[str]:
    return [*tiny_data, *TINY, f"trainer.max_steps={STEPS}", "callbacks.last.every_n_steps=2"]


@pytest.fixture(scope="module")
def whole(shared: Starter, words: list[str]) -> Path:
    """The folder of a training that nobody disturbed."""
    shared("train_lightning", *words, "run_dir=one").finish()
    return shared.folder / "one"


@pytest.fixture(scope="module")
def whole_of_two(shared: Starter, words: list[str]) -> Path:
    shared("train_lightning", *words, "data.batch_size=2", "run_dir=two", processes=2).finish()
    return shared.folder / "two"


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def assert_nothing_lost(whole: Path, folder: Path) -> None:
    for name in ("last.ckpt", "best.ckpt"):
        assert_same(state(whole, name), state(folder, name))
    assert rows(whole) == rows(folder)
    assert not [path for path in folder.rglob("*") if ".tmp" in path.name or path.name.endswith(".part")]


def assert_stopped_in_order(program: Program, folder: Path, signum: signal.Signals) -> int:
    """Return the step at which a program says that it stopped; its last checkpoint is of that step."""
    found = re.search(
        rf"^stopped by {signum.name} at step (\d+) of 12; the same command", program.said(), re.M
    )
    assert found, program.said()[-3000:]
    assert state(folder)["/step"] == int(found[1])
    assert "Traceback" not in program.said()
    return int(found[1])


def at_step(program: Program, step: int) -> bool:
    return f"step {step}/{STEPS}" in program.said()


@pytest.mark.parametrize("seed", range(5))
def test_a_training_killed_three_times(start: Starter, words: list[str], whole: Path, seed: int) -> None:
    rng = random.Random(seed)
    folder, steps = start.folder / "run", sorted(rng.sample(range(1, STEPS - 1), 3))
    words = [*words, "run_dir=run", f"data.loading.workers={seed % 3}"]
    for step in steps:
        signum = rng.choice([KILL, KILL, TERM, INT, USR1])
        program = start("train_lightning", *words)
        if not program.until(lambda p=program, s=step: any(at_step(p, k) for k in range(s, STEPS + 1))):
            break  # an orderly stop came so late that this start had nothing left to do
        time.sleep(rng.uniform(0.0, 0.1))
        status = program.stop(signum)
        if status == 0:  # it was over before the signal
            break
        assert status == STATUS[signum]
        if signum != KILL:
            assert_stopped_in_order(program, folder, signum)
    start("train_lightning", *words).finish()
    assert_nothing_lost(whole, folder)


def test_a_training_killed_before_it_trains(start: Starter, words: list[str]) -> None:
    rng = random.Random(7)
    for signum in (KILL, TERM):
        program = start("train_lightning", *words, "run_dir=run")
        time.sleep(rng.uniform(0.1, 1.0))
        assert program.stop(signum) == STATUS[signum]
        assert "Traceback" not in program.said()
    said = re.search(r"^stopped by SIGTERM(.*)$", program.said(), re.M)
    assert said and said[1] in ("", " before its first step; the same command continues")


@pytest.mark.parametrize("launcher", ["torchrun", "lightning"])
def test_processes_that_wait_for_one_another(start: Starter, words: list[str], launcher: str) -> None:
    """The first process waits for a second that does not come, or is just being started."""
    port = str(free_port())
    environ = {"MASTER_ADDR": "localhost", "MASTER_PORT": port}
    if launcher == "torchrun":
        environ |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}
        environ |= {"GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "one"}
    words = [
        *words,
        "run_dir=run",
        "data.batch_size=2",
        *(["hardware.devices=2"] * (launcher == "lightning")),
    ]
    program = start("train_lightning", *words, environ=environ)

    def waits() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("localhost", int(port))) == 0

    assert program.until(waits)
    assert program.stop(TERM) == 143
    assert "\nstopped by SIGTERM before its first step; the same command continues\n" in program.said()
    assert "Traceback" not in program.said()


def test_a_checkpoint_half_written_and_a_folder_that_moves(
    start: Starter, words: list[str], whole: Path
) -> None:
    """With temporary files on another file system, where there is one: the way of clusters."""
    environ = {"TMPDIR": "/dev/shm"} if os.access("/dev/shm", os.W_OK) else {}
    words = [*words, "callbacks.last.every_n_steps=1"]
    name, caught = "run0", 0
    for moved in ("run1", "run2"):
        program = start("train_lightning", *words, f"run_dir={name}", environ=environ)
        checkpoints = start.folder / name / "checkpoints"
        resumed = (checkpoints / "last.ckpt").is_file()

        def being_written(checkpoints: Path = checkpoints, program: Program = program) -> bool:
            due = any(at_step(program, step) for step in range(3, STEPS + 1))
            return due and any(".tmp." in name for name in os.listdir(checkpoints))

        if program.until(being_written):
            assert program.stop(KILL) == -9
            caught += 1
        assert resumed == (moved == "run2")
        (start.folder / name).rename(start.folder / moved)
        name = moved
    assert caught == 2
    start("train_lightning", *words, f"run_dir={name}", environ=environ).finish()
    for path in (start.folder / name / "checkpoints").glob(".*"):
        path.unlink()  # what a kill leaves of a file that it cut off is hidden
    assert_nothing_lost(whole, start.folder / name)


SIMULATED = [
    "callbacks=default",
    "callbacks.simulation.max_items=2",
    "callbacks.simulation.samples_per_item=1",
    "callbacks.simulation.sampling.steps=2",
    "callbacks.simulation.workers=2",
]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_validation_with_simulation(start: Starter, words: list[str], processes: int) -> None:
    """A signal ends it without waiting for the simulation, in every process; the validation is made up for."""
    words = [word for word in words if word != "callbacks=no_simulation"]
    words = [*words, *SIMULATED, f"data.batch_size={4 // processes}"]
    start("train_lightning", *words, "run_dir=whole", processes=processes).finish()
    signals = (KILL, TERM) if processes == 1 else (TERM,)
    for signum in signals:
        program = start("train_lightning", *words, "run_dir=run", processes=processes)
        busy = (
            processes if processes > 1 else 0
        )  # with a launcher, its ranks are others than the first process
        # Once it trains: before that, git is a child.
        assert program.until(lambda p=program, n=busy: "\nstep " in p.said() and len(p.others()) > n)
        if processes == 1:
            assert program.stop(signum) == STATUS[signum]
        else:
            first = program.others()[0]
            assert program.stop(signum, pid=first) == 143
        if signum == TERM:
            assert_stopped_in_order(program, start.folder / "run", TERM)
    start("train_lightning", *words, "run_dir=run", processes=processes).finish()
    assert_nothing_lost(start.folder / "whole", start.folder / "run")


@pytest.mark.parametrize(
    ("victim", "signum"), [("agent", KILL), ("rank 1", KILL), ("rank 1", TERM), ("all", INT)]
)
def test_one_of_two_processes(
    start: Starter, words: list[str], whole_of_two: Path, victim: str, signum: signal.Signals
) -> None:
    words = [*words, "data.batch_size=2", "run_dir=run"]
    program = start("train_lightning", *words, processes=2)
    assert program.until(lambda: at_step(program, 5))
    ranks = sorted(program.others())
    if victim == "all":
        for rank in ranks:
            os.kill(rank, signum)
        assert program.status() == STATUS[signum]
        program.assert_alone()
    else:
        status = program.stop(signum, pid=program.pid if victim == "agent" else ranks[1])
        assert (
            status == (STATUS[signum] if signum != KILL or victim == "agent" else 9 - 256 & 0xFF)
            or status != 0
        )
    if signum != KILL:
        assert_stopped_in_order(program, start.folder / "run", signum)
    start("train_lightning", *words, processes=2).finish()
    assert_nothing_lost(whole_of_two, start.folder / "run")


def test_lightnings_own_second_process(start: Starter, words: list[str], whole_of_two: Path) -> None:
    """The first process starts the second; a signal reaches the first alone, and then a kill does."""
    words = [*words, "data.batch_size=2", "hardware.devices=2", "run_dir=run"]
    program = start("train_lightning", *words)
    assert program.until(lambda: at_step(program, 3))
    assert program.stop(TERM) == 143
    assert_stopped_in_order(program, start.folder / "run", TERM)
    program = start("train_lightning", *words)
    assert program.until(lambda: any(at_step(program, step) for step in range(7, STEPS)))
    assert program.stop(KILL) == -9
    start("train_lightning", *words).finish()
    assert_nothing_lost(whole_of_two, start.folder / "run")


# Other programs


def kill_and_repeat(
    start: Starter, program: str, words: list[str], parts: Path, seed: int, signals: list[signal.Signals]
) -> str:
    """Kill a program whenever another part is written and a moment passed; return what its last start printed."""
    rng = random.Random(seed)
    for signum in signals:
        before = len(list(parts.glob("[0-9]*.npz")))
        running = start(program, *words)
        if not running.until(lambda n=before: len(list(parts.glob("[0-9]*.npz"))) > n):
            break
        time.sleep(rng.uniform(0.0, 0.2))
        status = running.stop(signum)
        if status == 0:
            break
        assert status == STATUS[signum], running.said()[-2000:]
        if signum != KILL:
            assert re.search(
                rf"^stopped by {signum.name} with \d+ .*; the same command", running.said(), re.M
            )
        assert "Traceback" not in running.said()
    return start(program, *words).finish()


@pytest.fixture(scope="module")
def generated(shared: Starter) -> Path:
    shared("scripts/generate_dataset", *GENERATED).finish()
    return shared.folder / "store.h5"


def test_a_generation(start: Starter, generated: Path) -> None:
    parts = start.folder / "store.h5.parts"
    kill_and_repeat(start, "scripts/generate_dataset", GENERATED, parts, 0, [KILL, TERM, INT])
    assert content(start.folder / "store.h5") == content(generated)
    assert sorted(path.name for path in start.folder.glob("store*")) == ["store.h5"]


def test_self_training_data(shared: Starter, start: Starter, tiny_store: Path) -> None:
    words = [f"checkpoint={LEAP_TABLE_CPU}", f"store={tiny_store}", "per_object=1", "sampling.steps=1"]
    words += ["min_points=20", "output=own.h5", "scenes=6"]
    shared("scripts/self_train_data", *words).finish()
    for number, signum in enumerate([KILL, TERM]):
        program = start("scripts/self_train_data", *words)
        assert program.until(lambda p=program: len(p.others()) >= 2)  # it simulates
        assert program.stop(signum) == STATUS[signum], number
    assert "stopped by SIGTERM with 0 of 6 scenes done; the same command continues" in program.said()
    start("scripts/self_train_data", *words).finish()
    assert content(start.folder / "own.h5") == content(shared.folder / "own.h5")


def test_a_conversion_of_what_was_exported(shared: Starter, start: Starter, generated: Path) -> None:
    source = shared.folder / "exported"
    export = [str(generated), str(source), "--format", "bodex"]
    program = shared("scripts/export_dataset", *export)
    time.sleep(0.3)
    assert program.stop(INT) in (0, 130)
    assert "Traceback" not in program.said()
    words = [f"source={source}", "dest=store.h5", "conversion=bodex", "conversion.splits.by=scene"]
    words += ["conversion.renderer.views=1", "conversion.executor.workers=2", "conversion.splits.val=0.2"]
    shared("scripts/export_dataset", *export).finish()
    shared("scripts/convert_dataset", *words[:1], "dest=converted.h5", *words[2:]).finish()
    kill_and_repeat(start, "scripts/convert_dataset", words, start.folder / "store.h5.parts", 1, [TERM, KILL])
    assert content(start.folder / "store.h5") == content(shared.folder / "converted.h5")


def test_a_test(start: Starter, whole: Path) -> None:
    words = [f"checkpoint={whole}/checkpoints/last.ckpt", *TESTED]
    start("test_lightning", *words, "output=whole").finish()
    for signum in (KILL, TERM, INT):
        program = start("test_lightning", *words, "output=again")
        assert program.until(lambda p=program: len(p.others()) >= 2)
        assert program.stop(signum) == STATUS[signum]
        assert "Traceback" not in program.said()
    start("test_lightning", *words, "output=again").finish()
    expected, found = (
        json.loads((start.folder / name / "results.json").read_text()) for name in ("whole", "again")
    )
    assert found["methods"] == expected["methods"] and found["tuning"] == expected["tuning"]
    with (
        np.load(start.folder / "whole/grasps.npz") as first,
        np.load(start.folder / "again/grasps.npz") as second,
    ):
        for key in itertools.chain(first.files, second.files):
            np.testing.assert_array_equal(first[key], second[key])
