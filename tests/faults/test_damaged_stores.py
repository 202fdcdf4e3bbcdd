"""Is damage to a store noticed before its numbers are used, by a sentence that names the file, and never by a trace?"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from factories.records import SETTINGS, SPLITS, leap, scene_record, writer
from factories.stores import without_checksums
from sceneleapultra.datasets import GraspStore
from sceneleapultra.datasets.items.item_dataset import GraspLoader, ItemDataset
from sceneleapultra.datasets.items.quarantine import Quarantine
from sceneleapultra.datasets.store.schema import COLUMNS

pytestmark = [pytest.mark.faults, pytest.mark.untyped]
PAGE = 4096
Damage = Callable[[bytearray, np.random.Generator], bytearray]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    w = writer(tmp_path_factory.mktemp("sound") / "store.h5")
    for i in (0, 6, 8, 10):
        w.write(scene_record(i, SPLITS[i]))
    return w.finish()


@pytest.fixture(scope="module")
def unprotected(sound: Path) -> Path:
    path = Path(shutil.copy(sound, sound.with_name("unprotected.h5")))
    with without_checksums(path):
        pass
    return path


def everything(path: Path) -> list[bytes]:
    """Read a store as training and testing do: every batch of a loader, and every record."""
    store = GraspStore(path, leap())
    items = store.items("train", min_points=20, require_success=True)
    data = ItemDataset(
        store,
        items,
        SETTINGS,
        augmentation=None,
        keys=False,
        prompt="category",
        seed=0,
        cache_bytes=1 << 20,
        measured=False,
    )
    quarantine = Quarantine(
        path.with_suffix(".jsonl"), num_items=len(data), max_fraction=0.0, holds=data.holds
    )
    read = [
        np.asarray(getattr(batch, name)).tobytes()
        for batch in GraspLoader(data, [[(0, i)] for i in range(len(data))], quarantine, None)
        for name in ("scene_pc", "object_mask", "hand_pose", "grasp_success", "object_name", "item_index")
    ]
    for record in map(store.record, range(store.num_scenes)):
        read += [f"{record.index} {record.split} {record.seed} {record.scene.table}".encode()]
        read += [f"{o.name} {o.family} {o.mass}".encode() for o in record.scene.objects]
        arrays = [record.scene.T_world_object]
        for o in record.scene.objects:
            arrays += [o.vertices, o.faces, *o.pieces]
        for view in record.views:
            arrays += vars(view).values()
        for labeled in record.labeled:
            arrays += [*vars(labeled.grasps).values()]
            arrays += [values for name, values in vars(labeled).items() if name != "grasps"]
        read += [np.ascontiguousarray(a).tobytes() for a in arrays]
    return read


def fate(path: Path, whole: list[bytes]) -> str:
    """Return what became of a damaged store: a sentence that names it, the same numbers, or other ones."""
    try:
        found = everything(path)
    except ValueError as error:
        assert str(path) in str(error) and "\n" not in str(error), error
        return "noticed"
    return "harmless" if found == whole else "silent"


def own_bytes(path: Path) -> np.ndarray:
    """Return which bytes of a store are HDF5's own, and no column's."""
    own = np.ones(path.stat().st_size, dtype=bool)
    with h5py.File(path) as file:
        for name in COLUMNS:
            if (offset := file[name].id.get_offset()) is not None:
                own[offset : offset + file[name].nbytes] = False
    return np.flatnonzero(own)


def flip(content: bytearray, rng: np.random.Generator) -> bytearray:
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    return content


def zero_a_page(content: bytearray, rng: np.random.Generator) -> bytearray:
    start = PAGE * int(rng.integers(-(-len(content) // PAGE)))
    content[start : start + PAGE] = bytes(len(content[start : start + PAGE]))
    return content


def cut(content: bytearray, rng: np.random.Generator) -> bytearray:
    return content[: rng.integers(len(content))]


def fates(sound: Path, damage: Damage, number: int, folder: Path) -> Iterator[str]:
    whole, content = everything(sound), sound.read_bytes()
    for i in range(number):
        path = folder / f"{i}.h5"
        path.write_bytes(damage(bytearray(content), np.random.default_rng([i, number])))
        yield fate(path, whole)
        path.unlink()


@pytest.mark.parametrize(
    ("damage", "number", "at_least"), [(flip, 50, 40), (zero_a_page, 30, 25), (cut, 50, 50)]
)
def test_damage_is_noticed_or_harmless(
    sound: Path, tmp_path: Path, damage: Damage, number: int, at_least: int
) -> None:
    found = Counter(fates(sound, damage, number, tmp_path))
    assert found["silent"] == 0 and found["noticed"] >= at_least, found


def test_damage_to_what_hdf5_keeps_is_noticed_or_harmless(sound: Path, tmp_path: Path) -> None:
    own = own_bytes(sound)

    def flip_own(content: bytearray, rng: np.random.Generator) -> bytearray:
        content[rng.choice(own)] ^= 1 << rng.integers(8)
        return content

    found = Counter(fates(sound, flip_own, 50, tmp_path))
    assert found["silent"] == 0 and found["noticed"] >= 10, found


def test_damage_to_an_unprotected_store_makes_no_trace(unprotected: Path, tmp_path: Path) -> None:
    """A store of an earlier version: what cannot be noticed is read, everything else is a sentence."""
    found = Counter(fates(unprotected, flip, 30, tmp_path)) + Counter(fates(unprotected, cut, 10, tmp_path))
    assert found["silent"] > 0 and found["noticed"] >= 10, found


def test_every_column_is_protected(sound: Path, tmp_path: Path) -> None:
    """The last byte of each, one bit."""
    whole, content = everything(sound), sound.read_bytes()
    with h5py.File(sound) as file:
        ends = {n: file[n].id.get_offset() + file[n].nbytes for n in COLUMNS if file[n].dtype.kind != "O"}
    for name, end in ends.items():
        changed = bytearray(content)
        changed[end - 1] ^= 128
        (tmp_path / "s.h5").write_bytes(changed)
        assert fate(tmp_path / "s.h5", whole) == "noticed", name
