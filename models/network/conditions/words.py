"""What words mean: by a list or a hash, for closed vocabularies, or by a language model in a local folder."""

import hashlib
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sceneleapultra.models.network.conditions.base import WordEncoder
from sceneleapultra.utils.core.names import unknown_name

# A folder of weights may bring programs of its own, which transformers would offer to run.
_LOCAL_DATA = {"local_files_only": True, "trust_remote_code": False}


class VocabularyEncoder(WordEncoder):
    """One unit vector for each word of a list; a text with any other word is refused.

    Args:
        words: the list; the order is that of the vectors.
        ignored: words that may stand in a text and mean nothing.

    Raises:
        ValueError: no words, or the same twice.
    """

    def __init__(self, *, words: Sequence[str], ignored: Sequence[str]) -> None:
        if not words or len(set(words)) < len(words):
            raise ValueError(f"VocabularyEncoder needs different words, got {', '.join(words) or 'none'}.")
        self.words, self.ignored, self.dim = tuple(words), frozenset(ignored), len(words)
        self.example = words[0]

    def __call__(self, text: str) -> Float[Tensor, "l c"]:
        """Return one vector per word that counts; case and punctuation do not count."""
        found = [word for word in _words(text) if word not in self.ignored]
        if not found or (unknown := [word for word in found if word not in self.words]):
            name = unknown[0] if found else text
            raise unknown_name("word of the prompt", name, self.words)
        return torch.eye(self.dim)[[self.words.index(word) for word in found]]


class HashingEncoder(WordEncoder):
    """A fixed random unit vector for each word: enough to tell labels apart, knows of no likeness between them.

    The same on every machine and in every process: the vector is a function of the word's letters alone.
    """

    def __init__(self, *, dim: int) -> None:
        if dim < 1:
            raise ValueError(f"HashingEncoder needs dim of at least 1, got {dim}.")
        self.dim = dim
        self._known: dict[str, Tensor] = {}

    def __call__(self, text: str) -> Float[Tensor, "l c"]:
        """Return one vector per word; case and punctuation do not count."""
        words = _words(text)
        if not words:
            raise ValueError(f"A prompt needs at least one word, got {text!r}. Leave it out to say nothing.")
        return torch.stack([self._vector(word) for word in words])

    def _vector(self, word: str) -> Float[Tensor, "c"]:
        if word not in self._known:
            digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest, "big") % 2**63)
            self._known[word] = torch.nn.functional.normalize(
                torch.randn(self.dim, generator=generator), dim=0
            )
        return self._known[word]


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


class LanguageModelEncoder(WordEncoder):
    """The last hidden states of a text encoder in a local folder (as ``save_pretrained`` of transformers writes it).

    It is frozen, is no part of the model or its checkpoints, and runs once per text: embeddings are kept.

    Args:
        path: folder with the encoder and its tokenizer; nothing is ever downloaded.
        max_tokens: texts are cut behind so many tokens.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the package transformers is missing.
    """

    def __init__(self, *, path: str, max_tokens: int) -> None:
        if importlib.util.find_spec("transformers") is None:
            raise ValueError(
                "A text encoder needs the package transformers, which is not installed. "
                "Install the extra: pip install -e '.[text]', or use model/generator/conditions=category."
            )
        if not (Path(path) / "config.json").is_file():
            raise FileNotFoundError(
                f"No text encoder in {path}: expected a folder with config.json, weights and a tokenizer, as "
                "save_pretrained of transformers writes it. Nothing is downloaded."
            )
        from transformers import AutoConfig  # optional, and takes seconds

        self.path, self.max_tokens = path, max_tokens
        self.dim = int(AutoConfig.from_pretrained(path, **_LOCAL_DATA).hidden_size)
        self._parts: tuple[Any, Any] | None = None
        self._known: dict[str, Tensor] = {}

    def __call__(self, text: str) -> Float[Tensor, "l c"]:
        """Return the hidden states of a text."""
        if not text.strip():
            raise ValueError(f"A prompt needs at least one word, got {text!r}. Leave it out to say nothing.")
        if text not in self._known:
            tokenizer, encoder = self._loaded()
            tokens = tokenizer(text, truncation=True, max_length=self.max_tokens, return_tensors="pt")
            with torch.no_grad():
                self._known[text] = encoder(**tokens).last_hidden_state[0].float().clone()
        return self._known[text]

    def _loaded(self) -> tuple[Any, Any]:
        if self._parts is None:
            from transformers import AutoModelForTextEncoding, AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(self.path, **_LOCAL_DATA)
            encoder = AutoModelForTextEncoding.from_pretrained(self.path, **_LOCAL_DATA)
            self._parts = (tokenizer, encoder.eval())
        return self._parts
