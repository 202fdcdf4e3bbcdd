"""What is checked when a store is opened, by whatever program: its attributes, columns, checksums and pointers."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sceneleapultra.datasets.store.blocks import CHECKSUMS, block_starts
from sceneleapultra.datasets.store.hdf5 import Place, StoreError, find_place, open_hdf5
from sceneleapultra.datasets.store.maps import FileId
from sceneleapultra.datasets.store.migration import migrate_attributes
from sceneleapultra.datasets.store.pointers import pointer_problem
from sceneleapultra.datasets.store.schema import (
    ATTRIBUTES,
    COLUMNS,
    CONTENT_ATTRIBUTES,
    DERIVED_COLUMNS,
    Origin,
)
from sceneleapultra.datasets.store.shard_file import FileLayout, ShardFile, decode_texts, read_texts

_NUMBERS = ("seed", "schema_version", "schema_minor")


def open_store(path: Path) -> tuple[dict[str, Any], ShardFile]:
    """Open a store for reading; return its attributes, as the present version has them, and its columns.

    Raises:
        StoreError: it is no complete store of plain columns, is damaged, or of a version that this program cannot read.
    """
    identity = FileId.of(path)
    with open_hdf5(path) as file:
        written = read_attributes(file)
        attributes = migrate_attributes(written, path)
        places, checksums = _find_columns(file, written)
        texts = read_texts(file, places)
    columns = ShardFile(FileLayout(identity, places, decode_texts(path, texts), checksums))
    columns.check_unmapped(written, texts)
    _check_attributes(attributes, path)
    joints = len(json.loads(attributes["joint_names"]))
    if (problem := pointer_problem(columns, joints)) is not None:
        raise StoreError(
            f"data.store: {path} is damaged, or no program of this project wrote it: {problem}. Copy it again from "
            "where it came."
        )
    return attributes, columns


def read_attributes(file: h5py.File) -> dict[str, Any]:
    """Return what an open file says of itself: single texts and numbers.

    Raises:
        StoreError: it is no store, or says something else than texts and numbers.
    """
    if "schema_version" not in file.attrs:
        raise StoreError(
            f"data.store: {file.filename} is no store of grasps: it has no schema version. Pass the file that "
            "scripts/generate_dataset.py wrote."
        )
    found: dict[str, Any] = {}
    for name in (name for name in ATTRIBUTES if name in file.attrs):
        value = file.attrs[name] if file.attrs.get_id(name).shape == () else None
        plain = value.item() if isinstance(value, np.generic) else value
        found[name] = plain.decode() if isinstance(plain, bytes) else plain
        kind = int if name in _NUMBERS else str
        if not isinstance(found[name], kind):
            raise StoreError(
                f"data.store: {file.filename} is damaged: its attribute {name} is no {kind.__name__}. Copy it again "
                "from where it came."
            )
    return found


def _find_columns(file: h5py.File, attributes: Mapping[str, Any]) -> tuple[dict[str, Place], Place | None]:
    """Return where the columns and their checksums lie."""
    places, problems = {}, []
    for name, column in COLUMNS.items():
        if (place := find_place(file, name)) is None:
            if name not in DERIVED_COLUMNS:
                problems.append(f"{name} is missing")
            continue
        places[name] = place
        row, kind = place.shape[1:], None if column.dtype == "text" else np.dtype(column.dtype)
        fits = len(row) == len(column.row) and all(w in (-1, n) for w, n in zip(column.row, row, strict=True))
        if place.dtype != kind or not fits:
            problems.append(f"{name} has rows {place.dtype or 'text'}{row}")
    checksums = find_place(file, CHECKSUMS)
    if checksums is None and attributes.get("schema_minor", 0) >= 1:
        problems.append(f"{CHECKSUMS} is missing")
    if checksums is not None and not problems:
        wanted = block_starts(places)[""] + 1
        if (checksums.shape, checksums.dtype) != ((wanted,), np.dtype("u4")) or checksums.offset is None:
            problems.append(
                f"{CHECKSUMS} has rows {checksums.dtype}{checksums.shape}, expected uint32({wanted},)"
            )
    if problems:
        raise _incomplete(Path(file.filename), problems)
    return places, checksums


def _check_attributes(attributes: Mapping[str, Any], path: Path) -> None:
    names = (*CONTENT_ATTRIBUTES, "content_hash")
    if missing := [f"attribute {name} is missing" for name in names if name not in attributes]:
        raise _incomplete(path, missing)
    try:
        Origin.from_json(attributes["origin"])
        generator, joints = (json.loads(attributes[name]) for name in ("generator", "joint_names"))
    except (TypeError, ValueError) as error:
        raise _incomplete(path, [f"its attributes cannot be read ({error})"]) from error
    if not isinstance(generator, dict) or not isinstance(joints, list):
        raise _incomplete(path, ["attributes generator and joint_names are no table and no list"])


def _incomplete(path: Path, problems: Sequence[str]) -> StoreError:
    return StoreError(
        f"data.store: {path} is not a complete store: {'; '.join(problems)}. Copy it again from where it came, or, of "
        "an earlier version, use the program that wrote it."
    )
