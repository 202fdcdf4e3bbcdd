"""Are the bytes of a column still those that were written? A CRC-32 for each block of 16 KiB, checked when first read.

The checksums of a file are one column: those of each column's blocks in the order of ``COLUMNS``, one for each column
of text, and one for the attributes. Block ``i`` of a column is its bytes from ``16384 i`` on.
"""

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sceneleapultra.datasets.store.hdf5 import Place
from sceneleapultra.datasets.store.schema import ATTRIBUTES, COLUMNS

BLOCK_BYTES = 1 << 14
CHECKSUMS = "checksums"


def num_blocks(place: Place) -> int:
    """Return how many checksums a column has."""
    return 1 if place.dtype is None else -(-place.num_bytes // BLOCK_BYTES)


def block_starts(places: Mapping[str, Place]) -> dict[str, int]:
    """Return where the checksums of each column start, and under ``""`` that of the attributes."""
    starts, total = {}, 0
    for name in (name for name in COLUMNS if name in places):
        starts[name] = total
        total += num_blocks(places[name])
    return {**starts, "": total}


def attributes_checksum(attributes: Mapping[str, Any]) -> int:
    """Return the checksum of what a store says of itself."""
    known = {name: attributes[name] for name in ATTRIBUTES if name in attributes}
    return zlib.crc32(json.dumps(known, sort_keys=True).encode())


def text_checksum(rows: Iterable[bytes]) -> int:
    """Return the checksum of a column of text, whose rows each end with a zero."""
    return zlib.crc32(b"\0".join((*rows, b"")))


class BlockChecks:
    """Which blocks of a file were compared with their checksums.

    Args:
        places: where the columns lie.
    """

    def __init__(self, places: Mapping[str, Place]) -> None:
        self.starts = block_starts(places)
        self._checked = bytearray(self.starts[""])

    def unchecked(self, name: str, first: int, last: int) -> list[int]:
        """Return the blocks of a column, from the one of its byte ``first`` to before ``last``, to compare still."""
        start = self.starts[name]
        begin, end = start + first // BLOCK_BYTES, start + -(-last // BLOCK_BYTES)
        if self._checked.find(0, begin, end) < 0:
            return []
        return [i - start for i in range(begin, end) if not self._checked[i]]

    def compare(
        self, name: str, blocks: Sequence[int], data: memoryview, checksums: memoryview
    ) -> int | None:
        """Compare blocks of a column with their checksums.

        Args:
            name: of the column.
            blocks: which.
            data: all bytes of the column.
            checksums: of the file, whole numbers.

        Returns:
            the first block that is not what was written; None where all are.
        """
        start = self.starts[name]
        for i in blocks:
            if zlib.crc32(data[i * BLOCK_BYTES : (i + 1) * BLOCK_BYTES]) != checksums[start + i]:
                return i
            self._checked[start + i] = 1
        return None
