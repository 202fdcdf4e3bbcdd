"""Which part is a point on, and which parts are in a set?"""

import numpy as np

from sceneleapultra.utils.parts import NAMED_PARTS, RIM_M, Part, part_prompt, parts_at, parts_in


def test_sets_of_parts_are_bits() -> None:
    assert parts_in(Part.RIM.bit | Part.HANDLE.bit) == (Part.RIM, Part.HANDLE)
    assert parts_in(0) == parts_in(Part.UNNAMED.bit) == ()
    assert sum(part.bit for part in NAMED_PARTS) == 2**10 - 2 < 2**16, "they fit the stored type"
    assert part_prompt(Part.HANDLE) == "by the handle"


def test_the_rim_is_the_upper_end_of_the_wall() -> None:
    base = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.005]])
    wall = np.array([[0.03, 0.0, 0.005], [0.03, 0.0, 0.1]])
    handle = np.array([[0.05, 0.0, 0.02], [0.05, 0.0, 0.12]])
    piece_part = np.array([Part.BASE, Part.WALL, Part.HANDLE], np.uint8)
    top = 0.1 - RIM_M
    z = np.array([0.11, top - 1e-4, top + 1e-4, 0.1, 0.12])
    piece = np.array([0, 1, 1, 1, 2])
    found = parts_at(piece_part, (base, wall, handle), piece, np.column_stack([z * 0, z * 0, z]))
    assert found.tolist() == [Part.BASE, Part.WALL, Part.RIM, Part.RIM, Part.HANDLE]
