"""Does an arm bring the hand where a grasp needs it, on a free way, and say so where it cannot?"""

from dataclasses import replace

import mujoco
import numpy as np
import pytest

from factories.lifts import box, firm, standing
from sceneleapultra.hands import load_hand
from sceneleapultra.hands.adapters import Mount, load_adapter
from sceneleapultra.simulation.protocols import Attempt, HandModel, Protocol, get_protocol
from sceneleapultra.simulation.protocols.motion import shifted
from sceneleapultra.utils.core.config import build, load_group
from sceneleapultra.utils.records import Outcome, Scene

pytest.importorskip("mink", reason="needs the extra arm")
from sceneleapultra.simulation.arm import (
    ArmDescription,
    ArmPlanner,
    ArmWorld,
    ReachError,
    kinematics,
    observed_world,
)
from sceneleapultra.simulation.arm.kinematics import ArmKinematics


@pytest.fixture(scope="module")
def arm() -> ArmDescription:
    return build(load_group("arm", "seven_axis"))


@pytest.fixture(scope="module")
def hand() -> HandModel:
    return HandModel.from_hand(load_hand("leap_right"))


@pytest.fixture(scope="module")
def mount() -> Mount:
    return load_adapter(load_hand("leap_right")).mount


@pytest.fixture(scope="module")
def protocol() -> Protocol:
    return get_protocol("scene-lift")


def world_of(
    scene: Scene, hand: HandModel, protocol: Protocol, arm: ArmDescription, mount: Mount
) -> ArmWorld:
    return ArmWorld(hand, protocol.trial.world(scene, 0), protocol.physics, arm, mount)


def by_denavit_hartenberg(arm: ArmDescription, q: np.ndarray) -> np.ndarray:
    """The flange's pose by the textbook's matrices, modified parameters."""
    T = np.eye(4)
    T[:3, 3] = arm.foot_m
    for joint, angle in zip(arm.joints, q, strict=True):
        a, alpha, d = joint.a_alpha_d
        ca, sa, c, s = np.cos(alpha), np.sin(alpha), np.cos(angle), np.sin(angle)
        T = T @ [
            [c, -s, 0, a],
            [s * ca, c * ca, -sa, -d * sa],
            [s * sa, c * sa, ca, d * ca],
            [0, 0, 0, 1],
        ]
    T[:3, 3] += arm.flange_m * T[:3, 2]
    return T


def test_the_flange_is_where_denavit_and_hartenberg_have_it_and_is_found_again(arm: ArmDescription) -> None:
    solver, rng = ArmKinematics(arm), np.random.default_rng(0)
    for _ in range(10):
        near = np.clip(arm.home + rng.uniform(-0.5, 0.5, 7), *arm.limits.T)
        T = by_denavit_hartenberg(arm, near)
        np.testing.assert_allclose(solver.flange_pose(near), T, atol=1e-12)
        found = solver.solve(T, arm.home)
        assert found.reached
        np.testing.assert_allclose(by_denavit_hartenberg(arm, found.q), T, atol=6e-4)
        assert (arm.limits[:, 0] <= found.q).all() and (found.q <= arm.limits[:, 1]).all()


def test_what_is_too_far_is_missed_by_how_far_it_is(arm: ArmDescription) -> None:
    T = by_denavit_hartenberg(arm, arm.home)
    T[:3, 3] = [2.0, 0.0, 0.333]
    found = ArmKinematics(arm).solve(T, arm.home)
    assert not found.reached and found.missed_m > 1.2  # it stands 2.6 m away and reaches less than 1.3


def test_a_home_out_of_range_and_a_missing_library_are_sentences(arm: ArmDescription, monkeypatch) -> None:
    with pytest.raises(ValueError, match="home_rad must be 7 angles within"):
        replace(arm, home_rad=(0.0, 3.0, *arm.home_rad[2:]))
    monkeypatch.setattr(kinematics, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"need mink, which is not installed.*sceneleapultra\[arm\]"):
        ArmKinematics(arm)


def test_the_hand_stands_where_a_stage_has_it(arm, hand, mount, protocol) -> None:
    """The frames of mount and MJCF are heeded: MuJoCo has the palm where the stage has it."""
    world = world_of(standing(), hand, protocol, arm, mount)
    scene = standing()
    attempt = world.prepare(Attempt.of(firm(), 0, protocol.trial.world(scene, 0).poses(scene)))
    world.place(shifted(attempt.pregrasp, np.array([0.0, 0.0, 0.1])), attempt.object_poses)
    base = world.data.body("hand/hand_base")
    np.testing.assert_allclose(base.xpos, attempt.pregrasp[:3] + np.array([0.0, 0.0, 0.1]), atol=2e-4)
    turn = np.empty(3)
    mujoco.mju_subQuat(turn, base.xquat, attempt.pregrasp[3:7])
    assert np.linalg.norm(turn) < 1e-3
    assert world.contacts.is_hand[world.model.body("arm/joint_3").id]  # what it touches counts as the hand's


def seen(scene: Scene):
    """The corners of all objects as if one view showed them all, dense enough to be told apart."""
    rng, points, owner = np.random.default_rng(0), [], []
    for number, (record, T) in enumerate(zip(scene.objects, scene.T_world_object, strict=True)):
        low, high = record.vertices.min(0), record.vertices.max(0)
        inside = rng.uniform(low, high, (4000, 3))
        points.append(inside @ T[:3, :3].T + T[:3, 3])
        owner.append(np.full(4000, number))
    cloud, owners = np.concatenate(points), np.concatenate(owner)
    return observed_world(cloud, owners == 0, np.array([-0.5, 0.0, 0.6]))


def test_what_is_seen_is_solid_down_to_the_table() -> None:
    spec, poses = seen(standing((box("floats", (0.06, 0.06, 0.1)), (0.25, 0.2))))
    assert len(spec.objects) == 2 and poses.shape == (2, 7)
    target, neighbor = (entry.pieces[0] for entry in spec.objects)
    np.testing.assert_allclose(target.min(0), [-0.03, -0.03, 0.0], atol=2e-3)
    np.testing.assert_allclose(neighbor.max(0), [0.28, 0.23, 0.1], atol=2e-3)
    assert neighbor[:, 2].min() == 0.0


def planner_for(scene: Scene, hand, protocol, arm, mount) -> tuple[ArmPlanner, ArmWorld, np.ndarray]:
    spec, poses = seen(scene)
    world = ArmWorld(hand, spec, protocol.physics, arm, mount)
    return ArmPlanner(world, poses, protocol.trial.approach, 0.2), world, poses


def test_a_planned_way_leads_from_home_to_the_standoff_and_an_arm_picks_along_it(
    arm, hand, mount, protocol
) -> None:
    planner, world, poses = planner_for(standing(), hand, protocol, arm, mount)
    plan = planner.plan(Attempt.of(firm(), 0, poses))
    np.testing.assert_array_equal(plan.way[0], arm.home)
    assert np.abs(np.diff(plan.way, axis=0)).max() < 0.081
    prepared = world.prepare(plan.attempt)
    goal = world.flange_pose(shifted(prepared.pregrasp, plan.attempt.approach)[:7])
    np.testing.assert_allclose(world.kinematics.flange_pose(plan.way[-1]), goal, atol=6e-4)
    for q in plan.way:
        world.place_arm(q, prepared.pregrasp[7:], poses)
        assert world.arm_depth() <= 0.002 and world.hand_distance("table") >= -0.002

    real = world_of(standing(), hand, protocol, arm, mount)
    real.way, real.way_steps = plan.way, 13
    scene = standing()
    attempt = replace(plan.attempt, object_poses=protocol.trial.world(scene, 0).poses(scene))
    verdict = protocol.trial.run(real, real.prepare(attempt), stop_at_failure=False)
    assert verdict.outcome == Outcome.SUCCESS
    assert verdict.details["rise_m"] == pytest.approx(0.2, abs=0.02)


def test_an_arm_that_cannot_reach_says_how_far_it_stays(arm, hand, mount, protocol) -> None:
    planner, _, poses = planner_for(standing(), hand, protocol, arm, mount)
    with pytest.raises(ReachError, match=r"cannot reach this grasp: its flange stays \d{3,4} mm away from"):
        planner.plan(Attempt.of(firm((1.5, 0.0, 0.0)), 0, poses))


def test_a_wall_between_the_arm_and_the_grasp_is_a_reason(arm, hand, mount, protocol) -> None:
    wall = box("wall", (0.04, 0.5, 0.5))
    planner, _, poses = planner_for(standing((wall, (-0.2, 0.0))), hand, protocol, arm, mount)
    with pytest.raises(ReachError, match=r"would touch|is blocked"):
        planner.plan(Attempt.of(firm(), 0, poses))
