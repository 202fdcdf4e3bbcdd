"""Is a setting that no model could make sense of refused before one is loaded?"""

import hydra
import pytest
from hydra import initialize_config_dir
from omegaconf import DictConfig

from sceneleapultra.evaluation.early_checks import check_before_loading
from sceneleapultra.utils.core.config import CONFIG_DIR

GIVEN = {"test": ["checkpoint=x"], "self_training": ["checkpoint=x", "store=y", "output=z"]}


def composed(root: str, *words: str) -> DictConfig:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return hydra.compose(root, [*GIVEN[root], *words])


@pytest.fixture(scope="module", params=GIVEN)
def default(request: pytest.FixtureRequest) -> DictConfig:
    return composed(request.param)


def test_the_defaults_pass(default: DictConfig) -> None:
    check_before_loading(default)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"sampling.temperature": -1},
            "sampling.temperature=-1: expected a number of at least 0, or null for the ",
        ),
        (
            {"sampling.temperature": "cold"},
            "sampling.temperature=cold: expected a number of at least 0, or null for ",
        ),
        ({"sampling.steps": 0}, "sampling.steps=0: expected a whole number of at least 1, or null for the "),
        (
            {"sampling.steps": "few"},
            "sampling.steps=few: expected a whole number of at least 1, or null for the ",
        ),
        ({"sampling.cfg_scale": "high"}, "sampling.cfg_scale=high: expected a number; 1 is off."),
        ({"sampling.solver": "dmi"}, "Unknown sampling.solver 'dmi'. "),
        ({"sampling.guidance": "scoer"}, "Unknown sampling.guidance 'scoer'. Did you mean 'score'?"),
        ({"sampling.guidance": "hold"}, "sampling.guidance=hold is called stable since 0.2."),
        ({"sampling.rank": "scoer"}, "Unknown sampling.rank 'scoer'. Did you mean 'score'?"),
        ({"sampling": None}, "sampling=null: its settings are needed."),
        ({"per_object": 0}, "per_object=0: expected a whole number of at least 1."),
        ({"min_points": None}, "min_points=None: expected a whole number of at least 1."),
    ],
)
def test_what_both_programs_refuse(default: DictConfig, changes: dict[str, object], sentence: str) -> None:
    refused(default, changes, sentence)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"tuning": None},
            "tuning=null: its settings are needed. A test without tuning: sampling.temperature=null,",
        ),
        ({"tuning": "off"}, "tuning=off: expected settings, tuning.<name>=<value>."),
        ({"top": "nul"}, "top=nul: expected settings, top.<name>=<value>, or null."),
        ({"top.keep": 200}, "top.keep=200 is more than top.samples=100. Pass top.samples=200."),
        ({"top.ranks": ["stabel"]}, "Unknown sampling.rank 'stabel'. Did you mean 'stable'?"),
        (
            {"tuning.temperatures": []},
            "tuning.temperatures=[]: expected a list of numbers of at least 0, such as",
        ),
        (
            {"tuning.temperatures": 0.3},
            "tuning.temperatures=0.3: expected a list of numbers of at least 0, such as",
        ),
        ({"tuning.protocol": "dgb-cf"}, "Unknown protocol 'dgb-cf'. Did you mean 'dgb-fc'?"),
        ({"points_share": 1.5}, "points_share=1.5: expected a share above 0 and at most 1."),
        (
            {"max_items": 0, "samples_per_item": -3},
            "samples_per_item=-3: expected a whole number of at least 1.\nmax",
        ),
    ],
)
def test_what_a_test_refuses(changes: dict[str, object], sentence: str) -> None:
    refused(TEST, changes, sentence)


TEST = composed("test")


def refused(cfg: DictConfig, changes: dict[str, object], sentence: str) -> None:
    cfg = cfg.copy()
    for key, value in changes.items():
        owner, _, name = key.rpartition(".")
        (cfg[owner] if owner else cfg)[name] = value
    with pytest.raises(ValueError) as error:
        check_before_loading(cfg)
    assert str(error.value).startswith(sentence)


def test_a_test_may_do_without_the_best_and_the_baselines() -> None:
    cfg = TEST.copy()
    cfg.top, cfg.baselines, cfg.sampling.temperature = None, None, None
    check_before_loading(cfg)


def test_a_self_training_has_no_tuned_temperature() -> None:
    refused(
        composed("self_training"),
        {"sampling.temperature": "tuned"},
        "sampling.temperature=tuned: expected a ",
    )
    refused(
        composed("self_training"), {"temperatures": ["cold"]}, "temperatures=['cold']: expected a list of "
    )
