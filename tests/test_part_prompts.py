"""From a store with parts to a test of prompts: trained, asked by a part and not by it, and compared."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from factories.records import SPLITS, scene_record, with_parts, writer
from sceneleapultra import test_lightning, train_lightning
from sceneleapultra.models import load_grasp_model
from sceneleapultra.utils.core.config import CONFIG_DIR

TRAIN = [
    *("experiment=part_prompts", "logger=csv", "trainer.max_steps=2", "trainer.val_check_interval=2"),
    *("scheduler.warmup_steps=1", "data.loading.workers=0", "data.cloud.num_points=256"),
    *("data.min_points=20", "data.batch_size=4"),
]
TEST = [
    *("protocol=dgb-fc-quick", "splits=[test]", "top=null", "baselines=null", "pictures=0", "workers=1"),
    *("max_items=2", "min_points=20", "samples_per_item=2", "sampling.temperature=0.5", "sampling.steps=1"),
]


def composed(root: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose(root, overrides=list(overrides))


@pytest.mark.slow
def test_a_model_is_trained_with_parts_and_tested_by_them(tmp_path: Path, tiny_store: Path) -> None:
    made = writer(tmp_path / "parts.h5")
    for i, split in enumerate(SPLITS):
        made.write(with_parts(scene_record(i, split)))
    store = made.finish()
    words = [*TRAIN, f"data.store={store}", f"run_dir={tmp_path / 'run'}"]
    train_lightning.train(composed("config", *words), words)
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    for prompt in ("part", "not_part"):
        words = [f"checkpoint={checkpoint}", f"output={tmp_path / prompt}", f"prompt={prompt}", *TEST]
        methods = test_lightning.test(composed("test", *words))["methods"]
        assert [one["method"] for one in methods] == [
            "model",
            "model without prompt",
            "model without prompt, best of 32 by contact",
        ]
        for one in methods:
            assert one["summary"]["num_grasps"] == 4
            assert 0.0 <= one["summary"]["on_part"] <= 100.0 and 0.0 <= one["summary"]["off_part"] <= 100.0
        assert "on part" in (tmp_path / prompt / "report.html").read_text()
    with pytest.raises(ValueError, match=r"tiny.h5 knows of none in split test. Make a store"):
        words = [f"checkpoint={checkpoint}", f"store={tiny_store}", "prompt=part", f"output={tmp_path / 'x'}"]
        test_lightning.test(composed("test", *words, *TEST))
    with pytest.raises(ValueError, match="Unknown word of the prompt 'spout'"):
        record = scene_record(0)
        view = record.views[0]
        load_grasp_model(checkpoint).sample(
            view.points,
            2,
            object_mask=view.instance == 1,
            viewpoint=tuple(view.T_world_cam[:3, 3]),
            up=(0, 0, 1),
            prompt="by the spout",
        )
