"""Do files of weights load with a report, and are those of another architecture answered with the first mismatch?"""

import pytest
import torch
from torch.testing import assert_close

from factories.ptv3 import small_network
from sceneleapultra.models.network.encoder.ptv3.weights import load_weights


def saved(tmp_path, content):
    torch.save(content, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def other() -> dict[str, torch.Tensor]:
    """Weights of the same architecture with other numbers."""
    return {key: value + 1 for key, value in small_network(norm="batch").state_dict().items()}


@pytest.mark.parametrize("prefix", ["", "backbone.", "module.backbone."])
def test_known_files_load_and_say_what_matched(tmp_path, prefix):
    state = {f"{prefix}{key}": value for key, value in other().items()}
    module = "module." if prefix.startswith("module.") else ""
    state |= {f"{module}seg_head.weight": torch.zeros(20, 8), f"{module}seg_head.bias": torch.zeros(20)}
    path = saved(tmp_path, {"epoch": 3, "state_dict": state, "optimizer": {}})
    network = small_network(norm="batch")
    report = load_weights(network, path)
    for key, value in other().items():
        assert_close(network.state_dict()[key], value, atol=0, rtol=0)
    assert report.tensors == len(other()) and report.prefix == prefix
    assert report.parameters == sum(p.numel() for p in network.parameters())
    assert report.ignored == (f"{module}seg_head.weight", f"{module}seg_head.bias")
    assert f"{report.tensors} tensors" in str(report) and "not used: " in str(report)


def test_sonata_files_load(tmp_path):
    network = small_network(stem="linear", layer_scale=1.0, dec_depths=(), dec_channels=(), dec_heads=())
    state = {key: value + 1 for key, value in network.state_dict().items()}
    path = saved(
        tmp_path,
        {"config": {"in_channels": 4}, "state_dict": state | {"embedding.mask_token": torch.ones(1, 8)}},
    )
    assert load_weights(network, path).ignored == ("embedding.mask_token",)
    assert_close(network.embedding["stem"].linear.weight, state["embedding.stem.linear.weight"])


def test_a_bare_state_dictionary_loads(tmp_path):
    assert load_weights(small_network(norm="batch"), saved(tmp_path, other())).ignored == ()


@pytest.mark.parametrize(
    ("network", "spoil", "sentence"),
    [
        (
            {"norm": "layer"},
            {},
            r"has embedding\.stem\.norm\.running_mean of shape \(8,\), which the encoder has not",
        ),
        ({"norm": "layer"}, {}, "with architecture.stem=conv, architecture.norm=batch, 4 input channels"),
        (
            {"norm": "batch", "stem": "linear"},
            {},
            r"has no embedding\.stem\.linear\.weight, which the encoder needs in shape \(8, 4\)",
        ),
        (
            {"norm": "batch", "in_channels": 6},
            {},
            r"has embedding\.stem\.conv\.weight of shape \(8, 5, 5, 5, 4\), the encoder needs shape \(8, 5, 5, 5, 6\)",
        ),
        (
            {"norm": "batch", "enc_channels": (8, 12, 24)},
            {},
            r"has enc\.enc2\.down\.proj\.weight of shape \(16, 12\), the encoder needs shape \(24, 12\)",
        ),
        ({"norm": "batch", "enc_depths": (1, 1, 1)}, {}, r"has enc\.enc1\.block1\."),
        ({"norm": "batch"}, {"extra.weight": torch.zeros(3)}, r"has extra\.weight of shape \(3,\)"),
    ],
)
def test_another_architecture_is_named_by_its_first_mismatch(tmp_path, network, spoil, sentence):
    path = saved(tmp_path, {"state_dict": other() | spoil})
    with pytest.raises(ValueError, match=sentence):
        load_weights(small_network(**network), path)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"Correct model\.generator\.encoder\.weights, or set it to null"
    ):
        load_weights(small_network(), tmp_path / "none.pth")
    with pytest.raises(
        ValueError, match="holds no weights: expected a state_dict or a mapping of tensors, got list"
    ):
        load_weights(small_network(), saved(tmp_path, [1, 2]))
    with pytest.raises(
        ValueError, match=r"has no embedding\.stem.*The file is not of a Point Transformer V3"
    ):
        load_weights(small_network(), saved(tmp_path, {"conv1.weight": torch.zeros(3)}))
