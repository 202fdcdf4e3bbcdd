"""Are the verdicts still those of version 0.1, bit for bit?

``verdicts_of_0_1.npz`` holds grasps of two objects, firm, slipping, penetrating and missing, and what 0.1 said of them
with MuJoCo 3.3.7 on x86-64.
"""

import platform
from collections.abc import Mapping
from pathlib import Path

import mujoco
import numpy as np
import pytest

from sceneleapultra.simulation.protocols import HandModel, evaluate_grasps
from sceneleapultra.utils.records import Grasps, ObjectRecord, Scene

STORED = Path(__file__).with_name("verdicts_of_0_1.npz")
SAME_ARITHMETIC = mujoco.__version__ == "3.3.7" and platform.machine() == "x86_64"


def below(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


@pytest.mark.skipif(
    not SAME_ARITHMETIC, reason="stored with MuJoCo 3.3.7 on x86-64, where results are bit for bit"
)
@pytest.mark.parametrize("protocol", ["dgb-fc", "dgb-fc-quick", "dgb-tabletop"])
def test_verdicts_are_those_of_version_0_1(hand_model: HandModel, protocol: str) -> None:
    with np.load(STORED) as stored:
        for number in range(2):
            of_object = below(stored, f"object{number}/")
            pieces = tuple(np.split(of_object["pieces"], np.cumsum(of_object["sizes"])[:-1]))
            record = ObjectRecord("it", "any", of_object["pieces"], np.zeros((0, 3), int), pieces, 0.1)
            scene = Scene((record,), of_object["T_world_object"][None], table=True)
            grasps = Grasps(*(of_object[name] for name in ("hand_pose", "pregrasp_qpos", "squeeze_qpos")))
            table = evaluate_grasps(hand_model, scene, grasps, protocol, workers=1)
            expected = below(of_object, f"{protocol}/")
            assert len(expected) == 10
            for name, values in expected.items():
                np.testing.assert_array_equal(table[name], values, err_msg=f"object {number}, {name}")
