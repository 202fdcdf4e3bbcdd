import copy
from dataclasses import replace
from typing import Any

import mujoco
import numpy as np
import pytest

from sceneleapultra.simulation.protocols import (
    Attempt,
    GraspSimulator,
    HandModel,
    ObjectModel,
    Protocol,
    get_protocol,
)
from sceneleapultra.simulation.protocols.motion import pose_from_matrix
from sceneleapultra.utils.records import Grasps, ObjectRecord, Outcome, Scene

FIRM, LIMP, OPEN, FAR, INSIDE = range(5)


def compiled(hand: HandModel, scene: Scene, protocol: Protocol) -> GraspSimulator:
    return GraspSimulator(hand, protocol.trial.world(scene, 0), protocol)


def compiled_like(simulator: GraspSimulator, **changes: Any) -> GraspSimulator:
    """The same world under a trial with other constants."""
    other = copy.copy(simulator)
    other.protocol = replace(simulator.protocol, trial=replace(simulator.protocol.trial, **changes))
    return other


def attempt(scene: Scene, grasps: Grasps, row: int) -> Attempt:
    return Attempt.of(grasps, row, pose_from_matrix(scene.T_world_object[0])[None])


@pytest.fixture(scope="module")
def simulator(hand_model: HandModel, scene: Scene) -> GraspSimulator:
    return compiled(hand_model, scene, get_protocol("dgb-fc-quick"))


def test_model_is_what_the_protocol_says(simulator: GraspSimulator) -> None:
    model, rules = simulator.world.model, simulator.protocol.physics
    assert model.body_mass[-1] == pytest.approx(simulator.protocol.trial.object_mass_kg)
    # Solid cylinder, mass 0.1 kg, radius 3 cm, 12 cm long; 24 sides make it 1 % leaner.
    np.testing.assert_allclose(
        np.sort(model.body_inertia[-1]),
        [0.1 * 0.03**2 / 2, *[0.1 * (3 * 0.03**2 + 0.12**2) / 12] * 2],
        rtol=0.02,
    )
    np.testing.assert_array_equal(model.geom_friction[:, :2], np.tile(rules.friction, (model.ngeom, 1)))
    of_object = model.geom_bodyid == model.nbody - 1
    np.testing.assert_allclose(model.geom_solref[of_object], [[0.02, 1]])
    np.testing.assert_allclose(
        model.geom_solref[~of_object], np.tile(rules.hand_solref, (model.ngeom - 1, 1))
    )
    np.testing.assert_allclose(
        [simulator.world._servos.targets(row) for row in np.eye(16)], np.eye(16), atol=1e-12
    )


@pytest.mark.parametrize(
    ("row", "outcome"),
    [
        (FIRM, Outcome.SUCCESS),
        (OPEN, Outcome.NO_CONTACT),
        (FAR, Outcome.NO_CONTACT),
        (INSIDE, Outcome.PREGRASP_PENETRATION),
    ],
)
def test_reason_of_failure(
    simulator: GraspSimulator, scene: Scene, grasps: Grasps, row: int, outcome: Outcome
) -> None:
    verdict = simulator.run(attempt(scene, grasps, row))
    assert verdict.outcome == outcome
    assert verdict.stable == (outcome == Outcome.SUCCESS) == verdict.direction_success.all()
    if row == FAR:
        # Pulled freely by 1 N on 0.1 kg: 0.1 s of 10 m/s^2 is 5 cm, the end of the first block.
        np.testing.assert_array_equal(verdict.details["blocks"], 1)
        np.testing.assert_allclose(verdict.displacement_m, 0.05, atol=0.005)


def test_slipping_and_moving_have_their_names(
    simulator: GraspSimulator, scene: Scene, grasps: Grasps
) -> None:
    firm = attempt(scene, grasps, FIRM)
    strong = compiled_like(simulator, force_n_per_kg=1000.0)
    assert strong.run(firm).outcome == Outcome.SLIPPED
    carried = firm.squeeze.copy()
    carried[0] += 0.2
    assert simulator.run(replace(firm, squeeze=carried)).outcome == Outcome.MOVED_IN_SQUEEZE


def test_restored_state_equals_a_full_run_bit_for_bit(
    simulator: GraspSimulator, scene: Scene, grasps: Grasps
) -> None:
    for row in (FIRM, LIMP):
        together = simulator.run(attempt(scene, grasps, row))
        for i, direction in enumerate(simulator.protocol.trial.directions):
            alone = compiled_like(simulator, directions=(direction,)).run(attempt(scene, grasps, row))
            np.testing.assert_array_equal(alone.target_pose[0], together.target_pose[i])


def test_verdict_does_not_depend_on_what_ran_before(
    simulator: GraspSimulator, scene: Scene, grasps: Grasps
) -> None:
    first = simulator.run(attempt(scene, grasps, FIRM))
    metrics = simulator.measure(attempt(scene, grasps, FIRM))
    simulator.run(attempt(scene, grasps, FAR))
    again = simulator.run(attempt(scene, grasps, FIRM))
    np.testing.assert_array_equal(first.target_pose, again.target_pose)
    assert simulator.measure(attempt(scene, grasps, FIRM)) == metrics


def test_signs_and_lengths_of_quaternions_do_not_matter(
    simulator: GraspSimulator, scene: Scene, grasps: Grasps
) -> None:
    firm = attempt(scene, grasps, FIRM)
    squeeze, poses = firm.squeeze.copy(), firm.object_poses.copy()
    squeeze[3:7] *= -2
    poses[:, 3:] *= -3
    assert simulator.run(replace(firm, squeeze=squeeze, object_poses=poses)).stable


def test_stopping_early_keeps_the_verdict(simulator: GraspSimulator, scene: Scene, grasps: Grasps) -> None:
    for row in range(5):
        full = simulator.run(attempt(scene, grasps, row))
        early = simulator.run(attempt(scene, grasps, row), stop_at_failure=True)
        assert early.outcome == full.outcome


def test_margin_is_where_the_force_takes_the_object(
    hand_model: HandModel, scene: Scene, grasps: Grasps
) -> None:
    margin = compiled(hand_model, scene, get_protocol("force-margin"))
    found = [margin.run(attempt(scene, grasps, row)) for row in (FIRM, LIMP, OPEN, INSIDE)]
    firm, limp, opened, inside = (verdict.details["force_margin"] for verdict in found)
    assert firm > limp >= opened == 0 == inside
    assert found[0].stable and not found[2].stable
    assert found[3].outcome == Outcome.PREGRASP_PENETRATION
    # A sudden force well below the margin is withstood, one well above is not.
    trial = margin.protocol.trial
    for multiple, held in ((firm / 2, True), (3 * firm, False)):
        once = compiled_like(margin, multiples=(multiple,), required=multiple)
        assert once.run(attempt(scene, grasps, FIRM)).stable == held
    with pytest.raises(ValueError, match="expected rising numbers above 0"):
        replace(trial, multiples=(2.0, 1.0))


def test_divergence_is_no_verdict(simulator: GraspSimulator, scene: Scene, grasps: Grasps) -> None:
    verdict = compiled_like(simulator, force_n_per_kg=1e12).run(attempt(scene, grasps, FIRM))
    assert verdict.outcome == Outcome.NOT_RUN
    assert not verdict.direction_success.any()
    assert simulator.run(attempt(scene, grasps, FIRM)).stable


def test_metrics_of_a_firm_grasp(simulator: GraspSimulator, scene: Scene, grasps: Grasps) -> None:
    firm = simulator.measure(attempt(scene, grasps, FIRM))
    assert 0 < firm["penetration_m"] < 0.005
    assert firm["contact_links"] >= 2
    assert firm["contact_distance_m"] < 0.01
    far = simulator.measure(attempt(scene, grasps, FAR))
    assert (far["penetration_m"], far["contact_links"], far["contact_distance_m"]) == (0, 0, 0.01)
    np.testing.assert_array_equal(simulator.world.model.geom_margin, 0)
    np.testing.assert_array_equal(simulator.world.model.body_margin, 0)


def test_tabletop_lifts_what_it_holds(hand_model: HandModel, scene: Scene, grasps: Grasps) -> None:
    simulator = compiled(hand_model, scene, get_protocol("dgb-tabletop"))
    # The cylinder stands on the floor; the hand comes from the side, 2.5 cm above the middle.
    T_upright_world = np.linalg.inv(scene.T_world_object[0])
    T_upright_world[2, 3] += 0.06
    base = pose_from_matrix(T_upright_world)
    base[2] += 0.025

    def lifted(row: int) -> bool:
        of_row = attempt(scene, grasps, row)
        stages = (of_row.pregrasp, of_row.grasp, of_row.squeeze)
        hands = [np.concatenate([base, stage[7:]]) for stage in stages]
        return simulator.run(Attempt(*hands, np.array([[0, 0, 0.06, 1, 0, 0, 0]]))).stable

    assert lifted(FIRM)
    assert not lifted(OPEN)


def test_wrong_shapes_get_a_sentence(simulator: GraspSimulator, scene: Scene, grasps: Grasps) -> None:
    firm = attempt(scene, grasps, FIRM)
    with pytest.raises(ValueError, match=r"16 joints\] = 23 numbers for this hand, got shape \(22,\)"):
        simulator.run(Attempt(firm.pregrasp[:-1], firm.grasp[:-1], firm.squeeze[:-1], firm.object_poses))
    with pytest.raises(ValueError, match="must be finite"):
        simulator.run(replace(firm, pregrasp=firm.pregrasp * np.nan))
    with pytest.raises(ValueError, match="2 object poses for a world of 1 objects"):
        simulator.run(replace(firm, object_poses=np.repeat(firm.object_poses, 2, axis=0)))


def test_hand_that_does_not_fit_its_mjcf_gets_a_sentence(hand_model: HandModel, scene: Scene) -> None:
    rules = get_protocol("dgb-fc")
    with pytest.raises(ValueError, match="joint_names must name the hinges and slides of its MJCF, if_mcp"):
        compiled(replace(hand_model, joint_names=("wrong",)), scene, rules)
    with pytest.raises(ValueError, match="base body 'palm' must be a child of the world"):
        compiled(replace(hand_model, base_body="palm"), scene, rules)


def test_joints_are_matched_by_name(hand_model: HandModel, scene: Scene, grasps: Grasps) -> None:
    order = np.arange(16)[::-1]
    names = tuple(hand_model.joint_names[i] for i in order)
    simulator = compiled(replace(hand_model, joint_names=names), scene, get_protocol("dgb-fc-quick"))
    pose, squeeze = grasps.hand_pose.copy(), grasps.squeeze_qpos[:, order]
    pose[:, 3:-4] = pose[:, 3:-4][:, order]
    reordered = Grasps(pose, grasps.pregrasp_qpos[:, order], squeeze)
    assert simulator.run(attempt(scene, reordered, FIRM)).stable


def test_pieces_share_one_density(cylinder: ObjectRecord) -> None:
    cube = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=float)
    record = replace(cylinder, pieces=(cube, 2 * cube))
    # Volumes 1 and 8 m^3.
    assert ObjectModel.from_record(record, 0.9).density == pytest.approx(0.1)


def test_engine_uses_the_pinned_mujoco() -> None:
    assert tuple(int(x) for x in mujoco.__version__.split(".")[:2]) < (3, 6)
