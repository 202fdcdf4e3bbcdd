"""Does raising a target by itself tell which neighbors no lift can spare?"""

from dataclasses import replace

import numpy as np
import pytest

from factories.lifts import box, standing
from sceneleapultra.simulation.protocols import HandModel, bare_lift, get_protocol
from sceneleapultra.utils.records import Scene

BOARD = box("board", (0.1, 0.1, 0.02))


def stacked(offset_m: float) -> Scene:
    """A small box on a board, so far from its middle."""
    objects = (BOARD, box("cube", (0.04, 0.04, 0.04)))
    T = np.tile(np.eye(4), (2, 1, 1))
    T[:, :3, 3] = [(0.0, 0.0, 0.01), (offset_m, 0.0, 0.04)]
    return Scene(objects, T, table=True)


def raised(hand: HandModel, scene: Scene, target: int) -> float:
    return bare_lift(hand, scene, target, get_protocol("scene-lift"))


def test_nothing_moves_beside_a_target_that_carries_nothing(hand_model) -> None:
    assert raised(hand_model, standing(), 0) == 0.0
    assert raised(hand_model, standing((box("near", (0.06, 0.06, 0.1)), (0.065, 0.0))), 0) < 2e-3
    assert raised(hand_model, stacked(0.0), 1) < 2e-3


@pytest.mark.parametrize("offset_m", [0.0, 0.04])
def test_what_lies_on_the_target_goes_as_high(hand_model, offset_m: float) -> None:
    assert raised(hand_model, stacked(offset_m), 0) == pytest.approx(0.2, abs=0.005)


def test_what_leans_on_the_target_falls(hand_model) -> None:
    pole = box("pole", (0.01, 0.04, 0.2))
    scene = standing((pole, (0.0, 0.0)))
    angle = np.deg2rad(20.0)
    T = np.eye(4)
    T[:3, :3] = [[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]]
    lowest = (pole.vertices @ T[:3, :3].T)[:, 2].min()
    # Its upper end lies against the cylinder's top edge: radius 3 cm, 12 cm high.
    T[:3, 3] = [0.03 + 0.005 / np.cos(angle) + np.tan(angle) * (0.12 + lowest), 0.0, -lowest]
    leaning = replace(scene, T_world_object=np.stack([scene.T_world_object[0], T]))
    assert raised(hand_model, leaning, 0) > 0.05


def test_other_protocols_get_a_sentence(hand_model) -> None:
    with pytest.raises(ValueError, match="expected a protocol that lifts out of the scene, got dgb-tabletop"):
        bare_lift(hand_model, standing(), 0, get_protocol("dgb-tabletop"))
    with pytest.raises(ValueError, match="floats alone"):
        bare_lift(hand_model, replace(standing(), table=False), 0, get_protocol("scene-lift"))
