"""Lifts out of scenes whose end is known: who picks, who presses, who shoves, who slips."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from factories.lifts import BASE, box, cylinder, firm, standing
from sceneleapultra.simulation.protocols import (
    Attempt,
    GraspSimulator,
    HandModel,
    Protocol,
    Verdict,
    evaluate_grasps,
    get_protocol,
)
from sceneleapultra.simulation.protocols.trials import ObjectWeight
from sceneleapultra.utils.records import Grasps, Outcome, Scene
from sceneleapultra.utils.verdicts import VerdictTable

UP = np.array([0.0, 0.0, 1.0])


def changed(protocol: Protocol, **trial: Any) -> Protocol:
    return replace(protocol, trial=replace(protocol.trial, **trial))


def lift(hand: HandModel, scene: Scene, grasps: Grasps, protocol: Protocol | None = None) -> Verdict:
    protocol = protocol or get_protocol("scene-lift")
    spec = protocol.trial.world(scene, 0)
    return GraspSimulator(hand, spec, protocol).run(Attempt.of(grasps, 0, spec.poses(scene)))


def test_lone_object_is_picked_cleanly(hand_model) -> None:
    verdict = lift(hand_model, standing(), firm())
    assert verdict.outcome == Outcome.SUCCESS
    assert verdict.details["picked"] and verdict.details["picked_cleanly"]
    assert verdict.details["rise_m"] == pytest.approx(0.2, abs=0.01)
    assert verdict.details["table_force_n"] == 0
    assert verdict.details["disturbance"] == 0
    assert np.isnan(verdict.details["neighbor_shift_m"])
    assert verdict.details["turn_in_hand_deg"] < 5
    np.testing.assert_allclose(np.linalg.norm(verdict.details["approach_m"]), 0.12)


@pytest.mark.parametrize("by", [(-0.15, 0.0, 0.0), (0.0, 0.0, 0.3)])
def test_hand_that_has_nothing_lifts_nothing(hand_model, by) -> None:
    verdict = lift(hand_model, standing(), firm(by))
    assert verdict.outcome == Outcome.NO_CONTACT
    assert not verdict.details["picked"]


def test_heavy_object_stays_or_slips(hand_model) -> None:
    heavy = changed(get_protocol("scene-lift"), weight=ObjectWeight(mass_kg=5.0, density_kg_m3=None))
    verdict = lift(hand_model, standing(), firm(), heavy)
    assert verdict.outcome in (Outcome.NOT_LIFTED, Outcome.SLIPPED)
    assert verdict.details["rise_m"] < 0.1


def test_hand_through_the_table_presses_it(hand_model) -> None:
    low = firm((0, 0, -0.075))
    verdict = lift(hand_model, standing(), low)
    assert verdict.outcome == Outcome.TABLE_FORCE
    assert verdict.details["table_force_n"] > 20
    assert verdict.details["disturbance"] == pytest.approx(verdict.details["table_force_n"] / 20)
    assert not verdict.details["picked_cleanly"]


def test_start_inside_the_table_is_not_simulated(hand_model) -> None:
    verdict = lift(hand_model, standing(), firm(approach=(0, 0, -0.12)))
    assert verdict.outcome == Outcome.START_BLOCKED
    assert np.isnan(verdict.details["table_force_n"])
    assert np.isnan(verdict.details["disturbance"])


def test_neighbor_under_the_hand_is_pressed(hand_model) -> None:
    # As high as the palm, where the hand comes down: it is pinned to the table.
    scene = standing((box("pinned", (0.06, 0.06, 0.1)), (-0.11, 0.0)))
    grasp = firm(approach=(0, 0, 0.12))
    verdict = lift(hand_model, scene, grasp)
    assert verdict.outcome == Outcome.NEIGHBOR_FORCE
    assert verdict.details["neighbor_force_n"] > 20


def test_neighbor_on_the_path_is_shoved(hand_model) -> None:
    # Where the fingers come through, palm first.
    scene = standing((box("shoved", (0.04, 0.04, 0.11)), (0.0, 0.1)))
    grasp = firm(approach=(-0.15, 0, 0))
    verdict = lift(hand_model, scene, grasp)
    assert verdict.outcome == Outcome.NEIGHBOR_SHOVED
    assert verdict.details["picked"] and not verdict.details["picked_cleanly"]
    assert verdict.direction_success.all()
    assert verdict.details["neighbor_shift_m"] > 0.02
    assert verdict.details["disturbance"] == pytest.approx(verdict.details["neighbor_shift_m"] / 0.02)


def test_neighbor_out_of_reach_sleeps_and_changes_nothing(hand_model) -> None:
    protocol, grasp = get_protocol("scene-lift"), firm()
    alone = lift(hand_model, standing(), grasp)
    scene = standing((box("far", (0.05, 0.05, 0.05)), (0.5, 0.5)))
    spec = protocol.trial.world(scene, 0)
    simulator = GraspSimulator(hand_model, spec, protocol)
    model = simulator.world.model
    before = [
        a.copy() for a in (model.geom_contype, model.geom_margin, model.body_gravcomp, model.opt.gravity)
    ]
    beside = simulator.run(Attempt.of(grasp, 0, spec.poses(scene)))
    assert beside.details["neighbor_shift_m"] == 0
    np.testing.assert_allclose(beside.target_pose, alone.target_pose, atol=1e-4)
    after = (model.geom_contype, model.geom_margin, model.body_gravcomp, model.opt.gravity)
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)


def test_sleeper_that_is_touched_falls_like_any_other(hand_model) -> None:
    """A box put to sleep in the air wakes when the target comes near, and falls."""
    protocol = get_protocol("scene-lift")
    scene = standing((box("near", (0.04, 0.04, 0.04)), (0.052, 0.0)))
    world = GraspSimulator(hand_model, protocol.trial.world(scene, 0), protocol).world
    poses = np.array([[0, 0, 0.06, 1, 0, 0, 0], [0.5, 0, 0.3, 1, 0, 0, 0]], dtype=float)
    far = np.concatenate([[0, 0, 2.0, 1, 0, 0, 0], np.zeros(16)])
    with world.sleep.all():
        world.reset(far, poses)
        for _ in range(5):
            world.sleep.update()
            world.step(5)
        assert world.object_poses[1, 2] == pytest.approx(0.3, abs=1e-9)
        poses[1, :3] = 0.055, 0.0, 0.3
        poses[0, 2] = 0.3
        world.reset(far, poses)
        for _ in range(5):
            world.sleep.update()
            world.step(5)
        # 0.1 s of free fall.
        assert world.object_poses[1, 2] == pytest.approx(0.3 - 9.81 * 0.1**2 / 2, abs=0.005)


def test_verdicts_do_not_depend_on_what_ran_before(hand_model) -> None:
    scene = standing((box("near", (0.04, 0.04, 0.1)), (0.0, 0.07)))
    protocol = get_protocol("scene-lift")
    spec = protocol.trial.world(scene, 0)
    simulator = GraspSimulator(hand_model, spec, protocol)
    first_try, other_try = (Attempt.of(firm(by), 0, spec.poses(scene)) for by in ((0, 0, 0), (0, 0, -0.075)))
    first = simulator.run(first_try)
    simulator.run(other_try)
    again = simulator.run(first_try)
    np.testing.assert_array_equal(first.target_pose, again.target_pose)
    assert first.outcome == again.outcome
    for name, value in first.details.items():
        np.testing.assert_array_equal(value, again.details[name], err_msg=name)


def test_approach_is_part_of_the_result(hand_model) -> None:
    scene = standing()
    table = evaluate_grasps(hand_model, scene, firm(), "scene-lift", workers=0)
    # Back along the palm a finger would go through the cylinder; above it nothing is in the way.
    np.testing.assert_allclose(table["approach_m"][0], 0.12 * UP)
    free = evaluate_grasps(hand_model, scene, firm((0, 0, 0.3)), "scene-lift", workers=0)
    np.testing.assert_allclose(free["approach_m"][0], [-0.12, 0, 0], atol=1e-9)
    assert table["stable"][0] == table["picked_cleanly"][0] == table["picked"][0]
    own = firm(approach=(0, 0, 0.1))
    kept = evaluate_grasps(hand_model, scene, own, "scene-lift", workers=0)
    np.testing.assert_array_equal(kept["approach_m"][0], 0.1 * UP)
    none = evaluate_grasps(hand_model, scene, own[:0], "scene-lift", workers=0)
    assert VerdictTable.concatenate([none, kept])["approach_m"].shape == (1, 3)
    way = own.waypoints(3)
    np.testing.assert_allclose(way[0, :, :3], BASE[:3] + np.array([[0.1], [0.05], [0.0]]) * UP)
    np.testing.assert_array_equal(way[0, :, 3:], np.tile(BASE[3:], (3, 1)))
    with pytest.raises(ValueError, match="at least two, of grasps with an approach"):
        firm().waypoints(3)


def test_dexgraspnet_2_lets_pass_what_the_strict_protocol_refuses(hand_model) -> None:
    """A shoved neighbor is nothing to the comparison: it asks how high anything is at the end."""
    scene = standing((box("shoved", (0.04, 0.04, 0.11)), (0.0, 0.1)))
    grasp = firm(approach=(-0.15, 0, 0))
    verdict = lift(hand_model, scene, grasp, get_protocol("scene-lift-dgn2"))
    assert verdict.stable
    assert verdict.details["neighbor_shift_m"] > 0.02
    # And 3 cm are enough.
    assert get_protocol("scene-lift-dgn2").trial.pick.min_rise_m == 0.03


def test_weight_follows_the_volume() -> None:
    model = ObjectWeight(mass_kg=None, density_kg_m3=500.0).model(cylinder())
    # A cylinder of radius 3 cm, 12 cm high; 24 sides make it 1 % leaner.
    assert model.mass_kg == pytest.approx(500 * np.pi * 0.03**2 * 0.12, rel=0.02)
    with pytest.raises(ValueError, match="expected mass_kg or density_kg_m3"):
        ObjectWeight(mass_kg=0.1, density_kg_m3=500.0)


def test_compiled_scene_is_what_the_protocol_says(hand_model) -> None:
    protocol = get_protocol("scene-lift")
    limited = changed(protocol, surroundings=replace(protocol.trial.surroundings, max_torque_nm=0.21))
    scene = standing((box("near", (0.04, 0.04, 0.1)), (0.0, 0.07)))
    world = GraspSimulator(hand_model, limited.trial.world(scene, 0), limited).world
    model, data = world.model, world.data
    np.testing.assert_allclose(model.body_mass[-2:], 0.1)
    np.testing.assert_array_equal(model.geom("table").friction, [0.8, 0.02, 0.002])
    np.testing.assert_array_equal(model.actuator_forcerange, np.tile([-0.21, 0.21], (model.nu, 1)))
    # The hand has no weight, objects have theirs: left alone for 0.1 s in the air they fall 5 cm and it does not.
    poses = np.array([[0, 0, 1.0, 1, 0, 0, 0], [0.5, 0, 1.0, 1, 0, 0, 0]])
    world.reset(np.concatenate([[0, 0, 2.0, 1, 0, 0, 0], np.zeros(16)]), poses)
    world.step(25)
    np.testing.assert_allclose(world.object_poses[:, 2], 1 - 9.81 * 0.1**2 / 2, atol=0.003)
    assert data.qpos[2] == pytest.approx(2.0, abs=1e-3)


def test_scene_without_a_table_gets_a_sentence(hand_model, scene, grasps) -> None:
    with pytest.raises(ValueError, match="floats alone: it can be lifted from a table only"):
        evaluate_grasps(hand_model, scene, grasps, "scene-lift", workers=0)


def test_hand_without_a_palm_gets_a_sentence(hand_model) -> None:
    protocol = get_protocol("scene-lift")
    blind, scene = replace(hand_model, palm_direction=None), standing()
    with pytest.raises(ValueError, match=r"no semantics\.palm\.direction"):
        lift(blind, scene, firm())
    upward = changed(protocol, approach=replace(protocol.trial.approach, directions=("up",)))
    verdict = lift(blind, scene, firm(), upward)
    np.testing.assert_array_equal(verdict.details["approach_m"], 0.12 * UP)
