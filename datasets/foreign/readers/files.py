"""How single files of foreign data are read, and refused by a sentence: JSON, PNG, npy, npz, and pickles, guarded.

The only place of the project that unpickles. What a pickle may hold: arrays, dictionaries, lists, numbers, strings.
"""

import importlib
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from sceneleapultra.utils.core import npz

_ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_BUFFER_MODULES = ("numpy.core.numeric", "numpy._core.numeric")


def below(folder: Path, name: str) -> Path:
    """Return the place below a folder that a data file names.

    Raises:
        ValueError: the name leads out of the folder.
    """
    place = Path(os.path.normpath(folder / name))
    if not place.is_relative_to(os.path.normpath(folder)):
        raise ValueError(
            f"A data file names '{name}', which is not below {folder}. Names may not lead out of the data's own folder."
        )
    return place


class _Refused(pickle.UnpicklingError):
    """A pickle names something that is not on the list."""


def _latin1(text: str, encoding: str) -> bytes:
    """Stand in for ``_codecs.encode``, by which old pickles spell bytes."""
    if encoding != "latin1":
        raise _Refused(f"an encoding '{encoding}'")
    return text.encode("latin1")


def _allowed() -> dict[tuple[str, str], Any]:
    names: dict[tuple[str, str], Any] = {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype}
    for module in _ARRAY_MODULES:
        for name in ("_reconstruct", "scalar"):
            names[(module, name)] = getattr(importlib.import_module("numpy._core.multiarray"), name)
    for module in _BUFFER_MODULES:
        names[(module, "_frombuffer")] = importlib.import_module("numpy._core.numeric")._frombuffer
    names[("_codecs", "encode")] = _latin1
    return names


class _DataOnly(pickle.Unpickler):
    """Finds nothing but what arrays are made of; what else a pickle names is never imported."""

    names = _allowed()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.names:
            raise _Refused(f"{module}.{name}")
        return self.names[(module, name)]


def read_npy(path: Path) -> Any:
    """Read an .npy file: an array, or what the object in it is (as ``numpy.load(...).item()`` would).

    Raises:
        FileNotFoundError: no such file.
        ValueError: truncated, no .npy file, or a pickle of something else than plain data.
    """
    return _guarded(path, _npy)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of an .npz file; pickled ones are refused."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing. Complete the folder, or name the right one.")
    return npz.read_npz(path, "Is it truncated? Copy it again.")


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return _guarded(path, lambda p: json.loads(p.read_text()))


def read_png(path: Path) -> np.ndarray:
    """Read the pixels of a PNG image as they are stored."""

    def load(path: Path) -> np.ndarray:
        with Image.open(path) as image:
            return np.array(image)

    return _guarded(path, load)


def _guarded(path: Path, load: Callable[[Path], Any]) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing. Complete the folder, or name the right one.")
    try:
        return load(path)
    except pickle.UnpicklingError as error:
        if "truncated" in str(error):
            raise ValueError(f"{path} cannot be read ({error}); is it truncated? Copy it again.") from error
        raise ValueError(
            f"{path} holds a pickle of more than arrays, dictionaries, lists, numbers and strings ({error}). It was "
            "not loaded; export its data as plain arrays."
        ) from error
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, UnidentifiedImageError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path} cannot be read ({reason}); is it truncated? Copy it again.") from error


def _npy(path: Path) -> Any:
    content = path.read_bytes()
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    read_header = (
        np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    )
    _, _, dtype = read_header(stream)
    if not dtype.hasobject:
        return np.load(io.BytesIO(content), allow_pickle=False)
    value = _DataOnly(stream).load()
    if isinstance(value, np.ndarray) and value.dtype.hasobject and value.shape == ():
        value = value.item()
    return value


def numbers(
    record: Mapping[str, Any], key: str, path: Path, *, last: int | None = None, ndim: int | None = None
) -> np.ndarray:
    """Return a value of a record as float64 and finite.

    Raises:
        ValueError: missing, not finite, or of another shape.
    """
    if key not in record:
        raise ValueError(
            f"{path} has no '{key}'; it holds {', '.join(sorted(map(str, record))) or 'nothing'}."
        )
    try:
        values = np.asarray(record[key], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: '{key}' does not hold numbers ({error}).") from error
    wrong = (last is not None and values.shape[-1:] != (last,)) or (ndim is not None and values.ndim != ndim)
    if wrong:
        expected = f"{ndim or 'some'} axes, {last or 'some'} numbers on the last"
        raise ValueError(f"{path}: '{key}' has shape {values.shape}, expected {expected}.")
    if not np.isfinite(values).all():
        raise ValueError(f"{path}: '{key}' holds numbers that are not finite.")
    return values
