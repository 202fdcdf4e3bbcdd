"""A model is tested with the hand of a store that it never learned of."""

import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from sceneleapultra import test_lightning
from sceneleapultra.utils.core.config import CONFIG_DIR


@pytest.mark.slow
def test_the_hand_of_a_store_takes_over_the_models_grasps(tmp_path: Path):
    store, output = tmp_path / "gripper.h5", tmp_path / "tested"
    words = ["dataset=quick", "hand=parallel_gripper", "scenes=2", "views=1", "workers=1", f"path={store}"]
    words += ["grasps.max_attempts=0", "splits={train: 0.0, val: 0.0, test: 1.0, test_family: 0.0}"]
    program = [sys.executable, "scripts/generate_dataset.py", *words]
    subprocess.run(program, cwd=CONFIG_DIR.parent, check=True, capture_output=True, timeout=300)
    settings = [
        "checkpoint=leap_table",
        f"store={store}",
        f"output={output}",
        "splits=[test]",
        "protocol=scene-lift",
    ]
    settings += ["sampling.temperature=null", "sampling.steps=2", "baselines=null", "top=null", "pictures=1"]
    settings += ["max_items=1", "samples_per_item=2", "workers=1", "min_points=20"]

    def tested(retarget: bool):
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            return test_lightning.test(
                compose("test", overrides=[*settings, f"retarget={str(retarget).lower()}"])
            )

    with pytest.raises(ValueError, match="holds grasps of hand 'parallel_gripper'"):
        tested(False)
    document = tested(True)
    (entry,) = document["methods"]
    assert entry["method"] == "model" and entry["summary"]["num_grasps"] == 2
    hand = document["provenance"]["model hand"]
    assert hand == "parallel_gripper, served by a model of leap_right"
