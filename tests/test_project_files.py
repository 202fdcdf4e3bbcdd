"""What a visitor of the repository relies on: citation, hashes of shipped files, the workflow, the pages."""

import hashlib
import re

import numpy as np
import pytest
import yaml
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from sceneleapultra import __version__
from sceneleapultra.models.checkpoints.zoo import shipped_models
from sceneleapultra.utils.core.config import CONFIG_DIR

ROOT = CONFIG_DIR.parent
LABORATORY = {"results.md", "results.zh.md"}
_COMMIT = re.compile(r"(?<![\w.-])(?=[0-9a-f]*[a-f])(?=[0-9a-f]*[0-9])[0-9a-f]{7,8}(?![\w.-])")


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == __version__ and citation["license"] == "MIT"
    assert citation["authors"][0]["name"] in (ROOT / "LICENSE").read_text()
    assert citation["title"] in (ROOT / "README.md").read_text()
    assert f"## {__version__} (" in (ROOT / "CHANGELOG.md").read_text()


def test_github_runs_what_contributors_run() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert [step["run"] for step in workflow["jobs"]["run"]["steps"] if "run" in step] == ["bash .ci/run"]
    for form in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        yaml.safe_load(form.read_text())


def test_the_zoo_page_has_the_hash_of_every_shipped_file() -> None:
    page = (ROOT / "docs" / "model_zoo.md").read_text()
    for name in shipped_models():
        assert f"`{name}`" in page and f"model_zoo/{name}/README.md" in page
    for file in (ROOT / "model_zoo").rglob("*.*"):
        if file.suffix != ".md":
            row = next(line for line in page.splitlines() if f"`{file.relative_to(ROOT)}`" in line)
            assert hashlib.sha256(file.read_bytes()).hexdigest() in row


def test_pages_for_users_name_no_commits() -> None:
    pages = [*ROOT.glob("README*.md"), *(ROOT / "docs").rglob("*.md")]
    named = {page.name: found for page in pages if (found := _COMMIT.findall(page.read_text()))}
    assert not set(named) - LABORATORY, named


def test_a_commit_is_found() -> None:
    assert _COMMIT.findall("at 86e086b, of 46168384 and data hash 97cf470da3a0") == ["86e086b"]


def test_the_moving_picture_moves_and_is_small() -> None:
    path = ROOT / "docs" / "pictures" / "pick.gif"
    assert path.stat().st_size < 2.5e6
    with Image.open(path) as film:
        assert film.size[0] == 640 and film.n_frames >= 60
        first = np.asarray(film.convert("RGB"), dtype=float)
        film.seek(film.n_frames - 1)
        last = np.asarray(film.convert("RGB"), dtype=float)
    changed = np.abs(first - last).max(-1) > 40
    assert 0.02 < changed.mean() < 0.5  # the hand and the mug; the table and the neighbors stay


@pytest.mark.slow
def test_the_python_of_the_readme_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(ROOT)
    found: dict[str, object] = {}
    exec(code, found)
    said = capsys.readouterr().out
    assert said.count("[") == 3 and float(said.split()[-1]) > 0.5


def test_no_optional_group_but_local() -> None:
    for path in CONFIG_DIR.rglob("*.yaml"):
        loaded = OmegaConf.load(path)
        for entry in loaded["defaults"] if isinstance(loaded, DictConfig) and "defaults" in loaded else []:
            keys = [str(key) for key in entry] if isinstance(entry, DictConfig) else []
            assert not any(key.startswith("optional ") for key in keys) or keys == ["optional local"], path
