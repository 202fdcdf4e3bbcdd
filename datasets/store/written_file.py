"""How HDF5 files are written: an error of the disk is an error, and no end of the process.

HDF5 crashes (segmentation fault) when it closes a file whose last bytes the disk refused. It never hears of a refusal
here: what it writes goes through this file, which notes the first error, drops what follows, and raises in the end.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import h5py


class _NotedErrors(io.FileIO):
    """A file whose refusals are noted."""

    error: OSError | None = None

    def write(self, data: object) -> int:
        """Write everything, or note why not."""
        view = memoryview(data)  # type: ignore[arg-type]
        done = 0
        while self.error is None and done < view.nbytes:
            try:
                done += super().write(view[done:]) or 0
            except OSError as error:
                self.error = error
        return view.nbytes

    def truncate(self, size: int | None = None) -> int:
        """Set the size, or note why not."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return self.tell() if size is None else size


@contextmanager
def written_hdf5(
    path: Path, mode: Literal["w", "r+"] = "w", *, libver: str | None = None
) -> Iterator[h5py.File]:
    """Write an HDF5 file.

    Args:
        path: the file.
        mode: "w" for a new one in place of what lies there, "r+" to change the one that does.
        libver: the version of the format, as ``h5py.File`` takes it.

    Raises:
        OSError: the disk refused bytes; the file is of no use.
    """
    with _NotedErrors(path, f"{mode[0]}+") as raw:
        try:
            with h5py.File(raw, mode, libver=libver) as file:
                yield file
        finally:
            if raw.error is not None:
                raise OSError(
                    f"{path} could not be written ({raw.error.strerror}). Make room, or write elsewhere, and start "
                    "again."
                ) from raw.error
