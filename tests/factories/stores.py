"""Finished stores changed on purpose: with checksums of what they hold then, or as earlier versions wrote them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from sceneleapultra.datasets.store.blocks import CHECKSUMS
from sceneleapultra.datasets.store.layout import write_checksums


@contextmanager
def edited(path: Path) -> Iterator[h5py.File]:
    """Change a store as a program would that writes its checksums."""
    with h5py.File(path, "r+") as file:
        yield file
    write_checksums(path)


@contextmanager
def without_checksums(path: Path) -> Iterator[h5py.File]:
    """Change a store, and leave it as a version before checksums wrote it."""
    with h5py.File(path, "r+") as file:
        yield file
        del file[CHECKSUMS], file.attrs["schema_minor"]
