"""Is a space read as it is written, and one that no training has answered before anything runs?"""

from typing import Any

import pytest
from omegaconf import OmegaConf

from sceneleapultra.utils.core.config import CONFIG_DIR
from sceneleapultra.utils.sweeps.space import Setting, check_space, read_space

LR = {"optimizer": {"lr": {"float": [1e-4, 1e-2], "log": True}}}


def test_ranges_and_choices_are_read_by_their_full_keys() -> None:
    node = {
        **LR,
        "model": {"generator": {"decoder": {"depth": {"int": [2, 4]}, "dim": {"choice": [64, 96]}}}},
    }
    assert read_space({**node, "scheduler": None}) == [
        Setting("optimizer.lr", "float", (1e-4, 1e-2), True),
        Setting("model.generator.decoder.depth", "int", (2, 4), False),
        Setting("model.generator.decoder.dim", "choice", (64, 96), False),
    ]


@pytest.mark.parametrize(
    ("node", "sentence"),
    [
        ({}, r"sweep\.space: expected settings to vary"),
        ({"optimizer": {"lr": 0.1}}, r"sweep\.space\.optimizer\.lr=0\.1: expected \{float: \[low, high\]\}"),
        (
            {"optimizer": {"lr": {"float": [1.0, 0.1]}}},
            r"optimizer\.lr\.float=\[1\.0, 0\.1\]: .* the lower one first",
        ),
        ({"optimizer": {"lr": {"float": [0.0, 0.1], "log": True}}}, r"\[low, high\] above 0"),
        ({"optimizer": {"lr": {"float": ["a", "b"]}}}, r"optimizer\.lr\.float"),
        ({"depth": {"int": [1.5, 2]}}, r"depth\.int=\[1\.5, 2\]"),
        ({"depth": {"int": [1, 2], "step": 2}}, r"space\.depth=.*expected \{float"),
        ({"depth": {"int": [1, 2], "float": [1, 2]}}, r"space\.depth=.*expected \{float"),
        ({"depth": {"choice": [1]}}, r"depth\.choice=\[1\]: expected two values or more"),
        ({"depth": {"choice": [[1], [2]]}}, r"each a number or a word"),
    ],
)
def test_what_is_no_space_is_answered(node: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        read_space(node)


def test_a_group_varies_by_its_options() -> None:
    space = read_space({"model/generator/encoder": {"choice": ["pointnet2_small", "pointnet_lite"]}})
    assert check_space(space, ["experiment=quickstart"], "val/loss").name == "quickstart"
    wrong = read_space({"model/generator/encoder": {"choice": ["pointnet2_small", "pointnet_lit"]}})
    with pytest.raises(ValueError, match=r"encoder 'pointnet_lit'. Did you mean 'pointnet_lite'"):
        check_space(wrong, ["experiment=quickstart"], "val/loss")


def test_an_unknown_key_is_answered_with_the_nearest() -> None:
    space = read_space({"optimizer": {"lrr": {"float": [1e-4, 1e-2]}}})
    with pytest.raises(ValueError, match=r"Unknown key 'optimizer\.lrr'. Did you mean 'optimizer\.lr'"):
        check_space(space, ["experiment=quickstart"], "val/loss")


def test_ends_of_ranges_that_a_training_refuses_are_answered() -> None:
    space = read_space({"scheduler": {"warmup_steps": {"int": [1, 5000]}}})
    with pytest.raises(
        ValueError, match=r"No training would start with .*warmup_steps=5000.*does not end before"
    ):
        check_space(space, ["experiment=quickstart"], "val/loss")


def test_a_number_that_changes_with_its_own_weights_compares_nothing() -> None:
    space = read_space({"model": {"objective": {"terms": {"anchors": {"weight": {"float": [0.1, 1.0]}}}}}})
    with pytest.raises(ValueError, match="by which val/loss itself changes"):
        check_space(space, [], "val/loss")


def test_what_varies_is_not_fixed_as_well() -> None:
    with pytest.raises(ValueError, match=r"train\.optimizer\.lr is what the sweep varies"):
        check_space(read_space(LR), ["optimizer.lr=0.1"], "val/loss")


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONFIG_DIR / "sweep").glob("*.yaml")))
def test_shipped_spaces_fit_the_quickstart(name: str) -> None:
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("sweep", overrides=[f"sweep={name}", "folder=x"])
    space = read_space(OmegaConf.to_container(cfg.sweep.space))  # type: ignore[arg-type]
    assert check_space(space, ["experiment=quickstart"], cfg.sweep.monitor).name == "quickstart"
