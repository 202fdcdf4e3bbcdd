"""How foreign poses become ours: vectors to matrices, hand bases, joint orders, the table found in a cloud."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation

from sceneleapultra.hands import Hand

# T_stored_base: the hand's own base (root body) in the base that DexGraspBench's records give, [m, quaternion wxyz].
# Its MJCF hangs the palm 0.1 m above a mocap root and half a turn about x (LEAP) or turned by (0, 1, 0, 1) (Allegro).
# Source: DexGraspBench convert_format.py, BODex branch: R' = R dR^T, t' = t - R' d.
DEXGRASPBENCH_BASES: Mapping[str, tuple[float, ...]] = {
    "leap_right": (0.0, 0.0, 0.1, 0.0, 1.0, 0.0, 0.0),
    "allegro_right": (0.0, 0.0, 0.0, 0.0, 0.5**0.5, 0.0, 0.5**0.5),
}
# LEAP's URDF numbers its joints; index, middle, ring, thumb. The URDF's 0 is the spreading joint of the index finger.
_LEAP_URDF = dict(
    zip(
        ("1", "0", "2", "3", "5", "4", "6", "7", "9", "8", "10", "11", "12", "13", "14", "15"),
        [f"{f}_{j}" for f in ("if", "mf", "rf") for j in ("mcp", "rot", "pip", "dip")]
        + ["th_cmc", "th_axl", "th_mcp", "th_ipl"],
        strict=True,
    )
)


def rigid(vector: Float[np.ndarray, "*b p"], where: str) -> Float[np.ndarray, "*b 4 4"]:
    """Turn [translation, quaternion wxyz, ...] into matrices.

    Raises:
        ValueError: a quaternion is not of unit length.
    """
    quat = vector[..., 3:7]
    length = np.linalg.norm(quat, axis=-1)
    if (np.abs(length - 1.0) > 0.05).any():  # rounded ones, as object poses are given, are normalized
        raise ValueError(
            f"{where}: expected [translation, quaternion wxyz], got quaternions of length {length.min():.3g} to "
            f"{length.max():.3g}."
        )
    T = np.zeros((*vector.shape[:-1], 4, 4))
    flat = quat.reshape(-1, 4)
    R = Rotation.from_quat(flat, scalar_first=True).as_matrix() if len(flat) else np.zeros((0, 3, 3))
    T[..., :3, :3] = R.reshape(*vector.shape[:-1], 3, 3)
    T[..., :3, 3], T[..., 3, 3] = vector[..., :3], 1.0
    return T


def joined(R: Float[np.ndarray, "*b 3 3"], t: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 4 4"]:
    """Join rotations and translations."""
    T = np.zeros((*t.shape[:-1], 4, 4))
    T[..., :3, :3], T[..., :3, 3], T[..., 3, 3] = R, t, 1.0
    return T


def inverse(T: Float[np.ndarray, "*b 4 4"]) -> Float[np.ndarray, "*b 4 4"]:
    """Invert rigid motions."""
    R = np.swapaxes(T[..., :3, :3], -1, -2)
    return joined(R, -(R @ T[..., :3, 3, None])[..., 0])


def stored_base(
    hand: Hand, setting: Sequence[float] | None, known: Mapping[str, tuple[float, ...]]
) -> Float[np.ndarray, "4 4"]:
    """Return ``T_stored_base`` of a hand in a format.

    Raises:
        ValueError: nobody knows it.
    """
    if setting is None and hand.name not in known:
        raise ValueError(
            f"Where the base of hand '{hand.name}' lies in the base this format stores is known for "
            f"{', '.join(known) or 'no hand'} only. Pass reader.base=[x, y, z, qw, qx, qy, qz] (of our base in the "
            "stored one; [0, 0, 0, 1, 0, 0, 0] where they are the same)."
        )
    vector = np.array(known[hand.name] if setting is None else setting, dtype=np.float64)
    if vector.shape != (7,):
        raise ValueError(f"reader.base: expected [x, y, z, qw, qx, qy, qz], got {len(vector)} numbers.")
    return rigid(vector, "reader.base")


def wrist_motion(
    grasp: Float[np.ndarray, "n p"], others: Iterable[Float[np.ndarray, "n p"]], where: str
) -> Float[np.ndarray, "n 2"]:
    """Return how far (m, rad) the wrist is from that of the grasp, at most, in pre-grasp and squeeze.

    All are [translation, quaternion wxyz, ...].
    """
    T_wrist_base = inverse(rigid(grasp, where))
    found = np.zeros((len(grasp), 2))
    for other in others:
        moved = T_wrist_base @ rigid(other, where)
        turn = Rotation.from_matrix(moved[:, :3, :3]).magnitude() if len(moved) else np.zeros(0)
        found = np.maximum(found, np.stack([np.linalg.norm(moved[:, :3, 3], axis=-1), turn], axis=1))
    return found


def joint_order(names: Sequence[str], hand: Hand, where: str | Path) -> Int[np.ndarray, "j"]:
    """Return, for each joint of the hand, its column in a file that has its joints in the order ``names``.

    Raises:
        ValueError: the file's joints are not the hand's.
    """
    known = list(hand.joint_names)
    translated = [
        _LEAP_URDF.get(n.removeprefix("j"), n) if hand.name.startswith("leap") else n for n in names
    ]
    if sorted(translated) != sorted(known):
        odd = sorted(set(translated) - set(known)) or sorted(set(known) - set(translated)) or translated
        near = get_close_matches(odd[0], known, n=1, cutoff=0.0)
        raise ValueError(
            f"{where}: its {len(names)} joints ({', '.join(names[:3])}, …) are not the {len(known)} of hand "
            f"'{hand.name}' ({', '.join(known[:3])}, …); '{odd[0]}' is not shared (nearest: '{near[0]}'). These are "
            "grasps of another hand: pass hand=<its name, or the path of its URDF or MJCF>."
        )
    return np.array([translated.index(name) for name in known])


def check_width(qpos: Float[np.ndarray, "*b j"], hand: Hand, where: str | Path) -> None:
    """Refuse joints of another number than the hand's."""
    if qpos.shape[-1] != hand.num_joints:
        raise ValueError(
            f"{where}: grasps with {qpos.shape[-1]} joints, hand '{hand.name}' has {hand.num_joints}. These are grasps "
            "of another hand: pass hand=<its name, or the path of its URDF or MJCF>."
        )


def table_plane(points: Float[np.ndarray, "n 3"], where: str) -> Float[np.ndarray, "4 4"]:
    """Return ``T_table_cam`` from the points of a table in the camera's frame: z up to the camera, table at z = 0.

    The plane that most points lie within 5 mm of (200 draws, refined by their principal axes). The origin lies below
    the camera.

    Raises:
        ValueError: no plane holds a third of the points.
    """
    rng = np.random.default_rng(0)
    if len(points) < 100:
        raise ValueError(f"{where}: {len(points)} points of the background are too few to find the table in.")
    some = points[rng.permutation(len(points))[:4000]]
    best = np.zeros(len(some), dtype=bool)
    for _ in range(200):
        a, b, c = some[rng.choice(len(some), 3, replace=False)]
        normal = np.cross(b - a, c - a)
        if (length := np.linalg.norm(normal)) > 1e-9:
            near = np.abs((some - a) @ (normal / length)) < 0.005
            best = near if near.sum() > best.sum() else best
    if best.mean() < 1 / 3:
        raise ValueError(
            f"{where}: no table found, the best plane holds {best.mean():.0%} of the background. Add "
            "scene_camera.json with cam_R_w2c and cam_t_w2c (world z up, table at z = 0)."
        )
    for _ in range(3):
        center = some[best].mean(0)
        normal = np.linalg.svd(some[best] - center, full_matrices=False)[2][2]
        best = np.abs((some - center) @ normal) < 0.005
    normal = normal if normal @ center < 0 else -normal  # towards the camera, which is the origin
    x = np.array([1.0, 0.0, 0.0]) - normal[0] * normal
    x /= np.linalg.norm(x)
    R = np.stack([x, np.cross(normal, x), normal])
    return joined(R, np.array([0.0, 0.0, -normal @ center]))
