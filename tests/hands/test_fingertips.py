from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from sceneleapultra.hands import Hand, load_hand
from sceneleapultra.hands.description import Body
from sceneleapultra.hands.fingertips import Fingertips, TipGoals

WEIGHTS = {"pad_weight_m": 0.01, "rest_weight_m": 0.0, "iterations": 40}


@pytest.fixture(scope="module")
def hand() -> Hand:
    return load_hand("leap_right")


@pytest.fixture(scope="module")
def tips(hand: Hand) -> Fingertips:
    return Fingertips(hand)


def poses(hand: Hand, b: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random base poses, and joints in the inner half of their limits."""
    rng = np.random.default_rng(seed)
    T = np.tile(np.eye(4), (b, 1, 1))
    T[:, :3, :3] = Rotation.random(b, rng=rng).as_matrix()
    T[:, :3, 3] = rng.normal(size=(b, 3))
    low, high = hand.joint_limits.numpy().T
    qpos = low + (high - low) * rng.uniform(0.25, 0.75, size=(b, hand.num_joints))
    return torch.as_tensor(T, dtype=torch.float32), torch.as_tensor(qpos, dtype=torch.float32)


def test_balls_are_the_ends_of_the_fingers(hand: Hand, tips: Fingertips) -> None:
    """Those of the description's capsules: their far end points and radius; pads look where contacts do."""
    eye = torch.eye(4).expand(1, len(hand.body_names), 4, 4)  # each body where its own frame is
    normals = hand.require("contact_normals")(eye)[0]
    ends, fingers = torch.tensor([[-0.0015, -0.0392, 0.0145]]).repeat(3, 1), torch.tensor([0, 1, 2])
    thumb = hand.finger_names.index(hand.thumb)
    assert thumb == 3
    found = tips._centers(eye)[0]
    torch.testing.assert_close(found[fingers], ends, atol=1e-5, rtol=0)
    torch.testing.assert_close(found[thumb], torch.tensor([-0.0015, -0.0511, -0.0145]), atol=1e-5, rtol=0)
    torch.testing.assert_close(tips.radii, torch.full((4,), 0.0119), atol=1e-5, rtol=0)
    for f in range(len(hand.finger_names)):
        assert (normals[hand.contact_finger == f] @ tips._pads(eye)[0, f]).min() > 0


def square_tips(hand: Hand) -> Hand:
    """The same hand with boxes for fingertips."""

    def square(body: Body) -> Body:
        if body.name not in hand.fingertip_bodies:
            return body
        *rest, tip = body.primitives
        return replace(body, primitives=(*rest, replace(tip, shape="box", size=(0.012, 0.008, 0.015))))

    bodies = tuple(square(body) for body in hand.description.bodies)
    return Hand(replace(hand.description, bodies=bodies))


def test_fingers_that_do_not_end_in_a_ball_are_refused(hand: Hand) -> None:
    with pytest.raises(
        ValueError, match=r"the end of 'if_ds' is no ball .*Generate with synthesis=sim_close"
    ):
        Fingertips(square_tips(hand))


def test_jacobian_is_what_small_motions_give(hand: Hand, tips: Fingertips) -> None:
    T, qpos = poses(hand, 3, 0)
    of_centers, of_pads = tips.jacobian(T, qpos)
    step = 1e-3
    for k in range(6 + hand.num_joints):
        moved, q = [], []
        for sign in (-1, 1):
            T_k, q_k = T.clone(), qpos.clone()
            if k < 3:
                T_k[:, k, 3] += sign * step
            elif k < 6:
                turn = Rotation.from_rotvec(sign * step * np.eye(3)[k - 3]).as_matrix()
                T_k[:, :3, :3] = torch.as_tensor(turn, dtype=torch.float32) @ T_k[:, :3, :3]
            else:
                q_k[:, k - 6] += sign * step
            moved.append(T_k)
            q.append(q_k)
        low, high = tips.place(moved[0], q[0]), tips.place(moved[1], q[1])
        torch.testing.assert_close((high[0] - low[0]) / (2 * step), of_centers[..., k], atol=1e-3, rtol=1e-2)
        torch.testing.assert_close((high[1] - low[1]) / (2 * step), of_pads[..., k], atol=1e-3, rtol=1e-2)


def test_tips_reach_places_that_a_hand_can_take_within_a_millimetre(hand: Hand, tips: Fingertips) -> None:
    """Goals are the tips of random hands; the start is the resting hand, a little away."""
    T, qpos = poses(hand, 32, 1)
    centers, pads = tips.place(T, qpos)
    used = torch.ones(32, len(hand.finger_names), dtype=torch.bool)
    used[:16, 0] = False
    start = T.clone()
    start[:, :3, 3] += 0.03
    rest = hand.rest_qpos.expand(32, -1)
    reached = tips.solve(start, rest, TipGoals(centers, pads, used), move_base=True, **WEIGHTS)
    assert (reached.error_m < 1e-3).float().mean() > 0.85
    limits = hand.joint_limits
    assert (reached.qpos >= limits[:, 0]).all() and (reached.qpos <= limits[:, 1]).all()
    found, _ = tips.place(reached.T_world_base, reached.qpos)
    error = torch.where(used, (found - centers).norm(dim=-1), 0.0).amax(1)
    torch.testing.assert_close(error, reached.error_m)
    R = reached.T_world_base[:, :3, :3]
    torch.testing.assert_close(R @ R.mT, torch.eye(3).expand(32, 3, 3), atol=1e-4, rtol=0)


def test_a_base_that_may_not_move_stays(hand: Hand, tips: Fingertips) -> None:
    T, qpos = poses(hand, 8, 2)
    centers, pads = tips.place(T, qpos)
    used = torch.ones(8, len(hand.finger_names), dtype=torch.bool)
    near = (qpos + 0.1).clamp(hand.joint_limits[:, 0], hand.joint_limits[:, 1])
    reached = tips.solve(T, near, TipGoals(centers, pads, used), move_base=False, **WEIGHTS)
    torch.testing.assert_close(reached.T_world_base, T)
    assert reached.error_m.max() < 1e-3


def test_torques_do_the_work_of_the_forces(hand: Hand, tips: Fingertips) -> None:
    """Virtual work: torques times a small motion of the joints are forces times the motion of the balls."""
    T, qpos = poses(hand, 4, 3)
    forces = torch.randn(4, len(hand.finger_names), 3)
    torque = tips.joint_torques(T, qpos, forces)
    motion = 1e-3 * torch.randn_like(qpos)
    shift = (tips.place(T, qpos + motion)[0] - tips.place(T, qpos - motion)[0]) / 2
    torch.testing.assert_close((torque * motion).sum(1), (forces * shift).sum((1, 2)), atol=2e-6, rtol=1e-2)
