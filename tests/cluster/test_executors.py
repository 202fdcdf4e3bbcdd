"""Do generation, judging and tests on Ray and on SLURM write what one process writes, whatever is killed meanwhile?"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.conftest import ENVIRON, RayNodes, Slurm, Started, processes, until
from factories.programs import ROOT
from factories.shipped import LEAP_TABLE_CPU
from factories.tiny_programs import GENERATED, TESTED, content

pytestmark = pytest.mark.cluster
GENERATE = ("scripts/generate_dataset.py", *GENERATED, "scenes=10")
WORKER = "sceneleapultra.utils.clusters.worker"
Run = Callable[..., Started]


def scenes(folder: Path) -> int:
    return len(list((folder / "store.h5.parts").glob("[0-9]*.npz")))


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What one process generates."""
    path = tmp_path_factory.mktemp("alone") / "store.h5"
    command = [sys.executable, str(ROOT / GENERATE[0]), *GENERATE[1:], f"path={path}", "workers=1"]
    subprocess.run(command, env=ENVIRON, check=True, capture_output=True)
    return content(path)


def on_slurm(folder: Path) -> tuple[str, ...]:
    return ("launcher=slurm", f"launcher.folder={folder}/jobs")


def test_a_generation_on_ray_whose_worker_and_node_are_killed(
    ray_nodes: RayNodes, run: Run, tmp_path: Path, alone: dict[str, object]
) -> None:
    program = run(*GENERATE, "launcher=ray", "workers=auto", f"launcher.address={ray_nodes.address}")
    program.until(lambda: scenes(tmp_path) >= 2 and len(ray_nodes.workers()) == 2, "two workers at work")
    os.kill(ray_nodes.workers()[0], signal.SIGKILL)
    program.until(lambda: scenes(tmp_path) >= 5, "more scenes")
    os.killpg(ray_nodes.nodes[1].pid, signal.SIGKILL)
    program.finish()
    assert content(tmp_path / "store.h5") == alone


def test_one_worker_of_ray_is_one_at_a_time(ray_nodes: RayNodes, run: Run, tmp_path: Path) -> None:
    program = run(*GENERATE, "launcher=ray", "workers=1", f"launcher.address={ray_nodes.address}")
    most = 0
    while program.process.poll() is None:
        most = max(most, len(ray_nodes.workers()))
        time.sleep(0.02)
    program.finish()
    assert most == 1


def test_a_generation_on_ray_that_is_ended_gives_up_what_is_in_work(
    ray_nodes: RayNodes, run: Run, tmp_path: Path, alone: dict[str, object]
) -> None:
    words = (*GENERATE, "launcher=ray", "workers=2", f"launcher.address={ray_nodes.address}")
    program = run(*words)
    program.until(lambda: scenes(tmp_path) >= 2 and len(ray_nodes.workers()) == 2, "two workers at work")
    program.process.terminate()
    assert "scenes done; the same command continues" in program.finish(143)
    until(lambda: not ray_nodes.workers(), "the end of what is in work", 15.0)
    run(*words).finish()
    assert content(tmp_path / "store.h5") == alone


def test_a_generation_on_slurm_whose_workers_are_killed_and_requeued(
    slurm: Slurm, run: Run, tmp_path: Path, alone: dict[str, object]
) -> None:
    program = run(*GENERATE, "workers=2", *on_slurm(tmp_path), **slurm.environ)
    program.until(
        lambda: scenes(tmp_path) >= 2 and len(processes(f"-m {WORKER}")) >= 2, "two workers at work"
    )
    os.kill(processes(f"-m {WORKER}")[0], signal.SIGKILL)
    program.until(lambda: scenes(tmp_path) >= 5, "more scenes")
    slurm("scontrol", "requeue", next(job.split()[0] for job in slurm.jobs() if "RUNNING" in job))
    program.finish()
    until(lambda: not slurm.jobs() and not processes(WORKER), "the end of the workers", 30.0)
    assert not list(tmp_path.glob("jobs/*/address.json"))
    assert content(tmp_path / "store.h5") == alone


def test_a_generation_that_is_killed_takes_its_workers_along(
    slurm: Slurm, run: Run, tmp_path: Path, alone: dict[str, object]
) -> None:
    words = (*GENERATE, "workers=2", *on_slurm(tmp_path))
    for signum, status, after in ((signal.SIGKILL, -9, 1), (signal.SIGTERM, 143, 3)):
        program = run(*words, **slurm.environ)
        program.until(lambda n=after: scenes(tmp_path) >= n, "a scene")
        program.process.send_signal(signum)
        said = program.finish(status)
        until(lambda: not processes(WORKER), "the end of the workers", 15.0)
    assert "scenes done; the same command continues" in said
    run(*words, **slurm.environ).finish()
    assert content(tmp_path / "store.h5") == alone


@pytest.mark.parametrize("cluster", ["ray", "slurm"])
def test_self_training_and_tests(
    cluster: str, request: pytest.FixtureRequest, run: Run, tmp_path: Path, tiny_store: Path
) -> None:
    if cluster == "ray":
        words = ("launcher=ray", f"launcher.address={request.getfixturevalue('ray_nodes').address}")
        environ: dict[str, str] = {}
    else:
        words, environ = on_slurm(tmp_path), request.getfixturevalue("slurm").environ
    propose = [f"checkpoint={LEAP_TABLE_CPU}", f"store={tiny_store}", "per_object=2", "sampling.steps=1"]
    propose += ["min_points=20", "scenes=6", "workers=2"]
    for name, more in (("here", ()), ("there", words)):
        run("scripts/self_train_data.py", *propose, f"output={name}.h5", *more, **environ).finish()
    assert content(tmp_path / "there.h5") == content(tmp_path / "here.h5")
    test = [
        f"checkpoint={LEAP_TABLE_CPU}",
        f"store={tiny_store}",
        *TESTED,
        "sampling.temperature=0.3",
        "splits=[test]",
    ]
    for name, more in (("here", ()), ("there", words)):
        run("test_lightning.py", *test, f"output={name}", *more, **environ).finish()
    here, there = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("here", "there"))
    assert there["methods"] == here["methods"]


def test_no_ray_and_no_slurm_are_sentences(run: Run) -> None:
    said = run(*GENERATE, "workers=2", "launcher=slurm", PATH="/nowhere").finish(1)
    assert "launcher=slurm: there is no sbatch on this machine." in said and "Traceback" not in said
    said = run(*GENERATE, "launcher=ray", "launcher.address=127.0.0.1:1").finish(1)
    assert "Traceback" not in said
    assert "launcher=ray: no Ray cluster answers at 127.0.0.1:1" in said or "Ray is not installed" in said
