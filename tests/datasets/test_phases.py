"""Are phases that make no sense answered by a sentence, before any data is read?"""

import hydra
import pytest
from hydra import initialize_config_dir

from sceneleapultra.models.assembly import assemble
from sceneleapultra.utils.core.config import CONFIG_DIR
from sceneleapultra.utils.training.validate import validate


@pytest.mark.parametrize(
    ("phase", "others", "sentence"),
    [
        (
            "{steps: 5, batch_size: 2, points: 300}",
            ["trainer.accumulate_grad_batches=2"],
            "data.loading.progressive changes batches between steps, and trainer.accumulate_grad_batches=2",
        ),
        (
            "{steps: 5, batch_size: 64, points: 100}",
            [],
            "data.loading.progressive: expected 256 points, which model.generator.encoder takes from a cloud, to "
            "data.cloud.num_points=10000, got 100.",
        ),
        ("{steps: 5, batch: 64, points: 512}", [], "data.loading.progressive.0.batch"),
        ("{steps: 0, batch_size: 64, points: 512}", [], "expected steps of at least 1, got 0"),
    ],
)
def test_what_cannot_be_is_a_sentence(phase: str, others: list[str], sentence: str) -> None:
    words = ["hardware=cpu", "run_dir=nowhere", f"data.loading.progressive=[{phase}]", *others]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = hydra.compose("config", overrides=words)
    with pytest.raises(ValueError) as caught:
        validate(cfg)
        assemble(cfg)
    assert sentence in str(caught.value)
