"""Hands as their makers publish them, where they lie beside the project: they load, and their servos move them."""

import mujoco
import numpy as np
import pytest
import torch

from sceneleapultra.hands import load_hand
from tests.factories.hands import attached
from tests.hands.conftest import SHARED

_FILES = sorted(SHARED.glob("hands/*/*.urdf"))
_HOSTILE = SHARED / "hostile" / "hands" / "mimic.urdf"


@pytest.mark.parametrize("path", _FILES or [SHARED / "hands"], ids=lambda path: path.stem)
def test_a_public_hand_loads_and_moves(path):
    if not _FILES:
        pytest.skip("no public hands beside the project")
    hand = load_hand(path, dtype=torch.float64)
    model, data, servos = attached(hand)
    low, high = hand.joint_limits.numpy().T
    start, end = np.random.default_rng(0).uniform(low, high, size=(2, hand.num_joints))
    data.qpos[servos.qpos_adr] = servos.positions(start)
    for fraction in np.linspace(0, 1, 50):
        data.ctrl[:] = servos.targets((1 - fraction) * start + fraction * end)
        mujoco.mj_step(model, data, 10)
    mujoco.mj_step(model, data, 500)
    assert not any(warning.number for warning in data.warning)
    # The friction of a joint over the stiffness of its servo.
    np.testing.assert_allclose(data.qpos[servos.qpos_adr], servos.positions(end), atol=2e-3)


def test_the_coupled_joint_of_another_file_follows():
    if not _HOSTILE.is_file():
        pytest.skip("no hostile hands beside the project")
    hand = load_hand(_HOSTILE)
    assert len(hand.description.couplings) == 1
    assert len(hand.all_joint_names) == hand.num_joints + 1
