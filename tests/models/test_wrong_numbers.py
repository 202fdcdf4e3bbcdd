"""A checkpoint whose numbers cannot be right, or whose configuration asks for other sizes, is refused by a sentence."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from factories.shipped import LEAP_TABLE_CPU
from sceneleapultra.models.checkpoints.load import load_generator, read_checkpoint
from sceneleapultra.models.checkpoints.weights import load_encoder

STD, MEAN = "generator.normalizer.std", "generator.normalizer.mean"


@pytest.fixture(scope="module")
def shipped() -> dict[str, Any]:
    return read_checkpoint(LEAP_TABLE_CPU)


@pytest.fixture
def content(shipped: dict[str, Any]) -> dict[str, Any]:
    return copy.deepcopy(shipped)


def answer(content: dict[str, Any], folder: Path) -> str:
    torch.save(content, folder / "model.ckpt")
    with pytest.raises(ValueError) as caught:
        load_generator(folder / "model.ckpt")
    return str(caught.value).removeprefix(f"{folder}/")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        (
            MEAN,
            torch.nan,
            "model.ckpt holds values that are not finite (normalizer.mean): the training that wrote it",
        ),
        (STD, torch.inf, "model.ckpt holds values that are not finite (normalizer.std)"),
        (
            STD,
            0.0,
            "model.ckpt: normalizer.std[2] is 0; expected the width of one of the state's numbers, above 0.",
        ),
        (STD, -0.1, "model.ckpt: normalizer.std[2] is -0.1; expected the width"),
    ],
)
def test_statistics_that_cannot_be_divided_by(
    content: dict[str, Any], tmp_path: Path, key: str, value: float, words: str
) -> None:
    content["state_dict"][key][2] = value
    assert answer(content, tmp_path).startswith(words)


def test_views_and_weights_that_are_not_finite(content: dict[str, Any], tmp_path: Path) -> None:
    state = content["state_dict"]
    names = ("extent_m", "target_share", "top_m", "distance_m", "elevation_deg")
    views = {name: [0.1, 0.2] for name in names} | {"top_m": [0.1, float("nan")]}
    state["generator.normalizer._extra_state"]["views"] = views
    assert answer(content, tmp_path).startswith(
        "model.ckpt: the range top_m of the views it learned from is [0.1, nan]"
    )
    weights = [key for key, value in state.items() if key.startswith("generator.encoder") and value.ndim == 2]
    for key in weights:
        state[key][0, 0] = torch.nan
    said = answer(content, tmp_path)
    first = ", ".join(key.removeprefix("generator.") for key in weights[:3])
    assert said.startswith(
        f"model.ckpt holds values that are not finite ({first} and {len(weights) - 3} more)"
    )


def test_an_encoder_that_is_not_finite_is_no_start(tmp_path: Path) -> None:
    encoder = torch.nn.Linear(2, 2)
    state = {f"generator.encoder.{key}": value for key, value in encoder.state_dict().items()}
    state["generator.encoder.bias"] = torch.tensor([0.0, torch.nan])
    torch.save({"state_dict": state}, tmp_path / "model.ckpt")
    with pytest.raises(
        ValueError, match=r"encoder_weights: .*model\.ckpt holds values that are not finite \(bias\)"
    ):
        load_encoder(encoder, tmp_path / "model.ckpt")


@pytest.mark.parametrize(
    ("keys", "value", "words"),
    [
        (
            ("decoder", "dim"),
            10**9,
            "asks for a tensor of 1000000000 x 41 numbers, the file has 155 tensors of 1,119,071",
        ),
        (("decoder", "depth"), 10**6, "asks for more than 1,155 parameters, the file has 155 tensors"),
        (("encoder", "levels", "fine", "widths", 0), 10**6, "asks for a tensor of 64 x 1000000 numbers"),
        (("decoder", "depth"), 5, "decoder.blocks.3.modulation is absent in the file"),
        (("decoder", "dim"), 64, "in the file and (64,"),
    ],
)
def test_sizes_that_are_not_those_of_the_weights(
    content: dict[str, Any], tmp_path: Path, keys: tuple[str | int, ...], value: int, words: str
) -> None:
    node = content["model_config"]["generator"]
    for key in keys[:-1]:
        node = node[key]
    node[keys[-1]] = value
    said = answer(content, tmp_path)
    assert "model.ckpt holds weights of another architecture than its configuration describes" in said
    assert words in said
