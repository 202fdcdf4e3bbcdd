"""Is the best trial's recipe the configuration that the trial was trained with?"""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from sceneleapultra.utils.core.config import CONFIG_DIR
from sceneleapultra.utils.core.overrides import word
from sceneleapultra.utils.sweeps.recipe import write_recipe

SETTINGS = [
    {"experiment": "quickstart", "trainer.max_steps": 300, "optimizer.lr": 1e-3},
    {
        "experiment": "quickstart",
        "hardware": "gpu",
        "callbacks": "default",
        "model/generator/encoder": "pointnet_lite",
        "scheduler.warmup_steps": 7,
        "data.cloud.num_points": 512,
    },
    {"optimizer.weight_decay": 0.0, "scheduler": "one_cycle", "data.store": ["a.h5", "b, c.h5"]},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_recipe_composes_to_what_its_settings_compose_to(
    settings: dict[str, object], tmp_path: Path
) -> None:
    write_recipe(
        tmp_path / "experiment" / "best.yaml", settings, ["python train_lightning.py experiment=best"]
    )
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        wanted = compose("config", overrides=["run_dir=x", *(word(*one) for one in settings.items())])
        search = f"hydra.searchpath=[file://{tmp_path}]"
        found = compose("config", overrides=["run_dir=x", search, "experiment=best"])
    assert OmegaConf.to_container(found, resolve=True) == OmegaConf.to_container(wanted, resolve=True)


def test_what_is_no_part_of_an_experiment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"train\.debug=fast"):
        write_recipe(tmp_path / "best.yaml", {"debug": "fast"}, [])
