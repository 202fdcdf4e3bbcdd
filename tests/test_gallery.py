"""Is every picture of the gallery the one that its line of the page names, and does nothing fall out of its frame?"""

import hashlib
import re

import numpy as np
import pytest
from PIL import Image

from benchmarks.gallery import COLUMNS, COMPLETIONS, FOLDER, PAGES, PANEL, STRIP, annotate, framed, note
from benchmarks.gallery_pictures import PICTURES
from sceneleapultra.evaluation.provenance import file_hash
from sceneleapultra.models.checkpoints.zoo import find_checkpoint
from sceneleapultra.reporting.drawing import ColoredMesh, Drawing

_LARGEST = 150_000  # bytes


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_the_one_that_its_page_names(name: str) -> None:
    path = FOLDER / f"{name}.webp"
    assert path.stat().st_size <= _LARGEST
    with Image.open(path) as picture:
        rows = 4 if name in COMPLETIONS else 2
        assert picture.size == (COLUMNS * PANEL[0], rows * (PANEL[1] + STRIP))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    for page in PAGES:
        found = re.search(rf"\(pictures/gallery/{name}\.webp\)\n\n(.*)\n", page.read_text())
        assert found is not None, f"{page.name} does not show {name}"
        command, seed = re.match(r"`(.*)` · seed (\d+) ·", found[1]).groups()  # type: ignore[union-attr]
        assert command.partition(" --completion ")[0] == f"python -m benchmarks.gallery {name} --seed {seed}"
        assert f"sha256 `{digest}`" in found[1], f"{page.name}: run {command}"


def test_pictures_are_of_the_model_that_is_shipped() -> None:
    model = file_hash(find_checkpoint("leap_table"))
    for page in PAGES:
        lines = re.findall(r"^`python -m benchmarks.gallery (\w+).*$", page.read_text(), re.MULTILINE)
        assert lines == list(PICTURES)
        count = page.read_text().count(f"leap_table `{model}`")
        assert count == len(PICTURES) - len(COMPLETIONS), "run python -m benchmarks.gallery"


def test_pages_show_every_picture_there_is_and_no_other() -> None:
    assert sorted(path.stem for path in FOLDER.iterdir()) == sorted(PICTURES)


def test_a_note_replaces_the_one_before() -> None:
    page = "![What](pictures/gallery/hands.webp)\n\n`python -m benchmarks.gallery hands --seed 0` · old\n\nmore\n"
    line = note("hands --seed 4", 4, "leap_table `0123`", b"picture")
    changed = annotate(page, "hands", line)
    assert changed == page.replace("`python -m benchmarks.gallery hands --seed 0` · old", line)
    assert hashlib.sha256(b"picture").hexdigest()[:12] in line and "--seed 4" in line
    with pytest.raises(ValueError, match=r"gallery/tokens\.webp"):
        annotate(page, "tokens", line)


@pytest.mark.parametrize("azimuth_deg", [-60.0, 10.0, 200.0])
@pytest.mark.parametrize("scale", [(0.02, 0.02, 0.4), (0.5, 0.02, 0.02), (0.1, 0.1, 0.1)])
def test_hand_and_target_are_within_the_frame(azimuth_deg: float, scale: tuple[float, float, float]) -> None:
    corners = np.random.default_rng(0).normal(size=(50, 3)) * scale + [1.0, -2.0, 0.3]
    mesh = ColoredMesh(corners, np.zeros((1, 3), int), (0.0, 0.0, 0.0), "hand")
    far = ColoredMesh(corners + 10.0, np.zeros((1, 3), int), (0.0, 0.0, 0.0), "neighbor")
    view = framed(Drawing((mesh, far), (), "", "", False, azimuth_deg, (0.0, 0.0, 0.0), 1.0))
    right, up, _ = ((corners - view.center) @ view.axes().T).T
    half = view.width / 2, view.width / 2 * PANEL[1] / PANEL[0]
    assert np.abs(right).max() <= half[0] and np.abs(up).max() <= half[1]
    assert np.abs(right).max() / half[0] > 0.8 or np.abs(up).max() / half[1] > 0.8
