"""Are settings changed by name as the engine with torch changes them, and is what it cannot do refused?"""

from typing import Any

import pytest
from omegaconf import OmegaConf

from sceneleapultra.models.export.choices import choices
from sceneleapultra.serving.runtime.settings import changed, refuse_what_needs_torch
from sceneleapultra.utils.core.config import build, load_group

CHOICES = choices()
OWN: dict[str, Any] = OmegaConf.to_container(load_group("sampling", "default"), resolve=True)  # type: ignore[assignment]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"steps": 3, "temperature": 0.5},
        {"guidance": "score", "rank": "stable", "anchor_temperature": 0.7},
        {"rank": "clearance"},
        {"solver": "ddim", "steps": 4},
        {"solver": "dpmpp_2m", "squeeze_gain": 1.5, "pregrasp_opening": None},
    ],
)
def test_as_with_torch(changes: dict[str, Any]) -> None:
    made = changed(OWN, CHOICES, changes)
    assert build(OmegaConf.create(made)) == build(OmegaConf.create(OWN)).changed(**changes)
    refuse_what_needs_torch(made)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"step": 3}, "Unknown sampling setting 'step'. Did you mean 'steps'"),
        ({"guidance": "scor"}, "Did you mean 'score'"),
        ({"steps": 0}, "at least 1, got 0"),
        ({"steps": 2.5}, "at least 1, got 2.5"),
        ({"temperature": float("nan")}, "expected a number, got nan"),
        ({"temperature": -1.0}, "got -1.0"),
        ({"cfg_scale": 2.0}, "Unknown sampling setting 'cfg_scale'"),
        ({"guidance": "physics"}, "with torch only"),
        ({"rank": "log_prob"}, "with torch only"),
    ],
)
def test_wrong_ones_are_a_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError) as error:
        refuse_what_needs_torch(changed(OWN, CHOICES, changes))
    assert sentence in str(error.value)
