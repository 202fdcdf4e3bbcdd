from dataclasses import replace

import numpy as np
import torch

from sceneleapultra.hands import GraspPose, Hand
from sceneleapultra.simulation.synthesis import SimClose, initial_palm_poses, prepare
from sceneleapultra.simulation.synthesis.forecast import Forecast
from sceneleapultra.simulation.synthesis.grid import DistanceGrid
from sceneleapultra.simulation.synthesis.placement import Placer
from sceneleapultra.simulation.synthesis.preshape import leading_joints
from sceneleapultra.utils.records import Scene


def test_hands_start_clear_of_everything(hand: Hand, scene: Scene, sim_close: SimClose) -> None:
    target = prepare(hand, scene, 1)
    placed = Placer(target, sim_close.placement).draw(8, np.random.default_rng(0))
    assert len(placed.qpos) == 8
    pose = GraspPose.from_matrix(placed.T_world_base, placed.qpos)
    balls = target.balls.world(pose)
    assert (target.distance.clearance(balls) >= sim_close.placement.clearance_m - 1e-6).all()
    # The grid that placing looks at errs by about a millimetre.
    assert ((target.distance.target(balls.centers) - balls.radii).amin(-1) > -0.002).all()
    assert (placed.forecast.diff() >= 0).all()


def test_palms_look_at_the_object_and_never_from_below(hand: Hand, scene: Scene, sim_close: SimClose) -> None:
    T = initial_palm_poses(hand, scene, 0, 20, np.random.default_rng(0), sim_close.placement)
    assert T.shape == (20, 4, 4)
    np.testing.assert_allclose(T[:, :3, :3] @ T[:, :3, :3].mT, np.tile(np.eye(3), (20, 1, 1)), atol=1e-5)
    looks = T[:, :3, :3] @ hand.palm_direction.numpy()
    assert (looks[:, 2] <= sim_close.placement.max_upward + 1e-6).all()
    palm = T[:, :3, :3] @ hand.palm_center.numpy() + T[:, :3, 3]
    towards = scene.T_world_object[0, :3, 3] - palm
    reach = np.linalg.norm(scene.objects[0].vertices, axis=1).max()
    assert (np.linalg.norm(towards, axis=1) < reach + sim_close.placement.max_standoff_m + 0.1).all()
    assert np.median((towards * looks).sum(1)) > 0


def test_there_are_as_many_initial_poses_as_asked_for(hand: Hand, scene: Scene, sim_close: SimClose) -> None:
    hopeless = replace(sim_close.placement, max_forecast=-1.0)
    poses = initial_palm_poses(hand, scene, 0, 5, np.random.default_rng(0), hopeless)
    assert poses.shape == (5, 4, 4) and np.isfinite(poses).all()


def test_forecast_prefers_fingers_around_the_object(hand: Hand, scene: Scene, sim_close: SimClose) -> None:
    lone = Scene(scene.objects[1:], scene.T_world_object[1:], table=False)
    target = prepare(hand, lone, 0)
    placer = Placer(target, sim_close.placement)
    around = placer.draw(4, np.random.default_rng(0))
    forecast = Forecast(target, placer.near, sim_close.placement.forecast)
    away = around.T_world_base.clone()
    away[:, :3, 3] += 0.3
    assert torch.isinf(forecast(away, around.qpos, around.rates)).all()
    torch.testing.assert_close(
        forecast(around.T_world_base, around.qpos, around.rates), around.forecast, atol=1e-4, rtol=0
    )


def test_grid_is_near_the_distance_it_stands_for(hand: Hand, scene: Scene) -> None:
    target = prepare(hand, scene, 1)
    center = torch.as_tensor(scene.T_world_object[1, :3, 3], dtype=torch.float32)
    grid = DistanceGrid(target.distance.target, center - 0.08, center + 0.08)
    points = center + 0.1 * torch.rand(2000, 3) - 0.05
    error = grid(points) - target.distance.target(points)
    assert error.abs().max() < 0.002
    far = center + torch.tensor([[0.5, 0.0, 0.0]])
    assert 0 < grid(far) < 0.5


def test_one_joint_leads_each_finger(hand: Hand) -> None:
    names = np.array(hand.joint_names)[leading_joints(hand)]
    assert list(names) == ["if_mcp", "mf_mcp", "rf_mcp", "th_mcp"]
