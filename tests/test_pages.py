"""Does every command and every Python block of the pages run? In the page's order, in a folder like a checkout.

tests/factories/rehearsals.py makes them small. What another test runs stands in ``ELSEWHERE``; what cannot run on a CPU
without a network stands in ``NOT_RUN``, with the reason, and is looked at by what would run it. Tutorials are run by
tests/test_tutorials.py; pages in Chinese show what those in English do: tests/test_languages.py.
"""

import functools
import os
import re
import shutil
import subprocess
import venv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from factories.fake_leap import fake_leap
from factories.hands import write
from factories.page_checks import check
from factories.ptv3 import small_network
from factories.reader import cx, cy, depth, fx, fy
from factories.rehearsals import WORDS, Step, run, steps
from sceneleapultra.utils.core.config import CONFIG_DIR

ROOT = CONFIG_DIR.parent
PAGES = [
    page
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if not page.name.endswith(".zh.md") and page.parent.name != "tutorials"
]

# {a test that runs it: {page: what the beginnings of its commands match}}
ELSEWHERE = {
    "tests/datasets/test_shards.py": {"clusters.md": [r"python scripts/store\.py"]},
    "tests/cluster/test_executors.py": {"clusters.md": [r"python .*launcher=ray", "ray"]},
    "tests/examples/test_pick_with_arm.py": {"real_hand.md": [r"python examples/"]},
    "tests/evaluation/viewer/test_browser.py": {"viewing.md": [r"python scripts/view\.py (predicted|runs)"]},
    "tests/faults/test_sweep.py": {"experiments.md": [r"python scripts/sweep\.py"]},
    "tests/models/test_ahead_of_time.py": {"export.md": [".*aoti_load_package"]},
    "tests/serving/test_adapters.py": {"serving.md": [r"python scripts/serve_tool\.py"]},
    "tests/serving/test_onnx.py": {  # exports so, in minutes
        "README.md": [r"python scripts/export_model\.py .* --onnx"],
        "export.md": [r"python scripts/export_model\.py .* --onnx", ".*load_onnx_model"],
    },
    "tests/test_extending.py": {"extending.md": [""]},
    "tests/test_tutorials.py": {  # own_hand, self_training
        "README.md": [r"python scripts/self_train\.py"],
        "hands.md": [r"python .*my_hand"],
        "running.md": [r"python scripts/self_train\.py"],
    },
    ".ci/run": {
        "README.md": ["make quickstart", "make test"],
        "CONTRIBUTING.md": ["make (check|test|docs)"],
        "index.md": ["make setup"],
        "results.md": ["make quickstart"],
    },
}

# {why it is only looked at, by tests/factories/page_checks.py: {page: what the beginnings of its commands match}}
NOT_RUN = {
    "installs, or asks the network": {
        "clusters.md": ["pip"],
        "experiments.md": ["pip"],
        "export.md": ["pip"],
        "security.md": ["make lock", "make audit"],
        "serving.md": ["pip"],
        "viewing.md": ["pip"],
    },
    "needs GPUs, several machines or Docker": {
        "README.md": ["torchrun"],
        "clusters.md": ["sbatch", "torchrun"],
        "serving.md": ["docker"],
    },
    "takes minutes at its smallest": {
        "hands.md": [r"python -m benchmarks\.cross_hand"],
        "diffusion.md": [r"python -m benchmarks\.diffusion_grid"],
        "model_zoo.md": [r"python -m benchmarks\.pick_film"],
    },
    "names what writes a file": {"files.md": ["sceneleap"]},
}

# {page: names that it gives to stores of its reader's}
STORES = {
    "completion.md": ["test_all", "test_clutter", "test_ycb"],
    "export.md": ["own24", "own25", "own26"],
    "loading.md": ["old", "part1"],
    "results.md": ["test_contactdb"],
    "running.md": ["own1"],
}


def reason(page: Path, step: Step) -> str | None:
    """Return why a step does not run here: where else it runs, or why it does not."""
    for why, pages in (ELSEWHERE | NOT_RUN).items():
        if any(re.match(start, step.shown, re.DOTALL) for start in pages.get(page.name, [])):
            return why
    home = home_of(step.shown)
    return f"runs on {home.name}" if home != page else None


@functools.cache
def home_of(text: str) -> Path:
    """Return the page on which a step runs that several show: where words make it small, or the first."""
    listed = ELSEWHERE | NOT_RUN
    found = [
        (step.words == "", PAGES.index(page))
        for page in PAGES
        for step in shown(page)
        if step.shown == text
        and not any(
            re.match(start, text, re.DOTALL)
            for pages in listed.values()
            for start in pages.get(page.name, [])
        )
    ]
    return PAGES[min(found)[1]]


@functools.cache
def shown(page: Path) -> list[Step]:
    return [step for step in steps(page) if step.kind != "text"]


@functools.cache
def to_run(page: Path) -> list[Step]:
    return [step for step in shown(page) if reason(page, step) is None]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, shell: dict[str, str]) -> Path:
    """A folder as the pages have it: a checkout with a small store, a run of it, a camera's files and meshes."""
    folder = tmp_path_factory.mktemp("checkout")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in names.split("\0"):
        if name and not name.startswith("tests/") and os.path.lexists(ROOT / name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)  # results name a commit
    by = ["-c", "user.name=reader", "-c", "user.email=reader@example.org"]
    subprocess.run(["git", *by, "commit", "-q", "--allow-empty", "-m", "A checkout"], cwd=folder, check=True)
    of_a_camera(folder)
    (folder / "meshes").mkdir()
    for i in range(10):
        for end in ("", "_convex"):
            can = trimesh.creation.cylinder(radius=0.02 + 0.002 * i, height=0.08 + 0.005 * i)
            can.export(folder / f"meshes/can_{i}{end}.obj")
    shutil.copy(folder / "meshes/can_3.obj", folder / "mug.obj")
    of_a_hand(folder)
    of_pointcept(folder)
    of_make(folder, shell)
    made = [
        "python scripts/generate_dataset.py path=data/quick.h5 'objects.families=[box,cylinder]'"
        " 'objects.held_out_families=[cylinder]'",
        "python train_lightning.py experiment=quickstart run_dir=runs/quickstart",
        *(
            f"python scripts/export_dataset.py data/quick.h5 foreign/{x} --format {x}"
            for x in ("bodex", "sceneleapplus")
        ),
    ]
    status, printed = run([Step("bash", line) for line in made], folder, shell, small=True, timeout=500)
    assert status == 0, "".join(printed)[-4000:]
    return folder


def of_a_hand(folder: Path) -> None:
    """Write a hand of two jaws, and a card that names it."""
    (folder / "path/to").mkdir(parents=True)
    write(folder / "path/to", "jaws.urdf").rename(folder / "path/to/hand.urdf")
    (folder / "hands/my_hand").mkdir(parents=True)
    (folder / "hands/my_hand/hand.yaml").write_text("name: mine\ndescription: ../../path/to/hand.urdf\n")


def of_pointcept(folder: Path) -> None:
    """Write weights of a small Point Transformer V3 as Pointcept writes those of its own, with a head."""
    state = small_network(6, norm="batch", unpool_convolution="skip").state_dict()
    named = {f"module.backbone.{name}": tensor for name, tensor in state.items()}
    torch.save({"state_dict": named | {"module.seg_head.bias": torch.zeros(20)}}, folder / "model_best.pth")


def of_make(folder: Path, shell: dict[str, str]) -> None:
    """Make the environment that ``make setup`` makes, with the programs of this one."""
    programs = folder / ".venv/bin"
    venv.create(folder / ".venv")
    (programs / "python").unlink()
    for name in ("python", "sceneleap", "ruff"):
        (programs / name).symlink_to(str(shutil.which(name, path=shell["PATH"])))
    for name in (folder / ".venv/installed", programs / "lint-imports"):
        name.touch()


def of_a_camera(folder: Path) -> None:
    """Write what the camera of factories/reader.py sees: an image; a cloud (m), its object where pages say."""
    Image.fromarray(depth).save(folder / "depth.png")
    rows, columns = np.nonzero(depth)
    z = depth[rows, columns] * 0.001
    points = np.stack([(columns - cx) / fx * z, (rows - cy) / fy * z, z], axis=-1)
    (pixel,) = np.flatnonzero((columns == 310) & (rows == 255))
    trimesh.PointCloud(points - points[pixel] + (0.05, 0.02, 0.61)).export(folder / "cloud.ply")


@pytest.mark.slow
@pytest.mark.timeout(1600)
@pytest.mark.parametrize("page", [page for page in PAGES if to_run(page)], ids=lambda page: page.stem)
def test_what_a_page_shows_runs(page: Path, checkout: Path, shell: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "checkout"
    shutil.copytree(checkout, folder, symlinks=True)
    for name in STORES.get(page.name, []):
        os.link(folder / "data/quick.h5", folder / f"data/{name}.h5")
    found = to_run(page)
    with fake_leap() as hand:
        status, printed = run(
            found, folder, shell, small=True, timeout=1500, named={"/dev/ttyUSB0": hand.port}
        )
    assert status == 0, f"{page.name}: {found[len(printed) - 1].lines(True)}\n{printed[-1][-4000:]}"
    shutil.rmtree(folder)


def test_every_command_and_block_runs_or_is_looked_at() -> None:
    """Prints how many do; ``pytest -s`` shows it."""
    counts: dict[str, Counter[str]] = {
        "run": Counter(),
        "run by another test": Counter(),
        "looked at": Counter(),
    }
    for page in PAGES:
        for step in shown(page):
            why = reason(page, step)
            if why in NOT_RUN:
                counts["looked at"][f"{check(step.shown)}; it {why}"] += 1
            elif why in ELSEWHERE:
                counts["run by another test"][why] += 1
            else:
                counts["run"][{"bash": "commands", "python": "blocks of Python"}[step.kind]] += 1
    print(f"\n{sum(c.total() for c in counts.values())} commands and blocks of Python:")  # noqa: T201
    for name, counter in counts.items():
        print(f"{counter.total():4} {name}")  # noqa: T201
        for why, count in counter.most_common():
            print(f"    {count:4} {why}")  # noqa: T201


def test_lists_of_what_is_not_run_here_name_what_there_is() -> None:
    every = [(page.name, step.shown) for page in PAGES for step in shown(page)]
    for why, pages in (ELSEWHERE | NOT_RUN).items():
        assert why in NOT_RUN or (ROOT / why).is_file(), why
        for name, starts in pages.items():
            for start in starts:
                assert any(page == name and re.match(start, text, re.DOTALL) for page, text in every), (
                    f"{why}: {name} shows nothing like {start}"
                )


def test_words_are_of_programs_that_pages_run() -> None:
    every = [step.shown for page in PAGES for step in to_run(page)]
    assert [found for found in WORDS if not any(re.search(found, text) for text in every)] == []
