"""Does a file that somebody else made do nothing but be read: nothing executed, nothing followed, one sentence?

Every attack would leave a trace in the folder of the test: a canary, or the words of a file it has no business with.
"""

import copy
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hydra
import numpy as np
import pytest
import torch
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from factories.pages import HOSTILE, require_inert
from factories.shipped import LEAP_TABLE_CPU
from sceneleapultra import test_lightning
from sceneleapultra.datasets import GraspStore
from sceneleapultra.datasets.foreign.readers.files import read_npy, read_npz
from sceneleapultra.evaluation.suite import trained_on
from sceneleapultra.hands import load_hand
from sceneleapultra.models import load_grasp_model
from sceneleapultra.models.checkpoints.init import init_weights
from sceneleapultra.models.checkpoints.load import read_checkpoint
from sceneleapultra.models.checkpoints.weights import load_encoder
from sceneleapultra.models.objectives.distillation import build_student
from sceneleapultra.utils.core import plugins
from sceneleapultra.utils.core.config import CONFIG_DIR
from sceneleapultra.utils.training.run_folder import changed_keys, write_run_folder

pytestmark = pytest.mark.faults

SECRET = "the words of a file that nobody asked for"
PROJECT = "sceneleapultra"
PLUGIN = """
import os
from pathlib import Path
from subprocess import Popen

Path(os.environ["CANARY"]).touch()


def run(command):
    os.system(command)
"""


@pytest.fixture(autouse=True)
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What an attack would make; a package that makes it when it is imported; no plugin is named yet."""
    path = tmp_path / "canary"
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "evil_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.setenv("CANARY", str(path))
    monkeypatch.setenv("SECRET", SECRET)
    monkeypatch.setattr(plugins, "_named", set())
    yield path
    sys.modules.pop("evil_plugin", None)


@pytest.fixture(scope="session")
def honest() -> dict[str, Any]:
    """A checkpoint of the project, in today's layout, without its weights: they are never reached."""
    checkpoint = read_checkpoint(LEAP_TABLE_CPU)
    return {**checkpoint, "state_dict": {}}


def gadgets(canary: Path) -> dict[str, Any]:
    """Return what Hydra would run, each in a checkpoint's configuration, by what it is."""
    touch = f"touch {canary}"
    write = f"open({str(canary)!r}, 'w').write('x')"
    shell = {"_target_": "os.system", "command": touch}
    return {
        # The three that ran in version 0.1.
        "a shell of torch": {"_target_": "torch.utils.collect_env.run", "command": touch},
        "exec of numpy": {"_target_": "numpy.testing.runstring", "astr": write, "dict": {}},
        "a file written": {
            "_target_": "pathlib.Path.write_text",
            "_args_": [{"_target_": "pathlib.Path", "_args_": [str(canary)]}, "x"],
        },
        # The five that Hydra refuses by itself.
        "os.system": shell,
        "subprocess": {"_target_": "subprocess.check_output", "args": touch, "shell": True},
        "exec": {"_target_": "builtins.exec", "_args_": [write]},
        "eval": {"_target_": "builtins.eval", "_args_": [write]},
        "rmtree": {"_target_": "shutil.rmtree", "path": str(canary.parent)},
        # Ways around a list of packages.
        "through a module of the project": {
            "_target_": f"{PROJECT}.utils.training.run_folder.subprocess.getoutput",
            "cmd": touch,
        },
        "a class that the project imports": {
            "_target_": f"{PROJECT}.evaluation.provenance.Path",
            "_args_": ["x"],
        },
        "a function of the project": {
            "_target_": f"{PROJECT}.utils.training.run_folder.git_state",
            "root": str(canary.parent),
        },
        "a teacher": {"_target_": f"{PROJECT}.models.objectives.distillation.build_student", "teacher": "x"},
        "a partial": {"_target_": "functools.partial", "_args_": [shell]},
        "made partial": {**shell, "_partial_": True},
        "kept for later": {"_target_": "hydra.utils.instantiate", "config": shell, "_recursive_": False},
        "found by name": {"_target_": "hydra.utils.get_method", "path": "os.system"},
        "of hydra-zen": {"_target_": "hydra_zen.funcs.zen_processing", "_zen_target": "os.system"},
        "in a list of lists": {"steps": [[{"deep": (shell,)}]]},
        "no name": {"_target_": ["os.system"]},
        # What stands for something else.
        "an environment variable": {"name": "${oc.env:SECRET}"},
        "a target put together": {"_target_": "${.first}.system", "first": "os"},
        "a plugin that nobody named": {"_target_": "evil_plugin.run", "command": touch},
    }


NAMES = list(gadgets(Path("x")))


@pytest.fixture
def attack(honest: dict[str, Any], tmp_path: Path, canary: Path) -> Callable[[str], Path]:
    """Write a checkpoint whose solver is a gadget."""

    def write(name: str) -> Path:
        checkpoint = copy.deepcopy(honest)
        checkpoint["model_config"]["generator"]["sampling"]["solver"] = gadgets(canary)[name]
        path = tmp_path / "run" / "checkpoints" / "last.ckpt"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(checkpoint, path)
        return path

    return write


def refused(canary: Path, act: Callable[[], object]) -> str:
    """Return the sentence with which an act ends; nothing was run, and nothing secret is said."""
    with pytest.raises((ValueError, FileNotFoundError)) as told:
        act()
    assert not canary.exists()
    said = str(told.value)
    assert SECRET not in said and "root:x:0" not in said
    return said


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_runs_nothing(name: str, attack: Callable[[str], Path], canary: Path) -> None:
    path = attack(name)
    said = refused(canary, lambda: load_grasp_model(path))
    assert said.startswith((f"{path} is built from ", f"{path}: model_config.generator.sampling.solver."))
    assert "\n" not in said and canary.parent.is_dir() and "evil_plugin" not in sys.modules


@pytest.mark.parametrize("target", ["run", "Popen", "os.system", "Path.write_text"])
def test_a_plugin_that_is_named_is_no_way_to_what_it_imports(
    target: str, honest: dict[str, Any], tmp_path: Path, canary: Path
) -> None:
    checkpoint = copy.deepcopy(honest)
    made = {"_target_": f"evil_plugin.{target}", "_args_": [f"touch {canary}-too"]}
    checkpoint["model_config"]["generator"]["sampling"]["solver"] = made
    torch.save(checkpoint, tmp_path / "x.ckpt")
    plugins.use_plugins(["evil_plugin"])
    canary.unlink()  # the user named the package, and importing it is what makes a canary
    said = refused(canary, lambda: load_grasp_model(tmp_path / "x.ckpt"))
    assert f"is built from evil_plugin.{target}" in said and not Path(f"{canary}-too").exists()


def read_by(way: str, path: Path, store: Path) -> object:
    """Let a part of the project read a checkpoint."""
    if way == "init_from":
        from factories.models import small_generator

        return init_weights(small_generator(), str(path), None, frame="tabletop")
    if way == "teacher":
        return build_student(teacher=str(path), hand="leap_right")
    root, words = {
        "test": ("test", [f"checkpoint={path}"]),
        "self-training": (
            "self_training",
            [f"checkpoint={path}", f"store={store}", f"output={path.with_name('y.h5')}"],
        ),
    }[way]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = hydra.compose(root, overrides=words)
    if way == "test":
        return test_lightning.test(cfg)
    from sceneleapultra.scripts.self_train_data import self_train_data

    return self_train_data(cfg)


@pytest.mark.parametrize("way", ["init_from", "teacher", "test", "self-training"])
def test_whoever_reads_a_checkpoint_runs_nothing(
    way: str, attack: Callable[[str], Path], canary: Path, tiny_store: Path
) -> None:
    path = attack("a shell of torch")
    said = refused(canary, lambda: read_by(way, path, tiny_store))
    assert "is built from torch.utils.collect_env.run" in said


def write_cloud(path: Path) -> Path:
    """Write a box on a table, 0.6 m below the camera."""
    rng = np.random.default_rng(0)
    box = rng.uniform((-0.03, -0.03, -0.6), (0.03, 0.03, -0.54), size=(1500, 3))
    points = np.concatenate([box, np.c_[rng.uniform(-0.2, 0.2, size=(1500, 2)), np.full(1500, -0.6)]])
    np.savez(path, points=points.astype(np.float32), mask=np.arange(3000) < 1500)
    return path


def test_predict_answers_with_one_sentence(
    attack: Callable[[str], Path],
    tmp_path: Path,
    canary: Path,
    run_program,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cloud = write_cloud(tmp_path / "x.npz")
    assert run_program("predict", cloud, "--checkpoint", attack("exec of numpy")) == 1
    said = capsys.readouterr().err
    assert "is built from numpy.testing.runstring" in said and "Traceback" not in said and not canary.exists()


@pytest.mark.parametrize("name", ["../../leap_right", "/etc/passwd", "../conversion/common"])
def test_a_hands_name_leads_nowhere(name: str, honest: dict[str, Any], tmp_path: Path, canary: Path) -> None:
    checkpoint = copy.deepcopy(honest)
    checkpoint["model_config"]["generator"]["hand"] = name
    torch.save(checkpoint, tmp_path / "x.ckpt")
    assert f"Unknown hand '{name}'" in refused(canary, lambda: load_grasp_model(tmp_path / "x.ckpt"))


class Bomb:
    """Makes a canary wherever it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {os.environ['CANARY']}",)


PICKLES = {"torch": torch.save, "raw": lambda value, path: path.write_bytes(pickle.dumps(value))}


@pytest.mark.parametrize("kind", PICKLES)
@pytest.mark.parametrize("reader", ["model", "encoder"])
def test_a_pickle_as_checkpoint_is_not_executed(kind: str, reader: str, tmp_path: Path, canary: Path) -> None:
    path = tmp_path / "x.ckpt"
    PICKLES[kind]({"model_config": Bomb(), "state_dict": {"encoder.x": Bomb()}}, path)
    act = {
        "model": lambda: load_grasp_model(path),
        "encoder": lambda: load_encoder(torch.nn.Linear(1, 1), path),
    }[reader]
    assert str(path) in refused(canary, act)


def test_a_pickle_as_array_is_not_executed(tmp_path: Path, canary: Path, run_program, capsys) -> None:
    array, arrays = tmp_path / "x.npy", tmp_path / "x.npz"
    np.save(array, np.array([Bomb()], dtype=object), allow_pickle=True)
    np.savez(arrays, allow_pickle=True, points=np.array([Bomb()], dtype=object))
    assert "holds a pickle of more than arrays" in refused(canary, lambda: read_npy(array))
    assert "x.npz" in refused(canary, lambda: read_npz(arrays))
    for path in (array, arrays):
        assert run_program("predict", path, "--checkpoint", LEAP_TABLE_CPU) == 1
        assert "Traceback" not in capsys.readouterr().err and not canary.exists()


# A run folder that somebody sent.

SETTINGS = {
    "an object": (
        "data: {store: !!python/object/apply:os.system ['touch CANARY']}",
        "the tag !!python/object",
    ),
    "a variable": ("data: {store: '${oc.env:SECRET}'}", "data.store holds '${oc.env:SECRET}'"),
    "a bomb": (
        "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
        + "".join(
            f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdef", "bcdefg", strict=True)
        ),
        "its aliases make more than",
    ),
    "half a file": ("data: {store: [a.h5", "no valid YAML"),
    "nothing": ("", "it holds nothing"),
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("reader", ["test", "training"])
def test_a_runs_configuration_is_only_read(name: str, reader: str, tmp_path: Path, canary: Path) -> None:
    text, sentence = SETTINGS[name]
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/last.ckpt").touch()
    (tmp_path / "config.yaml").write_text(text.replace("CANARY", str(canary)))
    act = {
        "test": lambda: trained_on(tmp_path, tmp_path / "checkpoints/last.ckpt"),
        "training": lambda: write_run_folder(OmegaConf.create({"run_dir": str(tmp_path)}), []),
    }[reader]
    said = refused(canary, act)
    assert said.startswith(f"{tmp_path / 'config.yaml'}") and sentence in said


def test_a_description_of_a_hand_is_only_read(tmp_path: Path, canary: Path) -> None:
    text = (CONFIG_DIR.parent / "hands/descriptions/leap_right.yaml").read_text()
    path = tmp_path / "hand.yaml"
    path.write_text(text.replace("name: leap_right", "name: ${oc.env:SECRET}", 1))
    assert "name holds '${oc.env:SECRET}'" in refused(canary, lambda: load_hand(path))
    path.write_text(text.replace("name: leap_right", "name: !!python/name:os.system x", 1))
    assert "the tag !!python/name:os.system" in refused(canary, lambda: load_hand(path))


BOMB = "".join(f"<!ENTITY e{i + 1} '{f'&e{i};' * 10}'>" for i in range(9))
ENTITIES = {
    "a bomb": f"<!DOCTYPE x [<!ENTITY e0 'xxxxxxxxxx'>{BOMB}]>",
    "a file": "<!DOCTYPE x [<!ENTITY e9 SYSTEM 'file:///etc/passwd'>]>",
}


@pytest.mark.parametrize("name", ENTITIES)
@pytest.mark.parametrize(
    ("suffix", "body"),
    [
        ("urdf", "<robot name='h'><link name='l'/>&e9;</robot>"),
        ("xml", "<mujoco><worldbody><body name='l'><geom size='1'/></body></worldbody>&e9;</mujoco>"),
    ],
)
def test_entities_of_a_hand_are_refused(
    name: str, suffix: str, body: str, tmp_path: Path, canary: Path
) -> None:
    path = tmp_path / f"hand.{suffix}"
    path.write_text(ENTITIES[name] + body)
    assert "declares the XML entity 'e" in refused(canary, lambda: load_hand(path))


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        ("xml", "<mujoco><include file='../secret.xml'/><worldbody><body name='l'/></worldbody></mujoco>"),
        ("xml", "<mujoco><include file='{secret}'/><worldbody><body name='l'/></worldbody></mujoco>"),
        ("urdf", "package://../../secret.stl"),
        ("urdf", "file://{secret}"),
        ("urdf", "{secret}"),
    ],
)
def test_a_hand_names_no_files_outside_its_folder(
    suffix: str, text: str, tmp_path: Path, canary: Path
) -> None:
    (tmp_path / "pkg").mkdir()
    for ending in ("xml", "stl"):
        (tmp_path / f"secret.{ending}").write_text(f"<mujoco model='{SECRET}'/>")
    path = tmp_path / "pkg" / f"hand.{suffix}"
    text = text.format(secret=tmp_path / f"secret.{'xml' if suffix == 'xml' else 'stl'}")
    shape = f"<collision><geometry><mesh filename='{text}'/></geometry></collision>"
    path.write_text(text if suffix == "xml" else f"<robot name='h'><link name='l'>{shape}</link></robot>")
    assert "secret" in refused(canary, lambda: load_hand(path))


@pytest.mark.parametrize("how", ["link", "soft link", "other storage"])
def test_a_store_shows_no_other_file(how: str, tiny_store: Path, tmp_path: Path, canary: Path) -> None:
    path, other = Path(shutil.copy(tiny_store, tmp_path / "s.h5")), tmp_path / "other"
    shutil.copy(tiny_store, other)
    with h5py.File(path, "r+") as file:
        shape, dtype = file["views/points"].shape, file["views/points"].dtype
        file.move("views/points", "views/kept")
        if how == "link":
            file["views/points"] = h5py.ExternalLink(str(other), "views/points")
        elif how == "soft link":
            file["views/points"] = h5py.SoftLink("/views/kept")
        else:
            stored = [(str(other), 0, h5py.h5f.UNLIMITED)]
            file.create_dataset("views/points", shape, dtype, external=stored)
    said = refused(canary, lambda: GraspStore(path))
    assert said.startswith(str(path)) and "views/points" in said


def test_the_name_of_a_cloud_becomes_no_markup(tmp_path: Path, run_program) -> None:
    path = write_cloud(tmp_path / f"{HOSTILE}.npz")
    words = ("--checkpoint", LEAP_TABLE_CPU, "--num-grasps", 2, "--sampling.steps", 2, "--output", tmp_path)
    assert run_program("predict", path, *words) == 0
    require_inert((tmp_path / "grasps.html").read_text())


def test_what_a_run_was_and_is_differs_in_plain_words() -> None:
    """The reader that takes nothing from elsewhere still sees what changed."""
    before, now = (OmegaConf.create({"a": {"b": value}}) for value in (1, 2))
    assert changed_keys(before, now) == ["a.b: 1 -> 2"]
