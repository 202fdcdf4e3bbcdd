"""What there is to look at: a data set, a test of it, a prediction."""

from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from factories.camera_view import TWO, camera_view
from factories.shipped import LEAP_TABLE_CPU
from sceneleapultra import test_lightning
from sceneleapultra.scripts.predict import predict
from sceneleapultra.utils.core.cli import Settings
from sceneleapultra.utils.core.config import CONFIG_DIR


@pytest.fixture(scope="session")
def tested(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a test by scene-lift of a shipped model and a baseline on one object."""
    folder = tmp_path_factory.mktemp("tested")
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose(
            "test",
            overrides=[
                *(f"checkpoint={LEAP_TABLE_CPU}", f"store={tiny_store}", f"output={folder}"),
                *("protocol=scene-lift", "splits=[test]", "top=null", "pictures=1", "max_items=1"),
                *("samples_per_item=2", "sampling.temperature=0.3", "sampling.steps=4", "min_points=20"),
                *("evaluation=quickstart", "~baselines.nearest_view", "~baselines.shipped"),
                "workers=1",
            ],
        )
    test_lightning.test(cfg)
    return folder


@pytest.fixture(scope="session")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a prediction for one of two objects that a camera saw."""
    folder = tmp_path_factory.mktemp("predicted")
    view = camera_view(TWO)
    np.savez(folder / "view.npz", depth=view.depth, K=view.K, mask=view.box == 0)
    sampling, _ = Settings("sampling/changes").read()
    predict(
        folder / "view.npz",
        checkpoint=str(LEAP_TABLE_CPU),
        num_grasps=3,
        sampling={**sampling, "steps": 4},
        output=folder,
    )
    return folder
