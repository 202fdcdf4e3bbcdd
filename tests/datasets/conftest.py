"""Makes the records beside the tests importable, and offers a small finished store."""

import shutil
from pathlib import Path

import pytest

from factories.records import SPLITS, scene_record, writer
from sceneleapultra.utils.records import SceneRecord


@pytest.fixture
def records() -> list[SceneRecord]:
    return [scene_record(i, split) for i, split in enumerate(SPLITS)]


@pytest.fixture(scope="session")
def finished_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    w = writer(tmp_path_factory.mktemp("finished") / "store.h5")
    for i, split in enumerate(SPLITS):
        w.write(scene_record(i, split))
    return w.finish()


@pytest.fixture
def store_path(tmp_path: Path, finished_store: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copy(finished_store, tmp_path / "store.h5"))
