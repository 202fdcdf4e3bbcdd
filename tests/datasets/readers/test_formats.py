"""Is each format read as its authors write it: are hands where they were on their objects, whatever the frames?"""

from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from factories import foreign
from factories.sources import distances, write_cache
from sceneleapultra.datasets.foreign.readers.bodex import category
from sceneleapultra.datasets.foreign.readers.frames import (
    DEXGRASPBENCH_BASES,
    joint_order,
    rigid,
    stored_base,
    table_plane,
)
from sceneleapultra.hands import load_hand
from sceneleapultra.utils.records import Outcome

HAND = load_hand("leap_right")


@pytest.mark.parametrize(
    ("name", "write", "overrides", "object_name"),
    [
        ("objectcentric", foreign.objectcentric, [], "box_0f"),
        ("dexgraspnet", foreign.dexgraspnet, [], "core-box-1a2b0@0.08"),
        ("multidex", lambda r, s: foreign.multidex(r, s, "tuple"), [], "contactdb+box_0"),
        ("multidex", lambda r, s: foreign.multidex(r, s, "dict"), [], "contactdb+box_0"),
    ],
)
def test_hands_stay_on_objects(generated, converted, tmp_path, name, write, overrides, object_name) -> None:
    write(tmp_path / "data", generated)
    store = converted(name, tmp_path / "data", *overrides)
    record = store.record(0)
    entry, T, labeled = foreign.object_with_grasps(generated)
    assert (store.num_scenes, record.scene.objects[0].name) == (1, object_name)
    assert len(record.labeled[0].grasps) == len(labeled.grasps)
    assert record.scene.table == (name == "objectcentric")
    before = distances(entry, T, labeled)
    after = distances(record.scene.objects[0], record.scene.T_world_object[0], record.labeled[0])
    # Vertices may come in another order: the distances of each grasp, sorted.
    assert_allclose(np.sort(after, -1), np.sort(before, -1), atol=2e-5)
    assert_allclose(record.labeled[0].grasps.hand_pose[:, 3:-4], labeled.grasps.hand_pose[:, 3:-4], atol=1e-5)
    # What the format lacks is derived, and the store says so: closing 0.117 rad along each joint's flexion.
    assert store.origin.squeeze_qpos == "derived" and store.origin.verdicts == "claimed"
    low, high = HAND.joint_limits.numpy().T
    closed = (labeled.grasps.hand_pose[:, 3:-4] + 0.117 * HAND.flexion_sign.numpy()).clip(low, high)
    assert_allclose(record.labeled[0].grasps.squeeze_qpos, closed, atol=1e-5)
    assert (record.labeled[0].outcome == Outcome.CLAIMED).all()
    assert (record.views[0].instance == 1).sum() > 50


def test_dexgraspnet2_scenes(generated, converted, tmp_path) -> None:
    foreign.dexgraspnet2(tmp_path / "data", generated)
    store = converted("dexgraspnet2", tmp_path / "data", "reader.views=[0,1]", "points.table_margin_m=1.0")
    found, made = store.record(0), generated.record(0)
    assert [o.name for o in found.scene.objects] == ["object_004", "object_005"]
    for i, entry in enumerate(made.scene.objects):
        before = distances(entry, made.scene.T_world_object[i], made.labeled[i])
        after = distances(found.scene.objects[i], found.scene.T_world_object[i], found.labeled[i])
        assert_allclose(np.sort(after, -1), np.sort(before, -1), atol=2e-5)
    for view, old in zip(found.views, made.views, strict=True):
        assert_array_equal(np.bincount(view.instance), np.bincount(old.instance))
        gap = np.linalg.norm(view.points[:, None] - old.points[None], axis=-1).min(1)
        assert gap.max() < 0.7e-3  # half a millimetre of depth, along the ray


def test_caches_of_items(generated, converted, tmp_path) -> None:
    """Padding is dropped, chunks of one cloud are one scene, and an item that failed is no item."""
    record = generated.record(0)
    target = int(np.argmax([len(j.grasps) for j in record.labeled]))
    (tmp_path / "data").mkdir()
    items = write_cache(tmp_path / "data/sceneleappro_ab_camera_centric_64.h5", record, target, chunk=3)
    assert items == 2 * -(-len(record.labeled[target].grasps) // 3)
    store = converted("sceneleapcache", tmp_path / "data", "points.table_margin_m=1.0")
    assert store.num_scenes == 2 and store.num_objects == 1  # one object, seen twice
    expected = distances(
        record.scene.objects[target], record.scene.T_world_object[target], record.labeled[target]
    )
    for row in range(2):
        found = store.record(row)
        assert_allclose(
            np.sort(distances(found.scene.objects[0], found.scene.T_world_object[0], found.labeled[0]), -1),
            np.sort(expected, -1),
            atol=1e-4,
        )
        lowest = (found.scene.objects[0].vertices @ found.scene.T_world_object[0, 2, :3]).min()
        assert (
            abs(lowest + found.scene.T_world_object[0, 2, 3]) < 0.006
        )  # it stands on the table that was found
        counts = {tuple(np.bincount(v.instance == target + 1)) for v in record.views}
        assert tuple(np.bincount(found.views[0].instance)) in counts


def test_caches_that_cannot_be_placed_are_refused(generated, conversion, tmp_path) -> None:
    record, cache = generated.record(0), tmp_path / "x_camera_centric_1.h5"
    write_cache(cache, record, 0, chunk=3, object_mask=None)
    with pytest.raises(ValueError, match=r"no object_mask in this cache.*--format sceneleappro"):
        conversion("sceneleapcache")(tmp_path, tmp_path / "s.h5")
    cache.rename(tmp_path / "x_camera_centric_obj_mean_normalized_1.h5")
    with pytest.raises(ValueError, match="offset to the camera the predecessor did not store"):
        conversion("sceneleapcache")(tmp_path, tmp_path / "s.h5")
    (tmp_path / "x_camera_centric_obj_mean_normalized_1.h5").unlink()
    write_cache(cache, record, 0, chunk=3)
    cache.write_bytes(cache.read_bytes()[:-4000])
    with pytest.raises(ValueError, match=r"it was cut off after \d+ of \d+ bytes\. Copy it again"):
        conversion("sceneleapcache")(tmp_path, tmp_path / "s.h5")


def test_the_base_of_dexgraspbench_by_hand() -> None:
    """The stored root at (0.1, 0.2, 0.3), upright: the palm is 0.1 m above it, its x kept, its y and z turned."""
    T = rigid(np.array([0.1, 0.2, 0.3, 1.0, 0.0, 0.0, 0.0]), "x") @ stored_base(
        HAND, None, DEXGRASPBENCH_BASES
    )
    assert_allclose(T[:3, 3], [0.1, 0.2, 0.3 + 0.1])
    assert_allclose(T[:3, :3], np.diag([1.0, -1.0, -1.0]), atol=1e-12)
    # Turned a quarter about z (x to y): the offset stays vertical, the palm's x points along y.
    quarter = rigid(np.array([0.1, 0.2, 0.3, np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5)]), "x")
    T = quarter @ stored_base(HAND, None, DEXGRASPBENCH_BASES)
    assert_allclose(T[:3, 3], [0.1, 0.2, 0.4], atol=1e-12)
    assert_allclose(T[:3, 0], [0.0, 1.0, 0.0], atol=1e-12)


def test_urdf_names_of_joints() -> None:
    """A file in the URDF's own order 0, 1, 2, ...: our first joint (if_mcp) is its joint 1, our second its joint 0."""
    order = joint_order([f"j{n}" for n in range(16)], HAND, "x")
    assert order.tolist() == [1, 0, 2, 3, 5, 4, 6, 7, 9, 8, 10, 11, 12, 13, 14, 15]
    shuffled = [f"j{n}" for n in (12, 13, 14, 15, 1, 0, 2, 3, 9, 8, 10, 11, 5, 4, 6, 7)]  # thumb first
    assert joint_order(shuffled, HAND, "x").tolist() == [4, 5, 6, 7, 12, 13, 14, 15, 8, 9, 10, 11, 0, 1, 2, 3]


def test_a_table_moved_to_above() -> None:
    """A camera 0.5 m above a table, looking down 45 degrees: the plane y + z = sqrt(0.5) in its frame (y down)."""
    rng = np.random.default_rng(0)
    x, s = rng.uniform(-0.3, 0.3, (2, 500))
    h = np.sqrt(0.5)
    middle, along = (
        np.array([0.0, 0.0, h]),
        np.array([0.0, -h, h]),
    )  # the point looked at; a direction on the table
    points = middle + x[:, None] * [1.0, 0.0, 0.0] + s[:, None] * along
    T = table_plane(points, "x")
    assert_allclose(points @ T[2, :3] + T[2, 3], 0.0, atol=1e-9)
    assert_allclose(T[:3, 3], [0.0, 0.0, 0.5], atol=1e-9)
    assert_allclose(T[2, :3], [0.0, -h, -h], atol=1e-9)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("core-bottle-1a2b3c", "bottle"),
        ("sem-Bottle-af3d", "bottle"),
        ("mug_0123abcd", "mug"),
        ("mug-000017", "mug"),
        ("coffee_mug_0123", "coffee_mug"),
    ],
)
def test_categories_in_names(name, expected) -> None:
    assert category(name) == expected


def bench(**changes):
    """A record of DexGraspBench: one grasp; root at (0, 0, 0.2), joints 0.01, 0.02, ..."""
    qpos = np.r_[0.0, 0.0, 0.2, 1.0, 0.0, 0.0, 0.0, 0.01 * np.arange(1, 17)]
    record = {
        "obj_path": "assets/object/mug_1",
        "obj_scale": 0.06,
        "obj_pose": np.r_[0.1, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0],
        "pregrasp_qpos": qpos - np.r_[np.zeros(7), np.full(16, 0.005)],
        "grasp_qpos": qpos,
        "squeeze_qpos": qpos + np.r_[np.zeros(7), np.full(16, 0.005)],
    }
    return {**record, **changes}


def read_bodex(conversion, root: Path, **records):
    for path, record in records.items():
        file = root / "grasps" / f"{path.replace('__', '/')}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, record)
    reader = conversion("bodex").reader
    (entry, *_) = reader.index(root)
    return entry, reader.read(root, entry.key, HAND)


def test_one_grasp_per_file_and_a_folder_per_object(conversion, tmp_path) -> None:
    second = bench(succ_flag=False)
    entry, scene = read_bodex(conversion, tmp_path, mug_1__0=bench(), mug_1__1=second)
    (placed,) = scene.objects
    assert (entry.key, entry.objects) == ("grasps/mug_1", (("mug_1", "mug"),))
    assert (placed.name, placed.family, placed.scale) == ("mug_1@0.06", "mug", 0.06)
    assert placed.grasps.outcome.tolist() == [Outcome.CLAIMED, Outcome.SLIPPED]
    # Root at (0, 0, 0.2), palm 0.1 above: (0, 0, 0.3); the object is at (0.1, 0, 0): (-0.1, 0, 0.3) in its frame.
    assert_allclose(placed.grasps.T_object_base[0, :3, 3], [-0.1, 0.0, 0.3])
    assert_allclose(placed.grasps.qpos[0], 0.01 * np.arange(1, 17))
    assert_allclose(placed.grasps.squeeze_qpos[1], 0.01 * np.arange(1, 17) + 0.005)


def test_several_grasps_and_waypoints_per_file(conversion, tmp_path) -> None:
    """Dexonomy: a leading axis; of three way-points before the grasp the last is nearest to it."""
    record = bench()
    ways = np.stack([record["pregrasp_qpos"] - 0.3, record["pregrasp_qpos"] - 0.1, record["pregrasp_qpos"]])
    record |= {"grasp_qpos": record["grasp_qpos"][None], "squeeze_qpos": record["squeeze_qpos"][None]}
    entry, scene = read_bodex(conversion, tmp_path, mug_1__a=record | {"pregrasp_qpos": ways})
    assert entry.key == "grasps/mug_1/a.npy"
    assert_allclose(scene.objects[0].grasps.pregrasp_qpos, [0.01 * np.arange(1, 17) - 0.005])


def test_bodex_itself_speaks_of_the_palm(conversion, tmp_path) -> None:
    """robot_pose (1, n, 3, 23) of the URDF's palm, joints by name: no offset, spreading joints change places."""
    row = np.r_[0.0, 0.0, 0.2, 1.0, 0.0, 0.0, 0.0, np.arange(16.0)]
    record = {
        "robot_pose": np.tile(row, (1, 2, 3, 1)),
        "joint_names": [str(n) for n in range(16)],
        "obj_pose": np.array([[0.1, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]]),
        "obj_scale": np.array([0.06]),
    }
    _, scene = read_bodex(conversion, tmp_path, mug_1__a_grasp=record)
    grasps = scene.objects[0].grasps
    assert_allclose(grasps.T_object_base[0, :3, 3], [-0.1, 0.0, 0.2])
    assert_allclose(grasps.T_object_base[0, :3, :3], np.eye(3))
    assert grasps.qpos[1].tolist() == [1, 0, 2, 3, 5, 4, 6, 7, 9, 8, 10, 11, 12, 13, 14, 15]
    assert scene.objects[0].name == "mug_1@0.06"


REFERENCE = Path(__file__).resolve().parents[4] / "shared/data/dexgraspbench_reference"


@pytest.mark.slow
@pytest.mark.skipif(not REFERENCE.is_dir(), reason="needs ../shared/data/dexgraspbench_reference")
def test_grasps_of_the_official_benchmark_lie_on_their_objects(converted, conversion, tmp_path) -> None:
    """Grasps that DexGraspBench itself held, with its hand and its objects; taken for palm poses they are refused."""
    with h5py.File(REFERENCE / "reference.h5") as file:
        held = np.flatnonzero(file["official/succ_flag"][...])
        names = file["object"].asstr()[...][held]
        first = held[names == names[0]]
        for i in first.tolist():
            record = {
                n: file[n][i]
                for n in ("obj_scale", "obj_pose", "pregrasp_qpos", "grasp_qpos", "squeeze_qpos")
            }
            folder = (
                tmp_path / f"grasps/{names[0]}/{record['obj_scale']:g}_{hash(record['obj_pose'].tobytes())}"
            )
            folder.mkdir(parents=True, exist_ok=True)
            np.save(folder / f"{i}.npy", {"obj_path": f"objects/{names[0]}", **record})
    root = ["reader.table=false", f"reader.objects={REFERENCE / 'objects'}"]
    store = converted(
        "bodex", tmp_path, *root, "grasps.max_wrist_motion_m=null", "grasps.max_wrist_motion_deg=null"
    )
    assert sum(store.num_grasps(s, 0) for s in range(store.num_scenes)) == len(first) > 5
    # Among them are some whose pre-grasp was drawn back; the wrist of a triple here is one.
    with h5py.File(REFERENCE / "reference.h5") as file:
        away = np.linalg.norm((file["pregrasp_qpos"][...] - file["grasp_qpos"][...])[first, :3], axis=1)
    made = conversion("bodex", *root)(tmp_path, tmp_path / "still.h5").grasps
    assert (made.moved, made.written) == ((away > 0.01).sum(), (away <= 0.01).sum()) and made.moved > 5
    wrong = conversion("bodex", *root, "reader.base=[0,0,0,1,0,0,0]")
    with pytest.raises(ValueError, match="It would fit if its poses were those of a mocap root"):
        wrong(tmp_path, tmp_path / "wrong.h5")


@pytest.mark.parametrize("how", ["link", "link of an item", "other storage", "virtual"])
def test_caches_whose_data_lie_elsewhere_are_refused(generated, conversion, tmp_path, how: str) -> None:
    cache, other = tmp_path / "x_camera_centric_1.h5", tmp_path / "other.bin"
    write_cache(cache, generated.record(0), 0, chunk=3)
    other.write_bytes(cache.read_bytes())
    with h5py.File(cache, "r+") as file:
        faces = file["0/obj_faces"]
        shape, dtype = faces.shape, faces.dtype
        del file["0/obj_faces"]
        if how == "link":
            file["0/obj_faces"] = h5py.ExternalLink(str(other), "1/obj_faces")
        elif how == "link of an item":
            del file["0"]
            file["0"] = h5py.ExternalLink(str(other), "1")
        elif how == "other storage":
            file.create_dataset("0/obj_faces", shape, dtype, external=[(str(other), 0, h5py.h5f.UNLIMITED)])
        else:
            layout = h5py.VirtualLayout(shape, dtype)
            layout[:] = h5py.VirtualSource(str(other), "1/obj_faces", shape)
            file.create_virtual_dataset("0/obj_faces", layout)
    with pytest.raises(ValueError, match=r"x_camera_centric_1\.h5: /0.* lies elsewhere than in this file"):
        conversion("sceneleapcache")(tmp_path, tmp_path / "s.h5")
