"""Clouds in PCL's format .pcd: ascii, binary and binary_compressed (whose blocks are packed by LZF)."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

_COLUMNS = ("FIELDS", "SIZE", "TYPE", "COUNT", "WIDTH", "HEIGHT", "POINTS", "DATA")
_KINDS = {"F": "f", "I": "i", "U": "u"}


def read_pcd(path: Path) -> tuple[Float[np.ndarray, "*grid 3"], UInt8[np.ndarray, "*grid 3"] | None]:
    """Return the points of a .pcd file, (h, w, 3) where it is organized, and their colors where it has any.

    Raises:
        ValueError: not such a file, cut off, or without the fields x, y and z.
    """
    content = path.read_bytes()
    header, start = _read_header(path, content)
    try:
        names, counts = header["FIELDS"], [int(n) for n in header.get("COUNT", ["1"] * len(header["FIELDS"]))]
        kinds = [f"<{_KINDS[kind]}{size}" for kind, size in zip(header["TYPE"], header["SIZE"], strict=True)]
        width, height = int(header["WIDTH"][0]), int(header["HEIGHT"][0])
        layout = np.dtype(
            [
                (f"{i} {name}", kind, (count,))
                for i, (name, kind, count) in enumerate(zip(names, kinds, counts, strict=True))
            ]
        )
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise ValueError(
            f"{path}: the header of this .pcd file is not one ({error!r}). Write it again."
        ) from error
    columns = _columns(path, content[start:], header["DATA"][0], layout, width * height)
    found = {name: columns[f"{i} {name}"][:, 0] for i, name in enumerate(names) if counts[i] == 1}
    if missing := [name for name in "xyz" if name not in found]:
        raise ValueError(f"{path}: expected the fields x, y and z, got {', '.join(names)} (no {missing[0]}).")
    points = np.stack([found[name] for name in "xyz"], axis=-1)
    rgb = _colors(found.get("rgb", found.get("rgba")))
    if height > 1:
        return points.reshape(height, width, 3), None if rgb is None else rgb.reshape(height, width, 3)
    return points, rgb


def _read_header(path: Path, content: bytes) -> tuple[dict[str, list[str]], int]:
    """Return the words of the header by their key, and where the data begin."""
    header: dict[str, list[str]] = {}
    start = 0
    while "DATA" not in header:
        end = content.find(b"\n", start)
        if end < 0 or end - start > 10_000:
            raise ValueError(f"{path}: expected the header of a .pcd file up to its DATA line, found none.")
        key, *words = content[start:end].decode("latin-1").split() or ["#"]
        header[key] = words
        start = end + 1
    if missing := [key for key in _COLUMNS if key not in header and key not in ("COUNT", "POINTS")]:
        raise ValueError(f"{path}: expected {missing[0]} in the header of a .pcd file, found none.")
    return header, start


def _columns(path: Path, data: bytes, form: str, layout: np.dtype, count: int) -> np.ndarray:
    """Return the fields of all points as a structured array."""
    if form == "ascii":
        return _ascii(path, data, layout, count)
    if form == "binary_compressed":
        packed, unpacked = (int(n) for n in np.frombuffer(data[:8].ljust(8, b"\0"), "<u4"))
        if unpacked != layout.itemsize * count or len(data) < 8 + packed:
            raise ValueError(
                f"{path} is cut off: {count} points need {layout.itemsize * count} bytes, the file promises {unpacked} "
                f"in {packed} and holds {max(len(data) - 8, 0)}."
            )
        plain = unpack_lzf(data[8 : 8 + packed], unpacked)
        if plain is None:
            raise ValueError(f"{path}: its compressed points are damaged. Write it again.")
        # Compressed files hold field after field, not point after point.
        columns, start = np.empty(count, layout), 0
        for name in layout.names or ():
            size = layout[name].itemsize * count
            columns[name] = np.frombuffer(plain[start : start + size], layout[name].base).reshape(count, -1)
            start += size
        return columns
    if form != "binary":
        raise ValueError(f"{path}: DATA {form} is none of ascii, binary and binary_compressed.")
    if len(data) < layout.itemsize * count:
        raise ValueError(
            f"{path} is cut off: {count} points need {layout.itemsize * count} bytes, it holds {len(data)}."
        )
    return np.frombuffer(data[: layout.itemsize * count], layout)


def _ascii(path: Path, data: bytes, layout: np.dtype, count: int) -> np.ndarray:
    width = sum(layout[name].shape[0] for name in layout.names or ())
    words = data.split()
    if len(words) < count * width:
        raise ValueError(
            f"{path} is cut off: {count} points of {width} numbers are promised, {len(words)} numbers are there."
        )
    columns, start = np.empty(count, layout), 0
    table = np.array(words[: count * width]).reshape(count, width)
    for name in layout.names or ():
        size, kind = layout[name].shape[0], layout[name].base
        part = table[:, start : start + size]
        try:
            columns[name] = part.astype(np.float64) if kind.kind == "f" else part.astype(np.int64)
        except ValueError as error:
            raise ValueError(
                f"{path}: expected numbers for {name.split()[1]}, got others ({error})."
            ) from error
        start += size
    return columns


def _colors(packed: np.ndarray | None) -> UInt8[np.ndarray, "n 3"] | None:
    """Take red, green and blue out of four bytes, which a file may declare as a float."""
    if packed is None or packed.dtype.itemsize != 4:
        return None
    bits = np.ascontiguousarray(packed).view("<u4")
    return np.stack([bits >> shift & 255 for shift in (16, 8, 0)], axis=-1).astype(np.uint8)


def unpack_lzf(packed: bytes, size: int) -> bytes | None:
    """Undo LZF compression; None for what is damaged.

    A byte below 32 is followed by that many bytes and one more; any other names a length and a distance back.
    """
    out, i = bytearray(), 0
    try:
        while i < len(packed) and len(out) < size:
            control = packed[i]
            i += 1
            if control < 32:
                out += packed[i : i + control + 1]
                i += control + 1
                continue
            length = control >> 5
            if length == 7:
                length += packed[i]
                i += 1
            start = len(out) - ((control & 31) << 8) - packed[i] - 1
            i += 1
            if start < 0:
                return None
            for k in range(start, start + length + 2):  # may read what it writes
                out.append(out[k])
    except IndexError:
        return None
    return bytes(out) if len(out) == size else None
