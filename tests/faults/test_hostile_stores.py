"""Is a store refused that would make reading follow a link, leave the file, unpack without end, or run out of files?"""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

from factories.records import scene_record, writer
from factories.stores import edited
from sceneleapultra.datasets import GraspStore

pytestmark = [pytest.mark.faults, pytest.mark.untyped]
NAME = "views/points"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    w = writer(tmp_path_factory.mktemp("made") / "store.h5")
    w.write(scene_record(0))
    return w.finish()


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made, tmp_path / "store.h5"))


def external_link(file: h5py.File, secret: Path) -> None:
    with h5py.File(secret.with_suffix(".h5"), "w") as other:
        other[NAME] = file[NAME][...]
    del file[NAME]
    file[NAME] = h5py.ExternalLink(secret.with_suffix(".h5").name, NAME)


def soft_link(file: h5py.File, secret: Path) -> None:
    file["elsewhere"] = file[NAME][...]
    del file[NAME]
    file[NAME] = h5py.SoftLink("/elsewhere")


def linked_group(file: h5py.File, secret: Path) -> None:
    file.move("views", "elsewhere")
    file["views"] = h5py.SoftLink("/elsewhere")


def external_storage(file: h5py.File, secret: Path) -> None:
    shape = file["views/rgb"].shape
    del file["views/rgb"]
    file.create_dataset("views/rgb", shape=shape, dtype="u1", external=[(str(secret), 0, shape[0] * 3)])


def virtual(file: h5py.File, secret: Path) -> None:
    with h5py.File(secret.with_suffix(".h5"), "w") as other:
        other["x"] = file[NAME][...]
    layout = h5py.VirtualLayout(file[NAME].shape, "f4")
    layout[:] = h5py.VirtualSource(str(secret.with_suffix(".h5")), "x", shape=file[NAME].shape)
    del file[NAME]
    file.create_virtual_dataset(NAME, layout)


def other_filter(file: h5py.File, secret: Path) -> None:
    values = file[NAME][...]
    del file[NAME]
    file.create_dataset(NAME, data=values, chunks=True, scaleoffset=2)


def bomb(file: h5py.File, secret: Path) -> None:
    for name in (NAME, "views/rgb", "views/instance"):
        dtype, row = file[name].dtype, file[name].shape[1:]
        del file[name]
        file.create_dataset(
            name, shape=(10**10, *row), dtype=dtype, chunks=(1 << 16, *row), compression="gzip"
        )
    file["views/point_ptr"][-1] = 10**10


@pytest.mark.parametrize(
    ("attack", "sentence"),
    [
        (external_link, "views/points is a link to elsewhere"),
        (soft_link, "views/points is a link to elsewhere"),
        (linked_group, "views/T_world_cam is a link to elsewhere"),
        (external_storage, "views/rgb takes its values from other files"),
        (virtual, "views/points takes its values from other files"),
        (other_filter, "views/points is packed by a filter that stores do not have (6)"),
        (bomb, "views/points would unpack to 120 GB"),
    ],
)  # fmt: skip
def test_what_is_no_plain_column_is_refused(
    store: Path, tmp_path: Path, run_program, capsys, attack: Callable[..., None], sentence: str
) -> None:
    """By every program that opens a store, before anything is read through it."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"root:x:0:0:" * 10_000)
    with h5py.File(store, "r+") as file:
        attack(file, secret)
    for program, words in {
        "inspect_dataset": [store],
        "export_dataset": [store, tmp_path / "out", "--format", "bodex"],
    }.items():
        assert run_program(program, *words) == 1
        said = " ".join(capsys.readouterr().err.split())
        assert f"store.h5 is not read: {sentence}" in said and "Traceback" not in said
    for command in (["verify"], ["migrate"], ["manifest"]):
        words = {
            "verify": [store],
            "migrate": [store, tmp_path / "n.h5"],
            "manifest": [tmp_path / "m.json", store],
        }
        assert run_program("store", *command, *words[command[0]]) == 1
        assert sentence in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "n.h5").exists() and not (tmp_path / "m.json").exists()


def change(name: str, index: object, value: object) -> Callable[[h5py.File], None]:
    def changed(file: h5py.File) -> None:
        file[name][index] = value

    return changed


def shorter(file: h5py.File) -> None:
    values = file["views/K"][:-1]
    del file["views/K"]
    file["views/K"] = values


@pytest.mark.parametrize(
    ("attack", "sentence"),
    [
        (change("views/point_ptr", 1, 10**15), "views/point_ptr[2] is 1100, less than the 1000000000000000 before it"),
        (change("views/point_ptr", 2, 10**15), "views/point_ptr goes from 0 to 1000000000000000, expected 0 to 1100"),
        (change("grasps/ptr", 1, -3), "grasps/ptr[1] is -3, less than the 0 before it"),
        (change("scenes/object", 0, 7), "scenes/object names rows 1 to 7 of 2 objects"),
        (change("objects/piece_sizes", 0, 9), "objects/piece_sizes do not add up to the 16 rows"),
        (shorter, "views/K has 1 rows, views/T_world_cam has 2"),
    ],
)  # fmt: skip
def test_pointers_are_in_order_and_within_what_is_there(
    store: Path, attack: Callable[[h5py.File], None], sentence: str
) -> None:
    """Also where the checksums are those of what is there."""
    with edited(store) as file:
        attack(file)
    with pytest.raises(ValueError) as caught:
        GraspStore(store)
    assert sentence in str(caught.value) and str(store) in str(caught.value)


COUNT = """
import resource, sys
from pathlib import Path
from sceneleapultra.datasets import GraspStore
import h5py, numpy, torch
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
store = GraspStore(sys.argv[1])
points = [float(store.view(row).points.sum()) for _ in range(2) for row in range(0, 2 * store.num_scenes, 2)]
print(store.num_scenes, len(set(points)))
"""


@pytest.mark.parametrize(("shards", "limit"), [(500, 1024), (80, 64)])
def test_more_shards_than_open_files(made: Path, tmp_path: Path, shards: int, limit: int) -> None:
    for i in range(shards):
        os.link(made, tmp_path / f"part{i}.h5")
    assert limit <= resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    words = [sys.executable, "-c", COUNT, str(tmp_path / "part*.h5"), str(limit)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.stdout.split() == [str(shards), "1"], done.stderr


# Copies on a local disk


def test_a_staged_copy_that_was_put_there_is_not_trusted(store: Path, tmp_path: Path) -> None:
    """Neither one of another store, nor one that was changed and given its times back; the sound one is kept."""
    folder, whole = tmp_path / "local", GraspStore(store)
    folder.mkdir()
    copy = folder / f"{whole.content_hash[:16]}.h5"
    w = writer(tmp_path / "other.h5", seed=1)
    w.write(scene_record(1))
    shutil.copy(w.finish(), copy)
    points = whole.view(0).points
    assert (GraspStore(store, staging=folder).view(0).points == points).all()
    inode = copy.stat().st_ino
    GraspStore(store, staging=folder)
    assert copy.stat().st_ino == inode, "copied once"
    before = copy.stat()
    with edited(copy) as file:
        file[NAME][0] = 7.0
    os.utime(copy, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (GraspStore(store, staging=folder).view(0).points == points).all()
    assert copy.stat().st_ino != inode, "copied again"


def test_a_staging_folder_of_somebody_else_gets_a_sentence(store: Path, tmp_path: Path) -> None:
    (tmp_path / "local").write_text("no folder")
    with pytest.raises(
        ValueError, match=r"data\.loading\.staging: .*local: File exists\. Choose another folder"
    ):
        GraspStore(store, staging=tmp_path / "local")
