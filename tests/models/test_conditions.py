"""Conditions: what words become, that silence is a learned token, and texts through a language model on disk."""

import pytest
import torch
from torch.testing import assert_close

from sceneleapultra.models.network.conditions.base import Condition
from sceneleapultra.models.network.conditions.words import HashingEncoder, LanguageModelEncoder

PINNED = torch.tensor([-0.139436, 0.012803, 0.063668])
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "mug", "blue", "bowl"]


def condition(**changes) -> Condition:
    settings = {"encoder": HashingEncoder(dim=16), "reads": "positive_prompt", "dim": 8, "drop_prob": 0.1}
    return Condition(**{**settings, **changes})


@pytest.fixture(scope="module")
def language_model(tmp_path_factory) -> str:
    """A BERT of random weights and eight words, written as transformers writes any text encoder."""
    transformers = pytest.importorskip("transformers", reason="needs the extra `text`")
    folder = tmp_path_factory.mktemp("encoder")
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    torch.manual_seed(0)
    sizes = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.BertConfig(vocab_size=len(WORDS), **sizes)
    transformers.BertModel(config).save_pretrained(folder)
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return str(folder)


def test_hashed_words_are_the_same_everywhere_and_apart():
    one, two = HashingEncoder(dim=64), HashingEncoder(dim=64)
    assert_close(one("A blue mug!"), two("a  BLUE mug"), atol=0, rtol=0)
    assert one("a blue mug").shape == (3, 64)
    vectors = torch.stack([one(name)[0] for name in ("mug", "bowl", "box", "cup", "bottle", "hammer")])
    assert_close(vectors.norm(dim=-1), torch.ones(6))
    assert ((vectors @ vectors.T) - torch.eye(6)).abs().max() < 0.5
    # Pinned: another machine or another process must not change what a prompt means to a model.
    assert_close(one("mug")[0, :3], PINNED, atol=1e-6, rtol=0)


def test_silence_is_the_null_and_padding_is_not_valid():
    words = condition()
    prompt = words(["a blue mug", None, "bowl"])
    assert prompt.tokens.shape == (3, 3, 8)
    assert prompt.valid.tolist() == [[True, True, True], [True, False, False], [True, False, False]]
    assert_close(prompt.tokens[1, 0], words.null)
    silent = words.mask_prompt(prompt, torch.tensor([True, False, False]))
    assert_close(silent.tokens[0, 0], words.null)
    assert silent.valid[0].sum() == 1
    assert_close(silent.tokens[2], prompt.tokens[2])


def test_language_model_is_read_from_disk_frozen_and_asked_once(language_model):
    encoder = LanguageModelEncoder(path=language_model, max_tokens=8)
    assert encoder.dim == 12
    first = encoder("a blue mug")
    assert first.shape == (5, 12) and not first.requires_grad  # [CLS] and [SEP] too
    assert encoder("a blue mug") is first
    assert encoder("a a a a a a a a a a").shape == (8, 12), "cut"
    assert_close(LanguageModelEncoder(path=language_model, max_tokens=8)("a blue mug"), first)
    words = condition(encoder=encoder)
    words(["a mug"])
    assert set(words.state_dict()) == {
        "null",
        *(f"project.{i}.{n}" for i in (0, 2) for n in ("weight", "bias")),
    }


def test_what_cannot_be_is_refused(tmp_path, language_model):
    with pytest.raises(FileNotFoundError, match=r"No text encoder in .*: expected a folder with config.json"):
        LanguageModelEncoder(path=str(tmp_path), max_tokens=8)
    for encoder in (HashingEncoder(dim=4), LanguageModelEncoder(path=language_model, max_tokens=8)):
        with pytest.raises(ValueError, match="A prompt needs at least one word"):
            encoder("  ")
    with pytest.raises(ValueError, match="Did you mean 'positive_prompt'"):
        condition(reads="positive_promt")
    with pytest.raises(ValueError, match="expected 0 <= drop_prob < 1, got 1"):
        condition(drop_prob=1.0)
    with pytest.raises(ValueError, match="HashingEncoder needs dim of at least 1, got 0"):
        HashingEncoder(dim=0)


def test_missing_package_is_answered_with_the_extra(language_model, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install -e '\.\[text\]'"):
        LanguageModelEncoder(path=language_model, max_tokens=8)
