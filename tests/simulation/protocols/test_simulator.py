from dataclasses import replace

import mujoco
import numpy as np
import pytest

from sceneleapultra.simulation.protocols import GraspSimulator, HandModel, ObjectModel, get_protocol
from sceneleapultra.simulation.protocols.evaluate import stages
from sceneleapultra.simulation.protocols.motion import pose_from_matrix
from sceneleapultra.utils.records import Grasps, ObjectRecord, Outcome, Scene

FIRM, LIMP, OPEN, FAR, INSIDE = range(5)


@pytest.fixture(scope="module")
def simulator(hand_model: HandModel, cylinder: ObjectRecord) -> GraspSimulator:
    return GraspSimulator(hand_model, cylinder, get_protocol("dgb-fc-quick"))


def test_model_is_what_the_protocol_says(simulator: GraspSimulator) -> None:
    model, rules = simulator.model, simulator.protocol
    assert model.body_mass[-1] == pytest.approx(rules.object_mass_kg)
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
    np.testing.assert_allclose(simulator._ctrl_from_qpos, np.eye(16), atol=1e-12)


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
    verdict = simulator.run(*stages(grasps, row), pose_from_matrix(scene.T_world_object[0]))
    assert verdict.outcome == outcome
    assert verdict.success == (outcome == Outcome.SUCCESS) == verdict.direction_success.all()
    if row == FAR:
        # Pulled freely by 1 N on 0.1 kg: 0.1 s of 10 m/s^2 is 5 cm, the end of the first block.
        np.testing.assert_array_equal(verdict.blocks, 1)
        np.testing.assert_allclose(verdict.displacement_m, 0.05, atol=0.005)


def test_slipping_and_moving_have_their_names(
    simulator: GraspSimulator, scene: Scene, grasps: Grasps
) -> None:
    pregrasp, grasp, squeeze = stages(grasps, FIRM)
    pose = pose_from_matrix(scene.T_world_object[0])
    weak = replace(simulator.protocol, force_n_per_kg=1000.0)
    simulator.protocol, rules = weak, simulator.protocol
    slipped = simulator.run(pregrasp, grasp, squeeze, pose)
    simulator.protocol = rules
    assert slipped.outcome == Outcome.SLIPPED
    carried = squeeze.copy()
    carried[0] += 0.2
    assert simulator.run(pregrasp, grasp, carried, pose).outcome == Outcome.MOVED_IN_SQUEEZE


def test_restored_state_equals_a_full_run_bit_for_bit(
    simulator: GraspSimulator, hand_model: HandModel, cylinder: ObjectRecord, scene: Scene, grasps: Grasps
) -> None:
    pose = pose_from_matrix(scene.T_world_object[0])
    for row in (FIRM, LIMP):
        together = simulator.run(*stages(grasps, row), pose)
        fresh = GraspSimulator(hand_model, cylinder, simulator.protocol)
        for direction in range(6):
            alone = fresh.run(*stages(grasps, row), pose, directions=[direction])
            np.testing.assert_array_equal(alone.object_pose[direction], together.object_pose[direction])
            assert np.isnan(np.delete(alone.displacement_m, direction)).all()


def test_verdict_does_not_depend_on_what_ran_before(
    simulator: GraspSimulator, scene: Scene, grasps: Grasps
) -> None:
    pose = pose_from_matrix(scene.T_world_object[0])
    first = simulator.run(*stages(grasps, FIRM), pose)
    metrics = simulator.metrics(stages(grasps, FIRM)[1], pose)
    simulator.run(*stages(grasps, FAR), pose)
    again = simulator.run(*stages(grasps, FIRM), pose)
    np.testing.assert_array_equal(first.object_pose, again.object_pose)
    assert simulator.metrics(stages(grasps, FIRM)[1], pose) == metrics


def test_signs_and_lengths_of_quaternions_do_not_matter(
    simulator: GraspSimulator, scene: Scene, grasps: Grasps
) -> None:
    pose = pose_from_matrix(scene.T_world_object[0])
    pregrasp, grasp, squeeze = stages(grasps, FIRM)
    squeeze = squeeze.copy()
    squeeze[3:7] *= -2
    flipped = np.concatenate([pose[:3], -3 * pose[3:]])
    assert simulator.run(pregrasp, grasp, squeeze, flipped).success


def test_stopping_early_keeps_the_verdict(simulator: GraspSimulator, scene: Scene, grasps: Grasps) -> None:
    pose = pose_from_matrix(scene.T_world_object[0])
    for row in range(5):
        full = simulator.run(*stages(grasps, row), pose)
        early = simulator.run(*stages(grasps, row), pose, stop_at_failure=True)
        assert early.outcome == full.outcome


def test_divergence_is_no_verdict(simulator: GraspSimulator, scene: Scene, grasps: Grasps) -> None:
    pose = pose_from_matrix(scene.T_world_object[0])
    rules = simulator.protocol
    simulator.protocol = replace(rules, force_n_per_kg=1e12)
    try:
        verdict = simulator.run(*stages(grasps, FIRM), pose)
    finally:
        simulator.protocol = rules
    assert verdict.outcome == Outcome.NOT_RUN
    assert not verdict.direction_success.any()
    assert simulator.run(*stages(grasps, FIRM), pose).success


def test_metrics_of_a_firm_grasp(simulator: GraspSimulator, scene: Scene, grasps: Grasps) -> None:
    pose = pose_from_matrix(scene.T_world_object[0])
    firm = simulator.metrics(stages(grasps, FIRM)[1], pose)
    assert 0 < firm.penetration_m < 0.005
    assert firm.contact_links >= 2
    assert firm.contact_distance_m < 0.01
    far = simulator.metrics(stages(grasps, FAR)[1], pose)
    assert (far.penetration_m, far.contact_links, far.contact_distance_m) == (0, 0, 0.01)
    np.testing.assert_array_equal(simulator.model.geom_margin, 0)
    np.testing.assert_array_equal(simulator.model.body_margin, 0)


def test_tabletop_lifts_what_it_holds(
    hand_model: HandModel, cylinder: ObjectRecord, scene: Scene, grasps: Grasps
) -> None:
    simulator = GraspSimulator(hand_model, cylinder, get_protocol("dgb-tabletop"))
    # The cylinder stands on the floor; the hand comes from the side, 2.5 cm above the middle.
    T_upright_world = np.linalg.inv(scene.T_world_object[0])
    T_upright_world[2, 3] += 0.06
    base = pose_from_matrix(T_upright_world)
    base[2] += 0.025

    def lifted(row: int) -> bool:
        hands = [np.concatenate([base, stage[7:]]) for stage in stages(grasps, row)]
        return simulator.run(*hands, np.array([0, 0, 0.06, 1, 0, 0, 0])).success

    assert lifted(FIRM)
    assert not lifted(OPEN)


def test_wrong_shapes_get_a_sentence(simulator: GraspSimulator, scene: Scene, grasps: Grasps) -> None:
    pregrasp, grasp, squeeze = stages(grasps, FIRM)
    pose = pose_from_matrix(scene.T_world_object[0])
    with pytest.raises(ValueError, match=r"16 joints\] = 23 numbers for this hand, got shape \(22,\)"):
        simulator.run(pregrasp[:-1], grasp[:-1], squeeze[:-1], pose)
    with pytest.raises(ValueError, match="must be finite"):
        simulator.run(pregrasp * np.nan, grasp, squeeze, pose)


def test_hand_that_does_not_fit_its_mjcf_gets_a_sentence(
    hand_model: HandModel, cylinder: ObjectRecord
) -> None:
    rules = get_protocol("dgb-fc")
    with pytest.raises(ValueError, match="joint_names must name the hinges of its MJCF, if_mcp"):
        GraspSimulator(replace(hand_model, joint_names=("wrong",)), cylinder, rules)
    with pytest.raises(ValueError, match="base body 'palm' must be a child of the world"):
        GraspSimulator(replace(hand_model, base_body="palm"), cylinder, rules)


def test_joints_are_matched_by_name(
    hand_model: HandModel, cylinder: ObjectRecord, scene: Scene, grasps: Grasps
) -> None:
    order = np.arange(16)[::-1]
    names = tuple(hand_model.joint_names[i] for i in order)
    simulator = GraspSimulator(replace(hand_model, joint_names=names), cylinder, get_protocol("dgb-fc-quick"))
    reordered = [np.concatenate([stage[:7], stage[7:][order]]) for stage in stages(grasps, FIRM)]
    assert simulator.run(*reordered, pose_from_matrix(scene.T_world_object[0])).success


def test_pieces_share_one_density(cylinder: ObjectRecord) -> None:
    cube = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=float)
    record = replace(cylinder, pieces=(cube, 2 * cube))
    # Volumes 1 and 8 m^3.
    assert ObjectModel.from_record(record, 0.9).density == pytest.approx(0.1)


def test_engine_uses_the_pinned_mujoco() -> None:
    assert tuple(int(x) for x in mujoco.__version__.split(".")[:2]) < (3, 6)
