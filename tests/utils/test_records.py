"""What a verdict says of holding, of clearance, and of being worth learning, where parts of it are unknown."""

from dataclasses import replace

import numpy as np
import pytest

from sceneleapultra.utils.records import Grasps, LabeledGrasps, Outcome

ALL, NONE = (True,) * 6, (False,) * 6


def labeled(rows: list[tuple[bool, tuple[bool, ...], Outcome, float, float]]) -> LabeledGrasps:
    """Grasps by (success, directions, outcome, clearance, robustness)."""
    success, directions, outcome, clearance, robustness = zip(*rows, strict=True)
    n = len(rows)
    return LabeledGrasps(
        Grasps(np.zeros((n, 23)), np.zeros((n, 16)), np.zeros((n, 16))),
        success=np.array(success),
        direction_success=np.array(directions),
        outcome=np.array(outcome, dtype=np.uint8),
        penetration_m=np.zeros(n),
        self_penetration_m=np.zeros(n),
        clearance_m=np.array(clearance),
        robustness=np.array(robustness),
        grasp_type=np.zeros(n, np.uint8),
        held_part=np.zeros(n, np.uint8),
        touched_parts=np.zeros(n, np.uint16),
        disturbance=np.full(n, np.nan),
    )


NAN = float("nan")
CASES = labeled(
    [
        (True, ALL, Outcome.SUCCESS, 0.02, NAN),  # held and clear
        (False, NONE, Outcome.SCENE_COLLISION, -0.01, NAN),  # in the table, never tried
        (False, ALL, Outcome.SCENE_COLLISION, -0.01, NAN),  # in the table, tried, held
        (False, NONE, Outcome.SLIPPED, -0.01, NAN),  # in the table, tried, slipped
        (True, NONE, Outcome.SUCCESS, NAN, NAN),  # claimed by a foreign data set
        (True, ALL, Outcome.SUCCESS, 0.02, 0.0),  # held, never again when displaced
        (False, NONE, Outcome.NOT_RUN, 0.02, NAN),  # the simulation diverged
    ]
)


def test_hold_is_unknown_only_where_physics_was_not_asked() -> None:
    np.testing.assert_array_equal(CASES.stable, [1, NAN, 1, 0, 1, 1, NAN])


def test_clear_is_unknown_where_it_was_not_measured() -> None:
    np.testing.assert_array_equal(CASES.collision_free, [1, 0, 0, 0, NAN, 1, 1])


@pytest.mark.parametrize(
    ("robustness", "clearance", "expected"),
    [
        (0.0, 0.0, [0, 4, 5]),
        (0.5, 0.0, [0, 4]),
        (0.0, -0.02, [0, 2, 4, 5]),
        (0.5, 0.03, [4]),  # unmeasured clearance and robustness pass
    ],
)
def test_what_is_worth_learning(robustness: float, clearance: float, expected: list[int]) -> None:
    assert np.flatnonzero(CASES.worth_learning(robustness, clearance)).tolist() == expected


UP, LOST = (True,), (False,)
LIFTED = replace(
    labeled(
        [
            (True, UP, Outcome.SUCCESS, -0.004, NAN),  # picked cleanly, nails on the table
            (False, UP, Outcome.NEIGHBOR_SHOVED, 0.01, NAN),  # picked, not cleanly
            (False, LOST, Outcome.TABLE_FORCE, -0.02, NAN),  # neither
            (False, LOST, Outcome.SLIPPED, -0.004, NAN),  # cleanly lost
            (False, LOST, Outcome.START_BLOCKED, -0.03, NAN),  # no free start, not simulated
            (False, LOST, Outcome.SCENE_COLLISION, -0.02, NAN),  # in the table, never tried
        ]
    ),
    disturbance=np.array([0.4, 1.5, 2.0, 0.0, NAN, NAN]),
)


def test_a_lift_says_itself_what_it_spared_and_whether_the_object_came_up() -> None:
    np.testing.assert_array_equal(LIFTED.collision_free, [1, 0, 0, 1, 0, 0])
    np.testing.assert_array_equal(LIFTED.stable, [1, 1, 0, 0, NAN, NAN])


@pytest.mark.parametrize("clearance", [-1.0, 0.0, 0.05])
def test_clean_picks_are_learned_however_near_the_table(clearance: float) -> None:
    assert np.flatnonzero(LIFTED.worth_learning(0.0, clearance)).tolist() == [0]


def test_concatenation_and_nothing() -> None:
    twice = LabeledGrasps.concatenate([CASES, LabeledGrasps.none(16, 6), CASES])
    assert len(twice.grasps) == 14
    np.testing.assert_array_equal(twice.outcome, np.tile(CASES.outcome, 2))


def test_some_of_the_grasps_keep_their_labels() -> None:
    chosen = CASES[CASES.success]
    assert len(chosen) == len(chosen.grasps) == 3
    np.testing.assert_array_equal(chosen.clearance_m, [0.02, NAN, 0.02])
    np.testing.assert_array_equal(CASES[np.array([3, 0])].outcome, [Outcome.SLIPPED, Outcome.SUCCESS])
    np.testing.assert_array_equal(CASES[-1].outcome, [Outcome.NOT_RUN])
    assert CASES[2:2].direction_success.shape == (0, 6)


def test_grasps_by_slice_mask_numbers_and_one_number() -> None:
    grasps = Grasps(*(np.arange(4.0)[:, None] + np.zeros((4, width)) for width in (23, 16, 16)))
    for rows in (slice(1, 3), np.array([False, True, True, False]), np.array([1, 2])):
        np.testing.assert_array_equal(grasps[rows].squeeze_qpos[:, 0], [1, 2])
    np.testing.assert_array_equal(grasps[3].hand_pose, np.full((1, 23), 3.0))
    assert len(list(grasps)) == 4
    joined = Grasps.concatenate([grasps[2:], grasps[:0], grasps[np.array([0, 0])]])
    np.testing.assert_array_equal(joined.pregrasp_qpos[:, 5], [2, 3, 0, 0])
    with pytest.raises(IndexError):
        grasps[4]
    with pytest.raises(ValueError, match="expected at least one set of grasps, got none"):
        Grasps.concatenate([])
