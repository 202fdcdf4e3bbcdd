"""Offers scenes made by the project's own generator, and conversions of whatever a test writes from them."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import hydra
import pytest
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from sceneleapultra.datasets import GraspStore, StoreWriter
from sceneleapultra.datasets.foreign.readers import Conversion
from sceneleapultra.hands import load_hand
from sceneleapultra.simulation.generate import generate_scenes, prepare_objects
from sceneleapultra.utils.core.config import CONFIG_DIR, build
from sceneleapultra.utils.core.parallel import LocalExecutor


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> GraspStore:
    """Three scenes of two objects in two views, with grasps judged in simulation."""
    overrides = [
        "objects.per_scene=[0,1]",
        "objects.families=[box,cylinder,mug,dumbbell]",
        "grasps.successes=2",
        "views=2",
    ]
    overrides += [
        "grasps.max_attempts=8",
        "grasps.batch=8",
        "camera.object_points=200",
        "camera.table_points=300",
        "path=x",
    ]
    overrides += ["splits={train: 0.5, val: 0.25, test: 0.25}"]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = hydra.compose("generate", overrides=overrides)
    keys = ("seed", "splits", "table", "views", "objects", "scene", "camera", "grasps", "synthesis")
    content = {key: OmegaConf.to_container(cfg, resolve=True)[key] for key in keys}
    settings = build({"_target_": "sceneleapultra.simulation.generate.GenerateSettings", **content})
    hand = load_hand("leap_right")
    path = tmp_path_factory.mktemp("generated") / "store.h5"
    writer = StoreWriter(path, hand=hand, protocol="p", protocol_hash="p", generator=content, seed=0)
    executor = LocalExecutor(workers=1)
    source = prepare_objects(hand, settings, executor)
    for record in generate_scenes(hand, settings, source, scenes=3, executor=executor):
        writer.write(record)
    return GraspStore(writer.finish(), hand)


@cache
def _conversion(name: str, overrides: tuple[str, ...]) -> Conversion:
    small = [
        "renderer.views=1",
        "renderer.camera.object_points=200",
        "renderer.camera.table_points=200",
        "executor.workers=1",
    ]
    words = [f"conversion.{o}" for o in (*small, *overrides)]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = hydra.compose("convert", overrides=[f"conversion={name}", *words])
    return build(cfg.conversion)


@pytest.fixture
def conversion() -> Callable[..., Conversion]:
    """The conversion of a format, by one process, with few points, and no objects held out unless asked for."""

    def configured(name: str, *overrides: str) -> Conversion:
        return _conversion(name, ("splits.by=scene", "splits.val=0", "splits.test=0", *overrides))

    return configured


@pytest.fixture
def converted(tmp_path: Path, conversion: Callable[..., Conversion]) -> Callable[..., GraspStore]:
    """Convert a folder and open the store."""

    def convert(name: str, root: Path, *overrides: str) -> GraspStore:
        summary = conversion(name, *overrides)(root, tmp_path / "converted.h5")
        return GraspStore(summary.store, load_hand("leap_right"))

    return convert
