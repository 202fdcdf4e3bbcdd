"""A damaged .npz file is one sentence, whichever bit is wrong; damaged parts of unfinished work are made again."""

import random
from pathlib import Path

import numpy as np
import pytest
import trimesh

from sceneleapultra.simulation.objects.decomposition import convex_pieces
from sceneleapultra.utils.core.npz import read_npz

ARRAYS = {"depth": np.arange(300, dtype=np.float32), "K": np.eye(3), "note": np.array("text")}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_every_flip_and_cut_is_noticed_or_harmless(tmp_path: Path, save: object) -> None:
    path, choose = tmp_path / "view.npz", random.Random(4)
    save(path, **ARRAYS)  # type: ignore[operator]
    whole = path.read_bytes()
    noticed = 0
    for trial in range(150):
        damaged = bytearray(whole)
        if trial < 100:
            bit = choose.randrange(len(whole) * 8)
            damaged[bit // 8] ^= 1 << bit % 8
        else:
            damaged = damaged[: choose.randrange(len(whole))]
        path.write_bytes(damaged)
        try:
            found = read_npz(path, "Copy it again.")
        except ValueError as error:
            noticed += 1
            assert str(error).startswith(f"{path} is ") and str(error).endswith("). Copy it again.")
            assert len(str(error).splitlines()) == 1
        else:
            for name, array in ARRAYS.items():
                np.testing.assert_array_equal(found[name], array)
    assert noticed > 75


def test_damaged_pieces_in_the_cache_are_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    box = trimesh.creation.box((0.05, 0.05, 0.05))
    made = convex_pieces(box.vertices, box.faces, "box", tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    again = convex_pieces(box.vertices, box.faces, "box", tmp_path)
    assert f"{file} is a zip archive of 100 bytes, cut off; expected a complete .npz file" in caplog.text
    assert "It is made again." in caplog.text
    for one, other in zip(made, again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert [array.tolist() for array in read_npz(file).values()] == [piece.tolist() for piece in made]
