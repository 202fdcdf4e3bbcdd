"""Properties of the whole model: equivariance, invariance to padding and to batch mates, no ground truth, float32."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from factories.models import (
    draw_anchors,
    losses_of,
    scene_batch,
    set_statistics_from,
    small_generator,
    small_module,
    small_sampling,
)
from sceneleapultra.hands import GraspPose
from sceneleapultra.models.network.tokens import Cloud
from sceneleapultra.models.objectives.noise import draw_step_noise
from sceneleapultra.models.representation import PoseRepresentation
from sceneleapultra.utils.geometry.rotation import matrix_from_quat_wxyz

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
SEEDS = [1, 2, 3]


def turned(batch, angle: float, shift: torch.Tensor):
    """The same scenes, turned about the vertical and moved."""
    c, s = np.cos(angle), np.sin(angle)
    R = torch.tensor([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float32)
    return replace(batch, scene_pc=batch.scene_pc @ R.T + shift, viewpoint=batch.viewpoint @ R.T + shift), R


def test_turning_and_moving_the_scene_turns_and_moves_the_grasps(generator):
    batch = scene_batch()
    shift = torch.tensor([0.3, -0.2, 0.5])
    moved, R = turned(batch, 0.7, shift)
    one, two = generator.sample(batch, 5, seeds=SEEDS), generator.sample(moved, 5, seeds=SEEDS)
    pose = GraspPose.from_hand_pose(one.hand_pose)
    expected = pose.translation @ R.T + shift
    assert_close(GraspPose.from_hand_pose(two.hand_pose).translation, expected, atol=2e-4, rtol=0)
    assert_close(matrix_from_quat_wxyz(two.hand_pose[..., -4:]), R @ pose.rotation, atol=2e-3, rtol=0)
    assert_close(two.score, one.score, atol=2e-3, rtol=0)


def test_plain_representation_does_not_follow_the_scene():
    plain = small_generator(
        representation=PoseRepresentation(anchored=False, reference_depth=0.02, autoencoder=None)
    )
    batch = scene_batch()
    moved, R = turned(batch, 0.7, torch.tensor([0.3, -0.2, 0.5]))
    one, two = plain.sample(batch, 5, seeds=SEEDS), plain.sample(moved, 5, seeds=SEEDS)
    assert (two.hand_pose[..., :3] - one.hand_pose[..., :3] @ R.T).abs().max() > 0.05


def test_padding_and_batch_mates_change_nothing(generator):
    batch = scene_batch(num_points=80)
    junk = torch.full((3, 20, 3), 7.0)
    padded = replace(
        batch,
        scene_pc=torch.cat([batch.scene_pc, junk], 1),
        point_valid=torch.cat([batch.point_valid, torch.zeros(3, 20, dtype=torch.bool)], 1),
        object_mask=torch.cat([batch.object_mask, torch.ones(3, 20, dtype=torch.bool)], 1),
    )
    one, two = generator.sample(batch, 4, seeds=SEEDS), generator.sample(padded, 4, seeds=SEEDS)
    assert_close(two.hand_pose, one.hand_pose, atol=1e-5, rtol=1e-5)
    single = generator.encode(Cloud.of(batch.item(1)))
    whole = generator.encode(Cloud.of(batch))
    assert_close(single.tokens.features, whole.tokens.features[1:2], atol=1e-5, rtol=1e-5)


def test_sampling_needs_no_grasps_and_any_number_of_them(generator):
    batch = replace(
        scene_batch(),
        hand_pose=None,
        squeeze_qpos=None,
        pregrasp_qpos=None,
        grasp_valid=None,
        grasp_success=None,
        grasp_stable=None,
        grasp_collision_free=None,
    )
    for k in (1, 33):
        made = generator.sample(batch, k, seeds=SEEDS)
        assert made.pred_pose.shape == (3, k, 25) and made.hand_pose.shape == (3, k, 23)
        low, high = generator.hand.joint_limits.unbind(-1)
        for qpos in (made.hand_pose[..., 3:19], made.pregrasp_qpos, made.squeeze_qpos):
            assert (qpos >= low - 1e-6).all() and (qpos <= high + 1e-6).all()
    assert generator.sample(batch, 2, seeds=SEEDS).nfe == 4


def test_codec_round_trip(generator):
    batch = scene_batch()
    scene = generator.encode(Cloud.of(batch))
    index = draw_anchors(scene, 8)
    pose = GraspPose.from_hand_pose(batch.hand_pose)
    states = generator.states(pose, batch.squeeze_qpos, scene.tokens, index)
    origins, frames = generator.reference_frames(scene.tokens, index)
    back, squeeze, _ = generator.codec.decode(states, origins, frames)
    assert_close(back.translation, pose.translation, atol=1e-5, rtol=0)
    assert_close(back.rotation, pose.rotation, atol=1e-5, rtol=0)
    low, high = generator.hand.joint_limits.unbind(-1)
    assert_close(squeeze, batch.squeeze_qpos.clamp(low, high), atol=1e-5, rtol=0)


def test_noise_is_keyed_by_item_and_step(generator):
    batch = scene_batch()
    settings = {"num_grasps": 6, "seed": 0}
    whole = draw_step_noise(generator, batch, **settings, step=5)
    part = draw_step_noise(generator, batch.item(1), **settings, step=5)
    for name in ("t", "eps", "gumbel", "split", "surface"):
        assert torch.equal(getattr(part, name), getattr(whole, name)[1:2]), name
    for other in ({"step": 6}, {"step": 5, "seed": 1}):
        assert not torch.equal(draw_step_noise(generator, batch, **{**settings, **other}).eps, whole.eps)


@pytest.mark.slow
def test_training_on_one_batch_finds_its_grasps():
    """A few hundred steps on three scenes must bring generated palms onto the training palms."""
    sampling = small_sampling().changed(steps=20, temperature=0.3)
    module = small_module(small_generator(sampling=sampling)).train()
    batch = scene_batch(num_grasps=6)
    set_statistics_from(module, batch)
    optimizer = torch.optim.AdamW(module.parameters(), 3e-3)
    first = last = 0.0
    for step in range(250):
        loss = module.objective.total(losses_of(module, batch, step), step)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        first, last = (first or loss.item()), loss.item()
    assert last < 0.35 * first
    made = module.generator.eval().sample(batch, 12, seeds=[0, 1, 2])
    distance = torch.cdist(made.hand_pose[..., :3], batch.hand_pose[..., :3]).amin(-1)
    spread = torch.cdist(batch.hand_pose[..., :3], batch.hand_pose[..., :3]).mean()
    assert distance.median() < 0.25 * spread


def test_bf16_keeps_coordinates_rotations_and_kinematics_in_float32(generator):
    """Two metres from the origin bf16 knows centimetres; what the networks are shown must not."""
    batch = scene_batch()
    away = replace(batch, scene_pc=batch.scene_pc + 2.0, viewpoint=batch.viewpoint + 2.0)
    tokens = generator.encode(Cloud.of(away)).tokens
    surface = generator.observed_surface(Cloud.of(away), tokens)
    index = torch.arange(8).expand(3, 8)
    pose = GraspPose.from_hand_pose(batch.hand_pose)
    pose = replace(pose, translation=pose.translation + 2.0)
    geometry, contacts = copy.deepcopy((generator.geometry, generator.contacts))
    geometry.mlp = contacts.mlp = torch.nn.Identity()

    def shown() -> list[torch.Tensor]:
        codec = generator.codec
        origins, frames = generator.reference_frames(tokens, index)
        states = generator.states(pose, batch.squeeze_qpos, tokens, index)
        back, *_ = codec.decode(states, origins, frames)
        views = [geometry(origins, pose.rotation, tokens), contacts(pose, pose.rotation, surface, None)]
        return [*views, codec.reference_point(pose), states, back.translation, back.rotation]

    exact = shown()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = shown()
        assert generator.geometry(pose.translation, pose.rotation, tokens).dtype == torch.bfloat16
    for one, two in zip(exact, rough, strict=True):
        assert two.dtype == torch.float32 and torch.equal(one, two)


@pytest.mark.gpu
def test_a_gpu_computes_the_losses_and_gradients_of_a_cpu():
    batch, found = scene_batch(), []
    for device in ("cpu", "cuda"):
        module = small_module()
        set_statistics_from(module, batch)
        module.to(device)
        terms = losses_of(module, batch.to(device), 3)
        torch.stack(list(terms.values())).sum().backward()
        gradients = {name: p.grad.cpu() for name, p in module.named_parameters() if p.grad is not None}
        found.append(({name: term.detach().cpu() for name, term in terms.items()}, gradients))
    for there, here in zip(*found, strict=True):
        assert there.keys() == here.keys()
        for name, value in there.items():
            assert_close(
                here[name],
                value,
                atol=1e-3 * float(value.abs().max()) + 1e-6,
                rtol=1e-3,
                msg=lambda m, n=name: f"{n}: {m}",
            )
