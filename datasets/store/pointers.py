"""Do the columns of a file fit together: as many rows as each other, pointers in order and at what is there?"""

from collections.abc import Iterator

import numpy as np

from sceneleapultra.datasets.store.schema import COLUMNS, GRASP_COLUMNS
from sceneleapultra.datasets.store.shard_file import ShardFile

# Whose rows each column of pointers has one entry for, and one more, and rows of what it counts.
POINTERS = {
    "objects/vertices_ptr": ("objects/name", "objects/vertices"),
    "objects/faces_ptr": ("objects/name", "objects/faces"),
    "objects/piece_sizes_ptr": ("objects/name", "objects/piece_sizes"),
    "scenes/object_ptr": ("scenes/index", "scenes/object"),
    "scenes/view_ptr": ("scenes/index", "views/T_world_cam"),
    "views/point_ptr": ("views/T_world_cam", "views/points"),
    "grasps/ptr": ("scenes/object", "grasps/success"),
}
# Columns that have one row for each of another.
_BESIDE = {
    "objects/family": "objects/name",
    "objects/mass": "objects/name",
    "objects/piece_part": "objects/piece_sizes",
    "scenes/seed": "scenes/index",
    "scenes/split": "scenes/index",
    "scenes/table": "scenes/index",
    "scenes/T_world_object": "scenes/object",
    "views/K": "views/T_world_cam",
    "views/rgb": "views/points",
    "views/instance": "views/points",
    **{name: "grasps/success" for name in COLUMNS if name.startswith("grasps/") and name != "grasps/ptr"},
}


def pointer_problem(columns: ShardFile, num_joints: int) -> str | None:
    """Return what does not fit, as a phrase; None where everything does."""
    return next(_problems(columns, num_joints), None)


def _problems(columns: ShardFile, num_joints: int) -> Iterator[str]:
    for name, other in _BESIDE.items():
        if (found := columns.length(name)) != (wanted := columns.length(other)):
            yield f"{name} has {found} rows, {other} has {wanted}"
    for name, width in zip(GRASP_COLUMNS, (3 + num_joints + 4, num_joints, num_joints), strict=True):
        if (wide := columns.layout.places[f"grasps/{name}"].shape[1]) != width:
            yield f"grasps/{name} has {wide} numbers a row, a hand of {num_joints} joints has {width}"
    for name, (owner, target) in POINTERS.items():
        yield from _pointer_problems(columns, name, owner, target)
    objects, count = columns["scenes/object"], columns.length("objects/name")
    if len(objects) and not 0 <= objects.min() <= objects.max() < count:
        yield f"scenes/object names rows {objects.min()} to {objects.max()} of {count} objects"
    sizes, count = columns["objects/piece_sizes"], columns.length("objects/piece_vertices")
    if (sizes < 0).any() or (sizes > count).any() or sizes.sum() != count:
        yield f"objects/piece_sizes do not add up to the {count} rows of objects/piece_vertices"


def _pointer_problems(columns: ShardFile, name: str, owner: str, target: str) -> Iterator[str]:
    if (found := columns.length(name)) != (wanted := columns.length(owner) + 1):
        yield f"{name} has {found} rows, expected {wanted}: one more than {owner}"
        return
    pointers, end = columns[name], columns.length(target)
    if pointers[0] != 0 or pointers[-1] != end:
        yield f"{name} goes from {pointers[0]} to {pointers[-1]}, expected 0 to {end}, the rows of {target}"
    elif len(falls := np.flatnonzero(pointers[1:] < pointers[:-1])):
        row = int(falls[0]) + 1
        yield f"{name}[{row}] is {pointers[row]}, less than the {pointers[row - 1]} before it"
