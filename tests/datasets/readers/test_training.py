"""Can a model be trained and tested on every foreign format with one override that names its folder?"""

from pathlib import Path

import hydra
import pytest
from hydra import initialize_config_dir
from omegaconf import DictConfig

from factories.sources import FORMATS
from sceneleapultra.hands import load_hand
from sceneleapultra.test_lightning import test as run_test
from sceneleapultra.train_lightning import train
from sceneleapultra.utils.core.config import CONFIG_DIR, build

HAND = load_hand("leap_right")
SMALL = [
    *(
        "hardware=cpu",
        "callbacks=no_simulation",
        "logger=csv",
        "trainer.max_steps=2",
        "scheduler.warmup_steps=1",
    ),
    *(
        "trainer.val_check_interval=1",
        "callbacks.last.every_n_steps=2",
        "normalizer_scenes=2",
        "data.batch_size=1",
    ),
    *("data.loading.workers=0", "data.cloud.num_points=256", "data.min_points=20", "data.grasps.failures=1"),
    # Every grasp counts: of so few some may lie out of the reach of what a view shows.
    *(
        "model/generator/encoder=pointnet2_small",
        "model.generator.decoder.dim=32",
        "model.generator.decoder.depth=1",
        "model.objective.anchors.reach=1.0",
    ),
]


def composed(root: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return hydra.compose(root, overrides=list(overrides))


def foreign_data(name: str, generated, folder: Path) -> list[str]:
    write, by = FORMATS[name]
    write(folder / "source", generated)
    overrides = [
        f"data={name}",
        f"data.root={folder / 'source'}",
        f"paths.data={folder}",
        "data.conversion.executor.workers=1",
    ]
    overrides += ["data.conversion.renderer.views=1"]
    if by == "scene":  # three scenes: one for each split
        overrides += ["data.conversion.splits.by=scene", "data.conversion.splits.test_family=0"]
        overrides += ["data.conversion.splits.val=0.34", "data.conversion.splits.test=0.34"]
    if name == "dexgraspnet2":
        overrides += ["data.conversion.reader.views=[0,1]"]
    return [*overrides, f"run_dir={folder / 'run'}"]


def test_one_override_serves_batches(generated, tmp_path) -> None:
    words = foreign_data("bodex", generated, tmp_path)
    data = build(composed("config", *words, *SMALL).data)
    batch = next(iter(data.train_dataloader()))
    assert batch.grasp_success.any() and Path(data.path).is_file()
    made = Path(data.path).stat().st_mtime_ns
    again = build(composed("config", *words, *SMALL).data)
    assert again.data_hash == data.data_hash and Path(again.path).stat().st_mtime_ns == made
    # Other settings, or another folder, are another store.
    other = build(composed("config", *words, *SMALL, "data.conversion.grasps.max_grasps=1").data)
    assert other.path != data.path


def test_a_store_that_is_no_conversion_is_not_taken_for_one(generated, tiny_store, tmp_path) -> None:
    words = [*foreign_data("bodex", generated, tmp_path), f"data.store={tiny_store}"]
    with pytest.raises(ValueError, match=r"tiny\.h5 holds 'dgb-fc-quick', no conversion of bodex data"):
        build(composed("config", *words, *SMALL).data).setup("fit")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FORMATS)
def test_training_and_testing(generated, tmp_path, name) -> None:
    words = foreign_data(name, generated, tmp_path)
    trainer = train(composed("config", *words, *SMALL), words)
    assert trainer.global_step == 2
    splits = "[test]" if FORMATS[name][1] == "scene" else "[test,test_family]"
    cfg = composed(
        "test",
        *(
            f"checkpoint={tmp_path / 'run/checkpoints/last.ckpt'}",
            f"splits={splits}",
            "max_items=1",
            "top=null",
        ),
        *(
            "samples_per_item=2",
            "sampling.temperature=1.0",
            "pictures=0",
            "protocol=dgb-fc-quick",
            "workers=1",
        ),
        *("baselines=null", "min_points=20"),
    )
    results = run_test(cfg)
    assert {m["split"] for m in results["methods"]} == set(splits[1:-1].split(","))
    assert all(m["summary"]["stable"]["value"] is not None for m in results["methods"])
