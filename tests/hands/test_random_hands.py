"""Hands drawn at random, URDF and MJCF: bodies are where MuJoCo puts those of the file itself."""

import mujoco
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from sceneleapultra.hands import load_hand
from sceneleapultra.hands.hand import Hand
from tests.factories.hands import finger, link, mjcf, urdf

_SEEDS = range(8)


def words(values: np.ndarray) -> str:
    return " ".join(repr(float(x)) for x in values)


def compare(hand: Hand, qpos: torch.Tensor, data: mujoco.MjData) -> None:
    """Compare bodies, in the frame of the first, with those of the same names in a model."""
    T = hand.forward_kinematics(qpos).numpy()
    root = data.body(hand.root_body)
    R, p = root.xmat.reshape(3, 3), root.xpos
    for name, T_base_body in zip(hand.body_names, T, strict=True):
        if "/" in name:  # carries one of several joints
            continue
        theirs = data.body(name)
        np.testing.assert_allclose(T_base_body[:3, 3], R.T @ (theirs.xpos - p), atol=1e-12)
        np.testing.assert_allclose(T_base_body[:3, :3], R.T @ theirs.xmat.reshape(3, 3), atol=1e-12)


@pytest.mark.parametrize("seed", _SEEDS)
def test_a_random_urdf(tmp_path, seed):
    rng = np.random.default_rng(seed)
    names = [f"l{i}" for i in range(rng.integers(4, 10))]
    parts, follows, moving = [link(names[0])], {}, []
    for i, name in enumerate(names[1:], start=1):
        kind = "revolute" if i == 1 else rng.choice(["revolute", "prismatic", "continuous", "fixed"])
        mimic = ""
        if moving and kind != "fixed" and rng.random() < 0.5:
            leader, factor, offset = rng.choice(moving), *rng.normal(size=2)
            follows[f"j{i}"] = (leader, float(factor), float(offset))
            mimic = f'<mimic joint="{leader}" multiplier="{float(factor)!r}" offset="{float(offset)!r}"/>'
        if kind != "fixed":
            moving.append(f"j{i}")
        low, high = sorted(rng.uniform(-0.5, 0.5, size=2).tolist())
        parts.append(link(name))
        parts.append(
            f'<joint name="j{i}" type="{kind}"><parent link="{rng.choice(names[:i])}"/><child link="{name}"/>'
            f'<origin xyz="{words(rng.normal(scale=0.05, size=3))}" rpy="{words(rng.normal(size=3))}"/>'
            f'<axis xyz="{words(rng.normal(size=3))}"/><limit lower="{low!r}" upper="{high!r}" effort="1" '
            f'velocity="1"/>{mimic}</joint>'
        )
    path = tmp_path / "hand.urdf"
    path.write_text(urdf(*parts))
    hand = load_hand(path, dtype=torch.float64)
    assert set(hand.joint_names) == set(moving) - set(follows)
    setting = '<robot name="small"><mujoco><compiler fusestatic="false"/></mujoco>'
    model = mujoco.MjSpec.from_string(urdf(*parts).replace('<robot name="small">', setting)).compile()
    data = mujoco.MjData(model)
    low, high = hand.joint_limits.numpy().T
    for _ in range(3):
        qpos = rng.uniform(low, high)
        position = dict(zip(hand.joint_names, qpos, strict=True))
        while len(position) < len(moving):  # leaders may follow themselves
            for name, (leader, factor, offset) in follows.items():
                if leader in position:
                    position[name] = factor * position[leader] + offset
        for name, value in position.items():
            data.joint(name).qpos[0] = value
        mujoco.mj_kinematics(model, data)
        compare(hand, torch.tensor(qpos), data)


@pytest.mark.parametrize("seed", _SEEDS)
def test_a_random_mjcf(tmp_path, seed):
    rng = np.random.default_rng(seed)
    joints: list[tuple[str, str]] = []

    def body(name: str, depth: int) -> str:
        inside, ball = "", rng.random() < 0.4
        for k in range(rng.integers(1, 4) if depth == 0 else rng.integers(0, 4)):
            # MuJoCo wants no hinge beside a ball.
            kinds = ["slide", "ball"] if ball and k == 0 else ["slide"] if ball else ["hinge", "slide"]
            joint, kind = f"{name}_{k}", str(rng.choice(kinds))
            joints.append((joint, kind))
            limits = "0 0.7" if kind == "ball" else "-0.3 0.6"
            axis = "" if kind == "ball" else f'axis="{words(rng.normal(size=3))}" ref="0.1"'
            pos = words(rng.normal(scale=0.02, size=3))
            inside += f'<joint name="{joint}" type="{kind}" pos="{pos}" range="{limits}" {axis}/>'
        if depth < 2:
            inside += "".join(body(f"{name}{i}", depth + 1) for i in range(rng.integers(0, 3)))
        return finger(name, inside, words(rng.normal(scale=0.05, size=3)))

    text = mjcf("".join(body(f"f{i}", 0) for i in range(2)))
    path = tmp_path / "hand.xml"
    path.write_text(text)
    hand = load_hand(path, dtype=torch.float64)
    model = mujoco.MjModel.from_xml_string(text)
    data = mujoco.MjData(model)
    low, high = hand.joint_limits.numpy().T
    for _ in range(3):
        qpos = rng.uniform(low, high)
        position = dict(zip(hand.joint_names, qpos, strict=True))
        for name, kind in joints:
            if kind == "ball":  # about x, then the turned y, then the turned z
                angles = [position[f"{name}_{letter}"] for letter in "xyz"]
                data.joint(name).qpos = Rotation.from_euler("XYZ", angles).as_quat(scalar_first=True)
            else:
                data.joint(name).qpos[0] = position[name]
        mujoco.mj_kinematics(model, data)
        compare(hand, torch.tensor(qpos), data)
