"""Does one set of weights serve several hands, train on them together, and stay the same for each?"""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from factories.many_hands import many
from factories.models import awake, scene_batch, small_decoder, small_generator, small_module
from sceneleapultra.hands import GraspPose, load_hand
from sceneleapultra.hands.rows import HandRows, contact_points, palm_axes
from sceneleapultra.models.many_hands import SharedGenerators
from sceneleapultra.models.network.decoder.unet import UNetConfig
from sceneleapultra.models.network.hand_encoder import HandEncoder, HandEncoderConfig, StateIn, StateOut
from sceneleapultra.models.representation import GraspCodec, StateLayout
from sceneleapultra.utils.geometry.rotation import matrix_from_rot6d, so3_exp

HANDS = ("leap_right", "leap_left", "allegro_like", "parallel_gripper")
GRAPH = HandEncoderConfig(dim=16, depth=1, heads=2, adapter_rank=None)


@pytest.mark.parametrize("name", HANDS)
def test_rows_say_where_parts_are_in_the_palms_axes(name: str) -> None:
    hand = load_hand(name)
    rows = HandRows(hand)
    pose = GraspPose(torch.zeros(3), torch.eye(3), hand.rest_qpos)
    tips = [hand.body_names.index(tip) for tip in hand.fingertip_bodies]
    pads, _ = hand.contact_candidates(pose)
    for finger in range(len(tips)):
        middle = pads[hand.contact_finger == finger].mean(0)
        local = palm_axes(hand).T @ (middle - hand.palm_center) / 0.1
        assert_close(rows.point[len(rows.point) - len(tips) + finger, :3], local, rtol=0, atol=1e-5)
    assert_close(palm_axes(hand).T @ palm_axes(hand), torch.eye(3), rtol=0, atol=1e-6)
    assert torch.linalg.det(palm_axes(hand)) > 0.99


def test_rows_of_the_mirror_image_are_mirrored() -> None:
    right, left = (HandRows(load_hand(name)) for name in ("leap_right", "leap_left"))
    mirrored = right.point.clone()
    mirrored[:, 0] *= -1
    # Pads are sampled on each hand's own surface: to a few millimetres the same.
    assert_close(left.point, mirrored, rtol=0, atol=0.05)
    assert_close(left.steps, right.steps)


def test_rows_of_a_description_moved_as_a_whole_are_the_same() -> None:
    """The base's axes are an accident of the file; nothing a network sees hangs on them."""
    hand = load_hand("allegro_like")
    turned, _ = contact_points(hand)
    assert turned.shape[1] == len(HandRows(hand).point)
    codec = GraspCodec(hand, reference_depth=0.03, of_palm=True)
    R = so3_exp(torch.tensor([0.4, -1.1, 2.0]))
    pose = GraspPose(torch.tensor([0.1, 0.2, 0.3]), R, hand.rest_qpos)
    state = codec.encode(pose, hand.rest_qpos, torch.zeros(3), torch.eye(3))
    again, *_ = codec.decode(state[None], torch.zeros(1, 3), torch.eye(3)[None])
    assert_close(again.rotation[0], R, rtol=0, atol=1e-6)
    assert_close(again.translation[0], pose.translation, rtol=0, atol=1e-6)
    assert_close(matrix_from_rot6d(state[19:25]), R @ palm_axes(hand), rtol=0, atol=1e-6)


def test_weights_have_the_same_shapes_for_every_hand() -> None:
    shapes = [
        {k: getattr(v, "shape", None) for k, v in many(name).state_dict().items()} for name in HANDS[1:]
    ]
    assert all(each == shapes[0] for each in shapes)


def test_layers_do_not_know_the_order_of_parts() -> None:
    torch.manual_seed(0)
    hand = load_hand("leap_right")
    tokens = HandEncoder(GRAPH)(HandRows(hand))
    enters, leaves = StateIn(dim_token=16, dim=8), awake(StateOut(dim_token=16, dim=8))
    state, groups = torch.randn(5, 41), StateLayout(16).groups
    order = torch.randperm(16)
    mixed = state.clone()
    for group in ("joints", "squeeze"):
        mixed[:, groups[group]] = state[:, groups[group]][:, order]
    shuffled = tokens._replace(joint=tokens.joint[order])
    assert_close(enters(mixed, shuffled), enters(state, tokens), rtol=0, atol=1e-5)
    x = torch.randn(5, 8)
    whole, part = leaves(x, tokens), leaves(x, shuffled)
    assert_close(part[:, groups["joints"]], whole[:, groups["joints"]][:, order], rtol=0, atol=1e-5)
    assert_close(part[:, groups["translation"]], whole[:, groups["translation"]])


@pytest.mark.parametrize("score", ["surface", "tokens"])
def test_every_hand_samples_its_own_grasps_with_the_same_weights(score: str) -> None:
    head = f"model/generator/heads/score={score}"
    own, batch = many("leap_right", head), scene_batch(2)
    shared = SharedGenerators(own)
    for name in ("allegro_like", "parallel_gripper"):
        loaded = many(name, head)
        loaded.load_state_dict(own.state_dict())
        made, again = (each.sample(batch, 3, seeds=[0, 1]) for each in (shared.of(name), loaded))
        assert made.hand_pose.shape == (2, 3, 7 + load_hand(name).num_joints)
        low, high = load_hand(name).joint_limits.unbind(-1)
        joints = made.hand_pose[..., 3:-4]
        assert (joints >= low).all() and (joints <= high).all()
        assert_close(made.hand_pose, again.hand_pose, rtol=0, atol=0)
        assert_close(made.score, again.score, rtol=0, atol=0)


def test_a_step_on_another_hand_changes_the_shared_weights() -> None:
    module = small_module(many())
    batch = scene_batch(2)
    left = replace(batch, hand=("leap_left",) * 2)
    context = module.context_of(left, step=0, training=True)
    assert context.generator.hand.name == "leap_left"
    module.objective.total(module.objective.losses(context, training=True), 0).backward()
    without = {name for name, p in module.named_parameters() if p.grad is None}
    assert not without
    own = module.generator.hand_encoder.rows_in["joint"].weight
    assert own.grad.abs().max() > 0
    assert module.context_of(batch, step=0, training=True).generator is module.generator


def test_statistics_that_come_later_are_those_of_every_hand() -> None:
    """They are measured with the generators of all hands, which are there before the statistics are."""
    own = many("leap_right")
    shared = SharedGenerators(own)
    shared.of("allegro_like")
    own.normalizer.palm_mean.copy_(torch.arange(9) * 0.01)
    own.normalizer.palm_std.copy_(1 + torch.arange(9) * 0.1)
    own.normalizer.spread()
    other = shared.of("allegro_like").normalizer
    for mine, theirs in ((own.normalizer.mean, other.mean), (own.normalizer.std, other.std)):
        assert_close(theirs[other.columns], mine[own.normalizer.columns], rtol=0, atol=0)
        assert not torch.equal(theirs[3:19], mine[3:19])


def test_what_serves_one_hand_says_so() -> None:
    with pytest.raises(
        ValueError, match="This model is of hand 'leap_right' alone, asked for 'allegro_like'"
    ):
        SharedGenerators(small_generator()).of("allegro_like")
    with pytest.raises(ValueError, match="decoder=unet is of one hand"):
        small_generator(hand_encoder=GRAPH, decoder=small_decoder(UNetConfig))
