"""The words of programs whose work takes seconds, and what is in the file that one writes."""

from pathlib import Path

import h5py

GENERATED = [
    "scenes=6",
    "path=store.h5",
    "objects.per_scene=[0,1]",
    "objects.families=[box,cylinder]",
    "grasps.successes=1",
    "grasps.max_attempts=8",
    "grasps.batch=8",
    "views=1",
    "camera.width=160",
    "camera.height=120",
    "workers=2",
    "splits={train: 0.5, val: 0.25, test: 0.25, test_family: 0}",
]

TESTED = [
    "protocol=dgb-fc-quick",
    "max_items=1",
    "samples_per_item=2",
    "tuning.max_items=1",
    "tuning.temperatures=[0.3,0.7]",
    "tuning.samples_per_item=1",
    "top=null",
    "pictures=1",
    "workers=2",
    "sampling.steps=2",
    "min_points=20",
]


def content(path: Path) -> dict[str, object]:
    """Everything in an HDF5 file."""
    found: dict[str, object] = {}

    def add(name: str, node: h5py.HLObject) -> None:
        found.update({f"{name}@{key}": value for key, value in node.attrs.items()})
        if isinstance(node, h5py.Dataset):
            found[name] = node[()].tobytes() if node.dtype.kind != "O" else node[()].tolist()

    with h5py.File(path) as file:
        add("", file)
        file.visititems(add)
    return found
