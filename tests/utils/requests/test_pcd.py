"""Are .pcd files read as PCL writes them: three encodings, organized, with colors; and damaged ones refused?"""

import struct
from pathlib import Path

import numpy as np
import pytest

from sceneleapultra.utils.requests.pcd import read_pcd, unpack_lzf

POINTS = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
RGB = np.arange(18).reshape(6, 3).astype(np.uint8)
PACKED = (RGB.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)).astype(np.uint32)


def header(data: str, width: int = 6, height: int = 1, rgb: str = "F") -> bytes:
    return (
        "# .PCD v0.7\nVERSION 0.7\nFIELDS x y z normal rgb\nSIZE 4 4 4 4 4\n"
        f"TYPE F F F F {rgb}\nCOUNT 1 1 1 3 1\nWIDTH {width}\nHEIGHT {height}\nVIEWPOINT 0 0 0 1 0 0 0\n"
        f"POINTS {width * height}\nDATA {data}\n"
    ).encode()


def literals(data: bytes) -> bytes:
    """LZF without a single reference back."""
    parts = [data[i : i + 32] for i in range(0, len(data), 32)]
    return b"".join(bytes([len(part) - 1]) + part for part in parts)


def body(form: str) -> bytes:
    normals = np.zeros((6, 3), np.float32)
    if form == "ascii":
        bits = PACKED.view(np.float32)
        rows = [(*p, *n, b) for p, n, b in zip(POINTS, normals, bits, strict=True)]
        return "\n".join(" ".join(repr(float(x)) for x in row) for row in rows).encode()
    columns = [POINTS[:, 0], POINTS[:, 1], POINTS[:, 2], normals, PACKED]
    if form == "binary":
        return b"".join(b"".join(c[i].tobytes() for c in columns) for i in range(6))
    plain = b"".join(c.tobytes() for c in columns)
    packed = literals(plain)
    return struct.pack("<II", len(packed), len(plain)) + packed


@pytest.mark.parametrize("form", ["ascii", "binary", "binary_compressed"])
@pytest.mark.parametrize("shape", [(6, 1), (3, 2)])
def test_every_encoding(form: str, shape: tuple[int, int], tmp_path: Path) -> None:
    (tmp_path / "c.pcd").write_bytes(header(form, *shape) + body(form))
    points, rgb = read_pcd(tmp_path / "c.pcd")
    grid = (6,) if shape[1] == 1 else shape[::-1]
    np.testing.assert_array_equal(points, POINTS.reshape(*grid, 3))
    np.testing.assert_array_equal(rgb, RGB.reshape(*grid, 3))


def test_references_back_may_read_what_they_write() -> None:
    # "abc", then six bytes from three back, then a long reference of 2 + 7 + 5 bytes from one back.
    packed = b"\x02abc" + bytes([(4 << 5) | 0, 2]) + bytes([(7 << 5) | 0, 5, 0])
    assert unpack_lzf(packed, 3 + 6 + 14) == b"abcabcabc" + b"c" * 14
    assert unpack_lzf(b"\x20\x05", 3) is None, "before the beginning"
    assert unpack_lzf(b"\x02ab", 3) is None, "cut off"


@pytest.mark.parametrize("form", ["ascii", "binary", "binary_compressed"])
def test_files_that_are_cut_off(form: str, tmp_path: Path) -> None:
    (tmp_path / "c.pcd").write_bytes((header(form) + body(form))[:-30])
    with pytest.raises(ValueError, match="is cut off"):
        read_pcd(tmp_path / "c.pcd")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"solid\n", "expected the header of a .pcd file"),
        (header("zip") + body("ascii"), "DATA zip is none of"),
        (header("ascii").replace(b"FIELDS x", b"FIELDS u") + body("ascii"), "expected the fields x, y and z"),
        (header("ascii").replace(b"WIDTH 6", b"WIDTH six") + body("ascii"), "header of this .pcd file"),
        (header("ascii").replace(b"WIDTH 6\n", b"") + body("ascii"), "expected WIDTH in the header"),
        (header("ascii") + body("ascii").replace(b"0.0", b"zero"), "expected numbers for [xyz], got others"),
    ],
)
def test_files_that_are_none(content: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "c.pcd").write_bytes(content)
    with pytest.raises(ValueError, match=sentence):
        read_pcd(tmp_path / "c.pcd")
