"""Every kind of joint and drive, by a smallest hand of each: kinematics, couplings and simulation are MuJoCo's."""

from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch

from sceneleapultra.hands import load_hand
from sceneleapultra.hands.hand import Hand
from tests.factories.hands import HANDS, attached, joint, link, urdf, write

_JOINTS = {  # those of a pose, then those that follow
    "mimic.urdf": (["a"], ["b", "c"]),
    "mimic_first.urdf": (["a"], ["b", "c"]),
    "gripper.urdf": (["left"], ["right"]),
    "continuous.urdf": (["a"], []),
    "world.urdf": (["a"], []),
    "polynomial.xml": (["a"], ["b"]),
    "driven_follower.xml": (["a"], ["b"]),
    "held.xml": (["a"], ["b"]),
    "tendon.xml": (["a", "b"], []),
    "tied_tendons.xml": (["a"], ["b"]),
    "spatial.xml": (["a", "b"], []),
    "slides.xml": (["b"], ["a"]),
    "ball.xml": (["a"], ["ball_x", "ball_y", "ball_z"]),
    "three_joints.xml": (["a", "b", "c"], []),
    "free.xml": (["a", "b"], []),
    "no_servos.xml": (["joint_0", "b"], []),
    "idle.xml": (["a"], ["b"]),
    "linkage.xml": (["driver"], ["coupler", "spring", "pad"]),
    "jaws.urdf": (["open_left"], ["open_right"]),
    "swings.urdf": (["open_left"], ["open_right"]),
    "jaws.xml": (["left"], ["right"]),
    "linkages.xml": (
        ["l_driver"],
        ["r_driver", *(f"{s}_{j}" for s in "lr" for j in ("coupler", "spring", "pad"))],
    ),
}


SLOW = {"linkages.xml", "tied_tendons.xml"}  # loops whose followers take seconds to solve for


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in HANDS],
)
def hand(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Hand:
    return load_hand(write(tmp_path_factory.mktemp("hand"), request.param), dtype=torch.float64)


def drawn(hand: Hand, n: int) -> np.ndarray:
    low, high = hand.joint_limits.numpy().T
    return np.random.default_rng(0).uniform(low, high, size=(n, len(low)))


def test_what_moves_and_what_follows(hand, request):
    moving, following = _JOINTS[request.node.callspec.params["hand"]]
    assert list(hand.joint_names) == moving
    assert sorted(hand.description.couplings) == sorted(following)
    assert hand.joint_limits.shape == (len(moving), 2)


def test_bodies_are_where_mujoco_has_them_and_couplings_hold(hand):
    model = mujoco.MjModel.from_xml_string(hand.to_mjcf(), dict(hand.mesh_assets))
    data, qpos = mujoco.MjData(model), drawn(hand, 30)
    T = torch.tensor(hand.T_world_root) @ hand.forward_kinematics(torch.tensor(qpos))
    for q, T_world_body in zip(qpos, T.numpy(), strict=True):
        for name, position in zip(
            hand.all_joint_names, hand.all_joints(torch.tensor(q)).tolist(), strict=True
        ):
            data.joint(name).qpos[0] = position
        mujoco.mj_fwdPosition(model, data)
        np.testing.assert_allclose(T_world_body[:, :3, 3], data.xpos[1:], atol=1e-12)
        np.testing.assert_allclose(T_world_body[:, :3, :3].reshape(-1, 9), data.xmat[1:], atol=1e-12)
        ties = data.efc_type == mujoco.mjtConstraint.mjCNSTR_EQUALITY
        # Polynomials are exact, what was solved for is a spline: a loop gapes by half a micrometre at most.
        solved = any(len(coupling.knots) > 1 for coupling in hand.description.couplings.values())
        np.testing.assert_allclose(data.efc_pos[ties], 0.0, atol=5e-7 if solved else 1e-12)


def test_a_parallelogram_keeps_its_pad_upright(tmp_path):
    hand = load_hand(write(tmp_path, "linkage.xml"), dtype=torch.float64)
    angle = torch.linspace(0, 0.8, 50, dtype=torch.float64)[:, None]
    expected = angle * torch.tensor([1.0, 0.0, 1.0, -1.0], dtype=torch.float64)
    assert hand.all_joint_names == ("driver", "coupler", "spring", "pad")
    torch.testing.assert_close(hand.all_joints(angle), expected, rtol=0, atol=1e-6)


def test_a_loop_without_room_is_a_sentence(tmp_path):
    text = HANDS["linkage.xml"].replace('range="-0.9 0.9"', 'range="-0.001 0.001"')
    text = text.replace('range="-0.3 1"', 'range="-0.001 0.001"')
    (tmp_path / "hand.xml").write_text(text)
    with pytest.raises(ValueError, match=r"closes where 'driver' is 0, and not on its way from 0 to 0\.8"):
        load_hand(tmp_path / "hand.xml")


def test_gradients_pass_through_couplings(hand):
    qpos = torch.tensor(drawn(hand, 1)).requires_grad_()
    assert torch.autograd.gradcheck(hand.forward_kinematics, (qpos,), atol=1e-5)
    couplings = hand.kinematics.couplings
    (jacobian,) = torch.autograd.functional.jacobian(lambda q: couplings(q).sum(0), (qpos,))
    slopes = jacobian[torch.arange(len(couplings.names)), :, couplings.source].mT
    torch.testing.assert_close(slopes, couplings.slopes(qpos.detach()))


def test_simulated_joints_follow_as_kinematics_says(hand):
    model, data, servos = attached(hand)
    start, end = drawn(hand, 2)
    data.qpos[servos.qpos_adr] = servos.positions(start)
    for fraction in np.linspace(0, 1, 50):
        data.ctrl[:] = servos.targets((1 - fraction) * start + fraction * end)
        mujoco.mj_step(model, data, 20)
    mujoco.mj_step(model, data, 500)
    now = data.qpos[servos.qpos_adr]
    assert not any(warning.number for warning in data.warning)
    # The spring of the linkage pushes its soft stop and its servo back by that much.
    spring = 0.05 if any("coupler" in name for name in hand.body_names) else 0.0
    np.testing.assert_allclose(now, servos.positions(now[: hand.num_joints]), atol=1e-5 + 0.2 * spring)
    if model.nu >= hand.num_joints:
        np.testing.assert_allclose(now[: hand.num_joints], end, atol=1e-4 + spring)
    else:
        length = servos.targets(now[: hand.num_joints])
        np.testing.assert_allclose(length, data.actuator_length, atol=1e-9)
        # Of several joints a servo holds what it pulls; the light boxes of the spatial tendon swing for long.
        np.testing.assert_allclose(length, data.ctrl, atol=1e-4 if length[0] > 0.1 else 0.01)


def test_slides_that_lead_the_whole_hand_are_a_floating_base(tmp_path: Path) -> None:
    base = [
        joint(f"{axis}", *between, kind="prismatic", limits="-20 20")
        for axis, between in (("x", ("world", "y")), ("y", ("y", "palm")))
    ]
    fingers = [joint("a", "palm", "f"), joint("b", "palm", "g")]
    file = tmp_path / "led.urdf"
    file.write_text(urdf(*map(link, ("world", "y", "palm", "f", "g")), *base, *fingers))
    with pytest.raises(
        ValueError, match=r"slide 'x' moves the whole hand, from -20 to 20 m: a floating base\. Leave such"
    ):
        load_hand(file)
    file.write_text(
        urdf(
            *map(link, ("palm", "f", "g")),
            joint("a", "palm", "f", kind="prismatic", limits="0 40"),
            fingers[1],
        )
    )
    with pytest.raises(ValueError, match=r"slide 'a' may move from 0 to 40 m: looks like millimetres"):
        load_hand(file)
