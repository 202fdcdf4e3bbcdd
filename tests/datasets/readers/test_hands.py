"""Are sets of other hands read with their hand, and refused by name with any other?"""

from pathlib import Path

import hydra
import numpy as np
import pytest
import torch
import trimesh
from hydra import initialize_config_dir
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from factories import foreign
from sceneleapultra.datasets import GraspStore
from sceneleapultra.hands import Hand, load_hand
from sceneleapultra.utils.core.config import CONFIG_DIR, build

HANDS = Path(__file__).resolve().parents[4] / "shared/data/hands"
NUM = 6


@pytest.fixture
def allegro(monkeypatch) -> Hand:
    if not HANDS.is_dir():
        pytest.skip("needs ../shared/data/hands")
    monkeypatch.setenv("HANDS_DIR", str(HANDS))
    return load_hand("allegro_right")


def palms_around_a_box(hand: Hand) -> np.ndarray:
    """Poses of the base (T_object_base) that put the palm 15 mm off the sides of a box of 60 mm, looking at it."""
    center, looks = hand.palm_center.double().numpy(), hand.palm_direction.double().numpy()
    found = []
    for k in range(NUM):
        turn = Rotation.from_euler("z", 360.0 * k / NUM, degrees=True).as_matrix()
        inward = turn @ np.array([-1.0, 0.0, 0.0])
        side = np.cross([0.0, 0.0, 1.0], inward)
        # The palm's axis looks inward, the next one to the side.
        other = np.roll(looks, 1)
        third = np.cross(looks, other)
        R = np.stack([inward, side, np.cross(inward, side)], 1) @ np.stack([looks, other, third])
        T = np.eye(4)
        T[:3, :3] = R
        T[:3, 3] = -0.045 * inward - R @ center
        found.append(T)
    return np.stack(found)


def as_dexgraspbench(T: np.ndarray, qpos: np.ndarray) -> np.ndarray:
    """R' = R dR^T with dR of quaternion (0, 1, 0, 1): x of the one is z of the other, y is turned over."""
    dR = np.array([[0.0, 0.0, 1.0], [0.0, -1.0, 0.0], [1.0, 0.0, 0.0]])
    quat = Rotation.from_matrix(T[:, :3, :3] @ dR.T).as_quat(scalar_first=True)
    return np.concatenate([T[:, :3, 3], quat, qpos], axis=1)


def write_allegro(root: Path, hand: Hand, *, names: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    T = palms_around_a_box(hand)
    rest = hand.rest_qpos.double().numpy()
    qpos = rest + rng.uniform(-0.05, 0.05, (NUM, len(rest)))
    rows = as_dexgraspbench(T, qpos)
    order = rng.permutation(len(rest)) if names else np.arange(len(rest))
    rows = np.concatenate([rows[:, :7], rows[:, 7:][:, order]], axis=1)
    record = {
        "obj_path": "object/box_1",
        "obj_scale": 1.0,
        "obj_pose": np.r_[0.1, 0.2, 0.03, 1.0, 0.0, 0.0, 0.0],
        **{f"{n}_qpos": rows + np.r_[0.1, 0.2, 0.03, np.zeros(20)] for n in ("pregrasp", "grasp", "squeeze")},
    }
    if names:
        record["joint_names"] = [hand.joint_names[i] for i in order]
    (root / "grasps/box_1").mkdir(parents=True)
    np.save(root / "grasps/box_1/all.npy", record)
    mesh = root / "objects/box_1/mesh/simplified.obj"
    mesh.parent.mkdir(parents=True)
    trimesh.creation.box((0.06, 0.06, 0.06)).export(mesh)
    return T, qpos


def convert(root: Path, dest: Path, hand: str, *overrides: str) -> GraspStore:
    words = [
        "conversion=bodex",
        f"hand={hand}",
        "conversion.renderer.views=1",
        "conversion.executor.workers=1",
    ]
    words += ["conversion.splits.by=scene", "conversion.splits.val=0", "conversion.splits.test=0"]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = hydra.compose("convert", overrides=[*words, *overrides])
    return GraspStore(build(cfg.conversion)(root, dest).store, load_hand(hand))


@pytest.mark.parametrize("names", [False, True])
def test_allegro_hands_lie_where_their_set_has_them(allegro, tmp_path, names) -> None:
    T, qpos = write_allegro(tmp_path / "data", allegro, names=names)
    store = convert(tmp_path / "data", tmp_path / "s.h5", "allegro_right")
    record = store.record(0)
    pose = record.labeled[0].grasps.hand_pose.astype(float)
    assert_allclose(pose[:, 3:-4], qpos, atol=1e-6)
    assert_allclose(pose[:, :3], T[:, :3, 3] + [0.1, 0.2, 0.03], atol=1e-6)
    R = Rotation.from_quat(pose[:, -4:], scalar_first=True).as_matrix()
    assert_allclose(R, T[:, :3, :3], atol=1e-6)
    assert store.attributes["hand_name"] == "allegro_right"


def test_allegro_grasps_are_not_taken_for_leaps(allegro, tmp_path) -> None:
    """Both hands have 16 joints: names tell them apart."""
    write_allegro(tmp_path / "data", allegro, names=True)
    with pytest.raises(ValueError, match=r"are not the 16 of hand 'leap_right'.*pass hand=<its name"):
        convert(tmp_path / "data", tmp_path / "s.h5", "leap_right")


SHADOW = [f"robot0:{f}J{k}" for f in ("FF", "MF", "RF") for k in (3, 2, 1, 0)]
SHADOW += [f"robot0:LFJ{k}" for k in (4, 3, 2, 1, 0)] + [f"robot0:THJ{k}" for k in (4, 3, 2, 1, 0)]


def test_shadow_grasps_are_refused_by_name(tmp_path, generated) -> None:
    """DexGraspNet and MultiDex are Shadow's, with 22 joints; no other hand is put in its place."""
    wrist = {n: 0.0 for n in ("WRJTx", "WRJTy", "WRJTz", "WRJRx", "WRJRy", "WRJRz")}
    (tmp_path / "a/dexgraspnet").mkdir(parents=True)
    record = {"qpos": {**wrist, **dict.fromkeys(SHADOW, 0.1)}, "scale": 0.08}
    np.save(tmp_path / "a/dexgraspnet/core-mug-1.npy", np.array([record], dtype=object))
    with pytest.raises(
        ValueError, match=r"its 22 joints \(robot0:FFJ0, .*are not the 16 of hand 'leap_right'"
    ):
        convert_any("dexgraspnet", tmp_path / "a", tmp_path / "a.h5")
    foreign.multidex(tmp_path / "b", generated, "tuple")
    path = tmp_path / "b/shadowhand/shadowhand_downsample.pt"
    content = torch.load(path, weights_only=True)
    more = [(torch.cat([q, q[-6:]]), r, name) for q, r, name in content["metadata"]]
    torch.save({**content, "metadata": more}, path)
    with pytest.raises(
        ValueError, match=r"grasps with 22 joints, hand 'leap_right' has 16\. .*pass hand=<its name"
    ):
        convert_any("multidex", tmp_path / "b", tmp_path / "b.h5")


def convert_any(name: str, root: Path, dest: Path) -> None:
    words = [f"conversion={name}", "conversion.executor.workers=1", "conversion.splits.by=scene"]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = hydra.compose("convert", overrides=words)
    build(cfg.conversion)(root, dest)
