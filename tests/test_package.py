"""Is the project installed under one name, does all it needs come along, and does it run from any folder?

The slow tests build a wheel from a git URL and install it into a fresh environment that borrows this one's
dependencies, without any registry.
"""

import fnmatch
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest
from setuptools import find_namespace_packages

from sceneleapultra.__main__ import VERBS
from sceneleapultra.models.checkpoints.zoo import FORMER_NAMES, ZOO, find_checkpoint, shipped_models
from sceneleapultra.utils.core.config import CONFIG_DIR

ROOT = CONFIG_DIR.parent
PACKAGE = ROOT / "sceneleapultra"
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
# Names that other projects are installed under, or may well be.
TAKEN = ("config", "datasets", "evaluation", "hands", "models", "scripts", "simulation", "tests", "utils")


def run(*command: object, cwd: Path, ok: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command that sees neither this checkout nor this process's settings of pytest."""
    kept = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "PYTHONSAFEPATH"}}
    done = subprocess.run([str(c) for c in command], cwd=cwd, env=kept, capture_output=True, text=True)
    assert not ok or done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done


def project_files() -> list[Path]:
    """List the files and links that git would keep; a folder without git has nothing else to go by."""
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).stdout
    return [ROOT / line for line in listed.splitlines() if (ROOT / line).exists()]


def test_only_one_name_is_installed() -> None:
    where = SETTINGS["packages"]["find"]
    found = find_namespace_packages(str(ROOT), exclude=where["exclude"], include=where["include"])
    assert {name.split(".")[0] for name in found} == {"sceneleapultra"}
    assert {"sceneleapultra.models.network", "sceneleapultra.config.hand"} <= set(found)
    assert not [
        name for name in found if "__pycache__" in name or name.startswith("sceneleapultra.config.local")
    ]


def test_every_root_folder_of_code_is_linked() -> None:
    links = {link.name: link.resolve() for link in PACKAGE.iterdir() if link.is_symlink()}
    assert links == {name: ROOT / name for name in links}
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"sceneleapultra"}
    assert folders | {"config", "model_zoo", "train_lightning.py", "test_lightning.py"} == set(links)


def test_every_file_beside_the_code_comes_along() -> None:
    patterns = SETTINGS["package-data"]["*"]
    linked = [link.resolve() for link in PACKAGE.iterdir() if link.is_dir()]
    beside = [p for p in project_files() if p.suffix != ".py" and any(p.is_relative_to(f) for f in linked)]
    assert len(beside) > 100
    assert not [p for p in beside if not any(fnmatch.fnmatch(p.name, pattern) for pattern in patterns)]


def test_naming_the_package_costs_nothing() -> None:
    script = "import sys, sceneleapultra; assert not {'torch', 'numpy', 'hydra'} & set(sys.modules)"
    run(sys.executable, "-c", script, cwd=ROOT)


def test_what_the_package_does_not_offer_is_answered_with_what_it_does() -> None:
    import sceneleapultra

    with pytest.raises(
        AttributeError, match=r"no attribute 'load_model'\. It offers: load_grasp_model, load_hand"
    ):
        _ = sceneleapultra.load_model


def test_a_checkout_without_links_says_so(tmp_path: Path) -> None:
    """Git writes a link as a file that holds its target where links are not supported."""
    folder = tmp_path / "sceneleapultra"
    folder.mkdir()
    shutil.copy(PACKAGE / "__init__.py", folder)
    (folder / "utils").write_text("../utils")
    answer = run(sys.executable, "-c", "import sceneleapultra", cwd=tmp_path, ok=False)
    assert "This checkout was made without symbolic links" in answer.stderr


def test_the_command_lists_its_verbs_without_torch() -> None:
    script = (
        "import sys; sys.argv = ['sceneleap', '--help']; from sceneleapultra.__main__ import main; main(); "
        "assert 'torch' not in sys.modules"
    )
    listed = run(sys.executable, "-c", script, cwd=ROOT).stdout
    for verb, (module, summary) in VERBS.items():
        assert f"  {verb} " in listed and summary in listed
        assert (PACKAGE / f"{module.replace('.', '/')}.py").is_file()
    programs = {
        f"scripts.{path.stem}" for path in (ROOT / "scripts").glob("*.py") if "__main__" in path.read_text()
    }
    assert programs | {"train_lightning", "test_lightning"} == {module for module, _ in VERBS.values()}


def test_a_misspelt_verb_is_answered_with_the_nearest() -> None:
    answer = run(sys.executable, "-m", "sceneleapultra", "trian", cwd=ROOT, ok=False)
    assert answer.returncode == 2
    assert answer.stderr.startswith("Unknown verb 'trian'. Did you mean 'train'? Available: ")


def test_shipped_models_are_found_by_name() -> None:
    assert shipped_models() == ["leap_table"]
    assert find_checkpoint("leap_table") == ZOO / "leap_table" / "model.ckpt"
    assert {find_checkpoint(old) for old in FORMER_NAMES} == {ZOO / "leap_table" / "model.ckpt"}
    for name in shipped_models():
        assert f"# Model card: {name}\n" in (ZOO / name / "README.md").read_text()
        assert find_checkpoint(ZOO / name / "model.ckpt") == find_checkpoint(name)


def test_an_unknown_model_is_answered_with_those_there_are() -> None:
    with pytest.raises(
        ValueError, match=r"Unknown model 'leap_tabel'. Did you mean 'leap_table'\? Available: leap_t"
    ):
        find_checkpoint("leap_tabel")
    with pytest.raises(
        FileNotFoundError, match=r"No checkpoint at runs/last.ckpt.*name a shipped model: leap_table"
    ):
        find_checkpoint("runs/last.ckpt")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of the working tree, built by pip from the URL of a git repository."""
    folder = tmp_path_factory.mktemp("wheel")
    clone = folder / "clone"
    for path in project_files():
        copy = clone / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy, follow_symlinks=False)
    git = ("git", "-c", "user.name=test", "-c", "user.email=test@localhost")
    run("git", "init", "-q", cwd=clone)
    run("git", "add", "-A", cwd=clone)
    run(*git, "commit", "-q", "-m", "the working tree", cwd=clone)
    options = ("-q", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "wheel", *options, "-w", folder, f"git+file://{clone}", cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs of a fresh environment with the wheel, beside somebody else's `datasets`."""
    venv = tmp_path_factory.mktemp("venv")
    run(sys.executable, "-m", "venv", "--without-pip", venv, cwd=venv)
    options = ("-q", "--no-deps", "--no-index", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "--python", venv / "bin/python", "install", *options, wheel, cwd=venv)
    packages = Path(
        run(
            venv / "bin/python", "-c", "import site; print(site.getsitepackages()[0])", cwd=venv
        ).stdout.strip()
    )
    assert not [name for name in TAKEN if (packages / name).exists()]
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (packages / "datasets").mkdir()
    (packages / "datasets" / "__init__.py").write_text("OWNER = 'somebody else'\n")
    return venv / "bin"


@pytest.mark.slow
def test_the_wheel_holds_one_name_and_all_files(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].removesuffix(".dist-info").split("-")[0] for name in names} == {
        "sceneleapultra"
    }
    expected = {
        f"sceneleapultra/{path.relative_to(ROOT)}"
        for path in project_files()
        if path.relative_to(ROOT).parts[0] in {link.name for link in PACKAGE.iterdir() if link.is_symlink()}
    }
    assert expected <= set(names)
    assert {"sceneleapultra/py.typed", "sceneleapultra/__main__.py"} <= set(names)


FROM_ANYWHERE = """
import importlib

import numpy as np
from sceneleapultra import load_grasp_model, load_hand

assert importlib.import_module("datasets").OWNER == "somebody else"
rng = np.random.default_rng(0)
box = rng.uniform(-0.03, 0.03, size=(1500, 3)) + [0, 0, 0.03]
table = np.c_[rng.uniform(-0.2, 0.2, size=(1500, 2)), np.zeros(1500)]
points, mask = np.concatenate([box, table]), np.arange(3000) < 1500
model = load_grasp_model("leap_table")
grasps = model.sample(points, 3, object_mask=mask, viewpoint=(0.4, -0.4, 0.5), up=(0.0, 0.0, 1.0), seed=0)
assert grasps.hand_pose.shape == (3, 7 + load_hand("leap_right").num_joints)
assert np.isfinite(grasps.hand_pose).all()
try:
    load_grasp_model("leap_chair")
except ValueError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_shipped_model_is_sampled_from_another_folder(installed: Path, tmp_path: Path) -> None:
    answer = run(installed / "python", "-c", FROM_ANYWHERE, cwd=tmp_path).stdout
    assert "Available: leap_table." in answer
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_data_are_made_and_trained_on_in_another_folder(installed: Path, tmp_path: Path) -> None:
    """Two processes put grasps into physics: they find their program by its module's name."""
    sceneleap = installed / "sceneleap"
    few = ("scenes=10", "grasps.successes=1", "grasps.max_attempts=4", "workers=2")
    run(sceneleap, "generate", "dataset=quick", "path=data/mine.h5", *few, cwd=tmp_path)
    short = ("hardware=cpu", "trainer.max_steps=2", "scheduler.warmup_steps=1", "callbacks=no_simulation")
    train = (
        "train",
        "experiment=quickstart",
        "data.store=data/mine.h5",
        "run_dir=runs/mine",
        "data.batch_size=2",
    )
    run(sceneleap, *train, *short, "trainer.val_check_interval=2", cwd=tmp_path)
    assert (tmp_path / "runs/mine/checkpoints/last.ckpt").is_file()
    assert (tmp_path / "runs/mine/git.txt").read_text().startswith("v")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "runs"]


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_its_help(installed: Path, tmp_path: Path, verb: str) -> None:
    assert len(run(installed / "sceneleap", verb, "--help", cwd=tmp_path).stdout.splitlines()) > 3
