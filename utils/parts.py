"""Which parts of objects have a name, and which of them a grasp is on.

A part is stored for each convex piece of an object. The rim is no piece of its own, which would change the objects
that there are: it is the uppermost of the pieces that are the wall of a vessel.
"""

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from jaxtyping import Float, Int, UInt8

RIM_M = 0.015  # height of a rim


class Part(IntEnum):
    """A part of an object, by what a person calls it."""

    UNNAMED = 0
    BASE = 1
    BODY = 2
    WALL = 3
    RIM = 4
    HANDLE = 5
    HEAD = 6
    NECK = 7
    LID = 8
    WEIGHT = 9

    @property
    def word(self) -> str:
        """As prompts say it: ``handle``."""
        return self.name.lower()

    @property
    def bit(self) -> int:
        """Its place in a set of parts."""
        return 1 << self


NAMED_PARTS = tuple(part for part in Part if part is not Part.UNNAMED)


def part_prompt(part: Part) -> str:
    """Return the words that ask for grasps of a part."""
    return f"by the {part.word}"


def parts_in(bits: int) -> tuple[Part, ...]:
    """Return the named parts of a set."""
    return tuple(part for part in NAMED_PARTS if bits & part.bit)


def parts_at(
    piece_part: UInt8[np.ndarray, "p"],
    pieces: Sequence[Float[np.ndarray, "_ 3"]],
    piece: Int[np.ndarray, "c"],
    position: Float[np.ndarray, "c 3"],
) -> UInt8[np.ndarray, "c"]:
    """Return the part at points of an object.

    Args:
        piece_part: part of each piece.
        pieces: their vertices, in the frame of the object, whose z is the axis that vessels are open along.
        piece: on which each point lies.
        position: the points, in the frame of the object (m).
    """
    part = piece_part[piece].copy()
    walls = [points for points, kind in zip(pieces, piece_part, strict=True) if kind == Part.WALL]
    if walls:
        rim = max(points[:, 2].max() for points in walls) - RIM_M
        part[(part == Part.WALL) & (position[:, 2] >= rim)] = Part.RIM
    return part
