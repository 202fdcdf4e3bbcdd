"""Is bad data answered by a sentence that says what was expected, what came, and what to do?"""

import io
import json
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from factories import foreign
from sceneleapultra.datasets import GraspStore
from sceneleapultra.datasets.foreign.exporters import EXPORTERS
from sceneleapultra.datasets.foreign.readers.files import below, read_npy, read_npz
from sceneleapultra.hands import load_hand
from sceneleapultra.utils.core.overrides import override_hints
from sceneleapultra.utils.core.torch_files import read_torch

HAND = load_hand("leap_right")


class Danger:
    def __reduce__(self):
        return os.system, ("touch /tmp/never",)


def save_pickled(path: Path, value: object) -> Path:
    array = np.empty((), dtype=object)
    array[()] = value
    np.save(path, array)
    return path


def test_plain_data_is_unpickled(tmp_path) -> None:
    value = {"a": np.arange(3.0), "b": [1, "x", None, np.float32(2.5)], "c": {"d": (True, b"bytes")}}
    for protocol in range(6):
        path = tmp_path / f"{protocol}.npy"
        array = np.empty((), dtype=object)
        array[()] = value
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
            pickle.dump(array, file, protocol=protocol)
        found = read_npy(path)
        assert found["a"].tolist() == [0.0, 1.0, 2.0] and found["b"] == [1, "x", None, 2.5]
        assert found["c"]["d"] == (True, b"bytes")


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (Danger(), "posix.system"),
        ({"inside": [Danger()]}, "posix.system"),
        ({"f": io.BytesIO}, "_io.BytesIO"),
        ({"t": torch.zeros(2)}, "torch._utils._rebuild_tensor"),
        (getattr, "builtins.getattr"),
    ],
)
def test_a_pickle_of_anything_else_is_not_loaded(tmp_path, value, named) -> None:
    marker = Path("/tmp/never")
    marker.unlink(missing_ok=True)
    path = save_pickled(tmp_path / "x.npy", value)
    with pytest.raises(
        ValueError, match=rf"x\.npy holds a pickle of more than arrays.*{named}.*It was not loaded"
    ):
        read_npy(path)
    assert not marker.exists()


def test_a_torch_file_with_code_is_not_loaded(tmp_path) -> None:
    torch.save({"metadata": [Danger()]}, tmp_path / "x.pt")
    with pytest.raises(
        ValueError, match=r"x\.pt holds more than tensors.*\(posix\.system\)\. It was not loaded"
    ):
        read_torch(tmp_path / "x.pt")
    assert not Path("/tmp/never").exists()


@pytest.mark.parametrize("kind", ["npy", "pickled npy", "npz"])
def test_truncated_files(tmp_path, kind) -> None:
    path = tmp_path / "x"
    with path.open("wb") as file:
        if kind == "npz":
            np.savez(file, a=np.arange(1000.0))
        else:
            np.save(
                file, np.arange(1000.0) if kind == "npy" else np.array({"a": np.arange(1000.0)}, dtype=object)
            )
    path.write_bytes(path.read_bytes()[:-500])
    read = read_npz if kind == "npz" else read_npy
    with pytest.raises(
        ValueError, match=r"x (cannot be read|is a zip archive) .*[iI]s it truncated\? Copy it again\."
    ):
        read(path)


def test_unknown_setting_of_a_format() -> None:
    words = ["conversion=bodex", "conversion.max_grasp=3"]
    hint = "Unknown key 'conversion.max_grasp'. Did you mean 'conversion.grasps.max_grasps'?"
    assert override_hints(words, "convert") == [hint]


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("grasps.max_grasps=0", "conversion.grasps.max_grasps: expected at least 1, got 0"),
        ("max_bad_fraction=2", "conversion.max_bad_fraction: expected 0 to 1, got 2"),
        ("splits.val=1.5", "conversion.splits.val: expected 0 to less than 1, got 1.5"),
        ("splits.val=0.9", "leave nothing for training"),
        ("renderer.views=0", "conversion.renderer.views: expected at least 1, got 0"),
    ],
)
def test_settings_out_of_range(conversion, setting, sentence) -> None:
    with pytest.raises(ValueError) as caught:
        conversion("bodex", setting)
    assert sentence in str(caught.value)


def test_no_source(conversion, tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match=r"data\.root: no bodex data at .*Pass the folder"):
        conversion("bodex")(tmp_path / "none", tmp_path / "s.h5")
    with pytest.raises(FileNotFoundError, match="holds no scene of format 'bodex'"):
        conversion("bodex")(tmp_path, tmp_path / "s.h5")


@pytest.fixture(scope="module")
def exported(generated: GraspStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slp") / "data"
    EXPORTERS["sceneleapplus"](generated, HAND, folder, lambda _: None)
    return folder


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    """A copy of a sceneleapplus folder that a test may damage."""
    import shutil

    return Path(shutil.copytree(exported, tmp_path / "data"))


def refusal(conversion, folder: Path, *overrides: str) -> str:
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        conversion("sceneleapplus", *overrides)(folder, folder.parent / "s.h5")
    return str(caught.value)


def first_grasp_file(folder: Path) -> Path:
    """One of the first scene's, so that it is the first to be read."""
    entry = json.loads((folder / "scene_000000/collision_free_grasp_indices.json").read_text())[0]
    return folder / f"grasps/{entry['object_name']}_{entry['uid']}.npy"


def rewrite(path: Path, **changes) -> None:
    np.save(path, {**np.load(path, allow_pickle=True).item(), **changes})


def test_a_missing_mesh(conversion, folder) -> None:
    mesh = folder / "objects" / first_grasp_file(folder).stem
    mesh.rename(folder / "elsewhere")
    assert "has no mesh: expected it at" in refusal(conversion, folder)


def test_a_missing_image(conversion, folder) -> None:
    (folder / "scene_000000/train_pbr/000000/depth/000001.png").unlink()
    assert "000001.png is missing. Complete the folder" in refusal(conversion, folder)


def test_a_truncated_image(conversion, folder) -> None:
    path = folder / "scene_000000/train_pbr/000000/depth/000001.png"
    path.write_bytes(path.read_bytes()[:-300])
    assert "000001.png cannot be read" in refusal(conversion, folder)


def test_depth_of_another_scale(conversion, folder) -> None:
    """Ten times the number of units in a metre: everything is ten times as near."""
    foreign.rewrite_json(folder / "camera.json", lambda c: c.update(depth_scale=100.0))
    said = refusal(conversion, folder)
    assert re.search(r"lie \d+ mm from its surface .* at 0\.(09|1)\d* times its distance", said)
    assert "Pass reader.depth_unit_m=" in said
    store = conversion("sceneleapplus", "reader.depth_unit_m=1e-4")(folder, folder.parent / "again.h5").store
    assert store.is_file()


def test_depth_that_is_no_16_bit_image(conversion, folder) -> None:
    path = folder / "scene_000000/train_pbr/000000/depth/000000.png"
    Image.fromarray(np.array(Image.open(path)).astype(np.uint8)).save(path)
    assert "depth images hold 16-bit numbers, got uint8 in view 0" in refusal(conversion, folder)


def test_quaternions_of_another_order(conversion, folder) -> None:
    path = first_grasp_file(folder)
    grasps = np.load(path, allow_pickle=True).item()["grasp_qpos"]
    # Written as xyzw: read as wxyz, the file's first number is taken for w.
    rewrite(
        path,
        grasp_qpos=np.concatenate(
            [grasps[:, :3], np.roll(grasps[:, 3:7], -1, axis=1), grasps[:, 7:]], axis=1
        ),
    )
    said = refusal(conversion, folder)
    assert "the hand does not lie on object" in said or "its quaternions were xyzw" in said


def test_grasps_of_another_hand(conversion, folder) -> None:
    path = first_grasp_file(folder)
    grasps = np.load(path, allow_pickle=True).item()["grasp_qpos"]
    rewrite(path, grasp_qpos=np.concatenate([grasps, grasps[:, :6]], axis=1))
    said = refusal(conversion, folder)
    assert "grasps with 22 joints, hand 'leap_right' has 16" in said and "pass hand=<its name" in said


def test_indices_of_other_grasps(conversion, folder) -> None:
    path = folder / "scene_000000/collision_free_grasp_indices.json"
    foreign.rewrite_json(path, lambda entries: entries[0].update(collision_free_indices=[10_000]))
    assert "collision_free_indices of" in refusal(conversion, folder)


def test_names_that_lead_out_of_the_folder(conversion, folder) -> None:
    name = "../" * 8 + "etc"
    path = folder / "scene_000000/collision_free_grasp_indices.json"
    foreign.rewrite_json(path, lambda entries: entries[0].update(object_name=name))
    assert f"names '{name}" in (said := refusal(conversion, folder)) and "is not below" in said
    for name in ("/etc/passwd", "..", "a/../../b"):
        with pytest.raises(ValueError, match="is not below"):
            below(folder, name)
    assert below(folder, "a/../b") == folder / "b"


def test_views_of_different_scenes(conversion, folder) -> None:
    def move(views) -> None:
        views["1"][0]["cam_t_m2c"][0] += 300.0

    foreign.rewrite_json(folder / "scene_000000/train_pbr/000000/scene_gt.json", move)
    assert "place obj_id" in refusal(conversion, folder) and "300 mm apart" in refusal(conversion, folder)


def test_a_scene_without_a_grasp_is_left_out_and_listed(conversion, folder) -> None:
    def none(entries) -> None:
        for entry in entries:
            entry["collision_free_indices"] = []

    foreign.rewrite_json(folder / "scene_000001/collision_free_grasp_indices.json", none)
    summary = conversion("sceneleapplus", "reader.colliding=false")(folder, folder.parent / "s.h5")
    (skipped,) = summary.counted("skipped")
    assert skipped.key == "scene_000001" and "no grasp left after filtering" in skipped.reason
    assert GraspStore(summary.store).num_scenes == 2
    assert json.loads((folder.parent / "s.h5.left_out.json").read_text())[0]["key"] == "scene_000001"


def test_a_share_of_bad_scenes_may_be_allowed(conversion, folder) -> None:
    (folder / "scene_000001/camera.json").unlink(missing_ok=True)
    (folder / "scene_000001/InstanceMask/000000.png").write_text("no image")
    assert "1 of 3 scenes are bad, conversion.max_bad_fraction=0 allows 0" in refusal(conversion, folder)
    summary = conversion("sceneleapplus", "max_bad_fraction=0.4")(folder, folder.parent / "s.h5")
    assert [r.key for r in summary.counted("bad")] == ["scene_000001"]
    assert summary.already + len(summary.counted("written")) == 2


def test_a_folder_of_mixed_objects(conversion, tmp_path) -> None:
    folder = tmp_path / "data/grasps/mug_1"
    folder.mkdir(parents=True)
    qpos = np.r_[np.zeros(3), 1.0, np.zeros(19)]
    for i, name in enumerate(("mug_1", "box_2")):
        pose = np.r_[0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
        np.save(
            folder / f"{i}.npy", {"obj_path": name, "obj_scale": 1.0, "obj_pose": pose, "grasp_qpos": qpos}
        )
    with pytest.raises(ValueError, match=r"1\.npy is of another object, size or pose than 0\.npy"):
        conversion("bodex")(tmp_path / "data", tmp_path / "s.h5")


def test_joints_of_another_hand_by_name(conversion, tmp_path, generated) -> None:
    foreign.dexgraspnet(tmp_path / "data", generated)
    path = tmp_path / "data/dexgraspnet/core-box-1a2b0.npy"
    records = np.load(path, allow_pickle=True)
    for record in records:
        record["qpos"] = {n.replace("if_", "robot0:FFJ"): v for n, v in record["qpos"].items()}
    np.save(path, records)
    with pytest.raises(
        ValueError, match=r"are not the 16 of hand 'leap_right'.*'robot0:FFJdip' is not shared"
    ):
        conversion("dexgraspnet")(tmp_path / "data", tmp_path / "s.h5")


def test_an_object_off_the_table(conversion, tmp_path, generated) -> None:
    foreign.objectcentric(tmp_path / "data", generated)
    path = tmp_path / "data/grasps/box_0f.npy"
    record = np.load(path, allow_pickle=True).item()
    rewrite(path, obj_pose=record["obj_pose"] + np.r_[0.0, 0.0, 0.2, np.zeros(4)])
    with pytest.raises(ValueError, match=r"the lowest point of object 'box_0f' is at z = 200 mm"):
        conversion("objectcentric")(tmp_path / "data", tmp_path / "s.h5")


def test_an_unknown_base(conversion, tmp_path, monkeypatch) -> None:
    from sceneleapultra.datasets.foreign.readers.frames import stored_base

    with pytest.raises(ValueError, match=r"known for allegro_right only\. Pass reader\.base=\[x, y, z"):
        stored_base(HAND, None, {"allegro_right": (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)})
