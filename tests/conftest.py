"""What holds for every test: one thread, fixed seeds, and annotations of shapes that are checked while tests run."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: several test processes share the cores
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
os.environ["WANDB_MODE"] = "disabled"

import gc

gc.disable()  # until all is imported: nearly all of it stays

import importlib
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jaxtyping

# Annotations of shapes and types are checked in every test. Before the packages are imported.
PACKAGES = ["sceneleapultra"]
CHECKED = os.environ.get("SCENELEAPULTRA_UNCHECKED") != "1"
if CHECKED:
    jaxtyping.install_import_hook(PACKAGES, "annotation_checks.check")

import hydra
import numpy as np
import pytest
import torch
from hydra import initialize_config_dir
from omegaconf import DictConfig

from factories.records import scene_record
from factories.rehearsals import WarmPython
from sceneleapultra.datasets import StoreWriter
from sceneleapultra.hands import load_hand
from sceneleapultra.utils.core.config import CONFIG_DIR


def pytest_collection_finish() -> None:
    """Collect garbage among what tests make, not among the million objects that imports made."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a traced test in a process without the hook: dynamo cannot look through its wrappers."""
    if not CHECKED or pyfuncitem.get_closest_marker("traced") is None:
        return None
    # The test is chosen already: without -m "" the default selection would drop a slow one.
    command = [sys.executable, "-m", "pytest", "-q", "-m", "", "-p", "no:cacheprovider", pyfuncitem.nodeid]
    environ = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    done = subprocess.run(
        command,
        cwd=pyfuncitem.config.rootpath,
        env=environ | {"SCENELEAPULTRA_UNCHECKED": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return True


@pytest.fixture(autouse=True)
def checked_annotations(request: pytest.FixtureRequest) -> Iterator[None]:
    jaxtyping.config.update("jaxtyping_disable", request.node.get_closest_marker("untyped") is not None)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)


@pytest.fixture
def compose(tmp_path: Path) -> Callable[..., DictConfig]:
    """Compose config.yaml with overrides, into a run folder of the test's own."""

    def composed(*overrides: str) -> DictConfig:
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            return hydra.compose("config", overrides=[f"run_dir={tmp_path / 'run'}", *overrides])

    return composed


@pytest.fixture
def run_program(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run a program of scripts/ in this process; return its exit status."""

    def run(name: str, *words: object) -> int:
        monkeypatch.setattr(sys, "argv", [f"scripts/{name}.py", *map(str, words)])
        try:
            importlib.import_module(f"sceneleapultra.scripts.{name}").main()
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0

    return run


@pytest.fixture(scope="session")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a shell in which ``sceneleap`` and ``python`` are this project's."""
    folder, root = tmp_path_factory.mktemp("bin"), CONFIG_DIR.parent
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "SCENELEAPULTRA_"))}
    environ |= {"PYTHONPATH": f"{root}:{root / 'tests'}", "COLUMNS": "160"}
    python = WarmPython(folder, environ)
    yield environ | {"PATH": f"{folder}:{environ['PATH']}"}
    python.end()


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of ten scenes of boxes with made-up grasps: 24 training items."""
    writer = StoreWriter(
        tmp_path_factory.mktemp("store") / "tiny.h5",
        hand=load_hand("leap_right"),
        protocol="dgb-fc-quick",
        protocol_hash="made up",
        generator={"made": "up"},
        seed=0,
    )
    for index, split in enumerate(["train"] * 6 + ["val", "val", "test", "test_family"]):
        writer.write(scene_record(index, split))
    return writer.finish()


@pytest.fixture(scope="session")
def tiny_data(tiny_store: Path) -> list[str]:
    """Overrides that serve the tiny store, without loading processes."""
    return [
        f"data.store={tiny_store}",
        "data.loading.workers=0",
        "data.cloud.num_points=256",
        "data.min_points=20",
    ]


@pytest.fixture
def trial_plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a package outside the project that holds a trial and a metric: that of docs/extending.md."""
    monkeypatch.syspath_prepend(CONFIG_DIR.parent / "docs/extending")
    yield "my_plugin"
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_plugin"]:
        del sys.modules[name]


@pytest.fixture(scope="session")
def mlflow_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A place of MLflow's on this machine; making its tables takes seconds."""
    pytest.importorskip("mlflow", reason="needs sceneleapultra[mlflow]")
    pytest.importorskip("alembic", reason="needs sceneleapultra[mlflow]")
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"
