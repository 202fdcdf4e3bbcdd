"""Does every command and every Python block of the pages run? In the page's order, in a folder like a checkout.

tests/factories/rehearsals.py makes them small. What cannot run here stands in ``NOT_RUN``, with the reason. Tutorials
are run by tests/test_tutorials.py; pages in Chinese show what those in English do: tests/test_languages.py.
"""

import functools
import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from factories.hands import write
from factories.reader import cx, cy, depth, fx, fy
from factories.rehearsals import WORDS, Step, run, steps
from sceneleapultra.utils.core.config import CONFIG_DIR

ROOT = CONFIG_DIR.parent
PAGES = [
    page
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if not page.name.endswith(".zh.md") and page.parent.name != "tutorials"
]

# {reason: {page: what the beginnings of its commands match}}
NOT_RUN = {
    "installs, or asks the network": {
        "README.md": ["make demo", "source"],
        "clusters.md": ["pip"],
        "experiments.md": ["pip"],
        "export.md": ["pip"],
        "index.md": ["make setup", "source"],
        "security.md": ["make lock", "make audit"],
        "serving.md": ["pip"],
        "viewing.md": ["pip"],
    },
    "is a step of .ci/run": {
        "README.md": ["make quickstart", "make test"],
        "CONTRIBUTING.md": ["make"],
        "results.md": ["make quickstart"],
    },
    "needs GPUs, several machines or Docker": {
        "README.md": ["torchrun"],
        "clusters.md": [
            "python train",
            r"python scripts/generate",
            "sbatch",
            "ray",
            "python test",
            "torchrun",
        ],
        "serving.md": ["docker"],
    },
    "needs files that are downloaded": {
        "foreign_data.md": [r"python train.*/data/", r"python scripts/convert", r"python scripts/inspect"],
        "ptv3.md": [r".*model_best\.pth"],
        "results.md": [r".*data/(test_ycb|multidex)\.h5"],  # the table of real objects, too
    },
    "moves a hand": {"real_hand.md": [r"python scripts/hand\.py (play|release)", "from sceneleapultra"]},
    "takes minutes at its smallest": {
        "diffusion.md": [r"python -m benchmarks\.diffusion_grid"],
        "gallery.md": [r"python -m benchmarks\.gallery"],
        "hands.md": [r"python -m benchmarks\.cross_hand"],
        "model_zoo.md": [r"python -m benchmarks\.(camera|pick_film)"],
    },
    "tests/datasets/test_shards.py runs it": {"clusters.md": [r"python scripts/store\.py"]},
    "tests/examples/test_pick_with_arm.py runs it": {"real_hand.md": [r"python examples/"]},
    "tests/evaluation/viewer opens it": {
        "README.md": [r"python scripts/view\.py"],
        "viewing.md": [r"python scripts/view\.py"],
    },
    "tests/faults/test_sweep.py runs it": {"experiments.md": [r"python scripts/sweep\.py"]},
    "tests/serving/test_adapters.py runs it": {"serving.md": [r"python scripts/serve_tool\.py"]},
    "tests/serving/test_onnx.py exports so, in minutes": {
        "README.md": [r"python scripts/export_model\.py .* --onnx"],
        "export.md": [r"python scripts/export_model\.py .* --onnx", ".*load_onnx_model"],
    },
    "tests/test_extending.py runs it": {"extending.md": [""]},
    "docs/serving.md shows what is like it": {
        "README.md": [r"python scripts/serve\.py"],
        "completion.md": [r"python scripts/serve\.py"],
    },
    "a tutorial runs it": {  # own_hand, self_training
        "README.md": [r"python scripts/self_train\.py"],
        "hands.md": [r"python .*my_hand"],
        "running.md": [r"python scripts/self_train\.py"],
    },
    "is how a model came about that is no longer shipped": {
        "results.md": [
            r".*leap_table_cpu path=data/s",
            r".*self_train_data\.py checkpoint=",
            ".*leap_table_own",
        ]
    },
    "names what writes a file": {"files.md": ["sceneleap"]},
}

# {page: names that it gives to stores of its reader's}
STORES = {
    "completion.md": ["test_clutter"],
    "export.md": ["own24"],
    "loading.md": ["old", "part1"],
    "running.md": ["own1"],
}


def reason(page: Path, step: Step) -> str | None:
    """Return why a step does not run here."""
    for why, pages in NOT_RUN.items():
        if any(re.match(start, step.shown, re.DOTALL) for start in pages.get(page.name, [])):
            return why
    before = PAGES[: PAGES.index(page)]
    return "runs on a page before" if any(step.shown == s.shown for p in before for s in to_run(p)) else None


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
    made = [
        "python scripts/generate_dataset.py path=data/quick.h5 'objects.families=[box,cylinder]'"
        " 'objects.held_out_families=[cylinder]'",
        "python train_lightning.py experiment=quickstart run_dir=runs/quickstart",
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
    status, printed = run(found, folder, shell, small=True, timeout=1500)
    assert status == 0, f"{page.name}: {found[len(printed) - 1].lines(True)}\n{printed[-1][-4000:]}"
    shutil.rmtree(folder)


def test_all_but_what_is_listed_runs() -> None:
    every = [(page, step) for page in PAGES for step in shown(page)]
    counts = Counter(reason(page, step) or f"run ({step.kind})" for page, step in every)
    print(f"{len(every)} commands and blocks of Python:")  # noqa: T201
    for why, count in counts.most_common():
        print(f"{count:4}  {why}")  # noqa: T201
    for why, pages in NOT_RUN.items():
        for name, starts in pages.items():
            for start in starts:
                assert any(
                    page.name == name and re.match(start, step.shown, re.DOTALL) for page, step in every
                ), f"NOT_RUN, {why}: {name} shows nothing like {start}"
        named = re.match(r"(tests/\S+)", why)
        assert named is None or (ROOT / named[1]).exists(), why


def test_words_are_of_programs_that_pages_run() -> None:
    every = [step.shown for page in PAGES for step in to_run(page)]
    assert [found for found in WORDS if not any(re.search(found, text) for text in every)] == []
