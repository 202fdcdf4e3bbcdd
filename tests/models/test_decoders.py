"""What every decoder must be: equivariant over the set, any number of grasps, one graph; and what it refuses."""

import copy
import importlib.util

import pytest
import torch
from torch.testing import assert_close

from factories.models import draw_anchors, scene_batch, small_decoder, small_generator
from sceneleapultra.models.network.decoder.attention import (
    Attended,
    AttendedScene,
    GeometricCrossAttention,
    PromptAttention,
    SetAttention,
    hidden_tokens,
    scene_keys_values,
    with_sets_in_channels,
)
from sceneleapultra.models.network.decoder.dit import DiTConfig
from sceneleapultra.models.network.decoder.unet import UNetConfig
from sceneleapultra.models.network.tokens import Cloud

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
kinds = pytest.mark.parametrize("kind", [DiTConfig, UNetConfig], ids=["dit", "unet"])


class NoisedSet:
    """A small model, a scene, and a random noised set to denoise."""

    def __init__(self, kind, num_grasps: int, **changes) -> None:
        self.generator = small_generator(decoder=small_decoder(kind, **changes))
        self.scene = self.generator.encode(Cloud.of(scene_batch()))
        self.index = draw_anchors(self.scene, num_grasps)
        self.x_t = torch.randn(3, num_grasps, self.generator.codec.layout.dim)
        self.t = torch.tensor([0.2, 0.5, 0.9])

    def __call__(self, rows, set_id=None):
        index = self.index[:, rows]
        set_id = torch.zeros_like(index) if set_id is None else set_id.expand_as(index)
        anchored = self.generator.anchor(self.scene, index, set_id)
        return self.generator.denoise(self.x_t[:, rows], self.generator.noise_level(self.t), anchored)


@kinds
def test_order_of_grasps_is_order_of_predictions(kind):
    noised, order = NoisedSet(kind, 7), torch.randperm(7)
    out = noised(torch.arange(7))
    assert_close(noised(order), out[:, order], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(noised(torch.arange(3)), out[:, :3], atol=1e-4), "the set must matter"


@kinds
def test_independent_mode_ignores_the_rest_of_the_set(kind):
    noised = NoisedSet(kind, 7, set_attention=False)
    assert_close(noised(torch.arange(2)), noised(torch.arange(7))[:, :2], atol=1e-5, rtol=1e-5)


@kinds
def test_sets_of_different_number_and_padding_are_not_seen(kind):
    noised = NoisedSet(kind, 8)
    out = noised(torch.arange(8), torch.tensor([0, 0, 0, 1, 1, -1, -1, -1]))
    assert out.isfinite().all()
    assert_close(out[:, :3], noised(torch.arange(3)), atol=1e-5, rtol=1e-5)
    assert_close(out[:, 3:5], noised(torch.tensor([3, 4])), atol=1e-5, rtol=1e-5)


@kinds
def test_one_grasp_and_a_thousand(kind):
    noised = NoisedSet(kind, 1000)
    with torch.no_grad():
        assert noised(torch.arange(1)).shape == (3, 1, 41)
        out = noised(torch.arange(1000))
    assert out.shape == (3, 1000, 41) and out.isfinite().all()


@kinds
def test_recomputing_blocks_changes_no_gradient(kind):
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(1)
        noised = NoisedSet(kind, 5, checkpointing=checkpointing)
        noised.generator.train()
        noised(torch.arange(5)).square().sum().backward()
        gradients.append([p.grad for p in noised.generator.decoder.parameters()])
    for one, two in zip(*gradients, strict=True):
        assert_close(one, two, atol=1e-6, rtol=1e-5)


@kinds
def test_time_and_anchor_reach_every_grasp(kind):
    noised = NoisedSet(kind, 4)
    out = noised(torch.arange(4))
    noised.t = noised.t + 0.05
    assert ((noised(torch.arange(4)) - out).abs().amax(-1) > 1e-4).all()
    noised.t, noised.index = noised.t - 0.05, noised.index.roll(1, dims=1)
    assert not torch.allclose(noised(torch.arange(4)), out, atol=1e-4)


@pytest.mark.slow
@kinds
@pytest.mark.traced
def test_denoise_traces_without_leaving_the_graph(kind):
    """No host synchronisation, no data-dependent Python: one graph, or dynamo raises."""
    noised = NoisedSet(kind, 4)
    set_id = torch.zeros_like(noised.index)
    anchored = noised.generator.anchor(noised.scene, noised.index, set_id)

    def denoise(x_t, t):
        return noised.generator.denoise(x_t, noised.generator.noise_level(t), anchored)

    compiled = torch.compile(denoise, backend="eager", fullgraph=True)
    assert_close(compiled(noised.x_t, noised.t), denoise(noised.x_t, noised.t), atol=1e-6, rtol=1e-6)
    encode = torch.compile(noised.generator.encode, backend="eager", fullgraph=True)
    again = encode(Cloud.of(scene_batch()))
    assert_close(again.outputs["anchors"], noised.scene.outputs["anchors"], atol=1e-6, rtol=1e-6)


def test_geometric_attention_is_attention_with_keys_and_values_per_pair():
    """Against the plain form: logits and values that do depend on both grasp and token, written as loops."""
    b, g, s, p, d, h = 2, 3, 5, 4, 8, 2
    layer = GeometricCrossAttention(dim=d, dim_scene=6, dim_geometry=p, heads=h)
    x, features, geometry = torch.randn(b, g, d), torch.randn(b, s, 6), torch.randn(b, g, s, p)
    valid = torch.tensor([[True] * 5, [True, True, False, True, False]])
    for norm in (layer.query_norm, layer.key_norm):
        torch.nn.init.uniform_(norm.weight, 0.5, 2.0)
    ((keys, values),) = scene_keys_values([layer], features)
    bias = layer.value_geometry.bias.view(h, -1)  # is in the values already
    normed = layer.key_norm(layer.key_value(features)[..., :d].view(b, s, h, d // h)).transpose(1, 2)
    out = torch.zeros(b, g, d)
    q = layer.query_norm(layer.query(x).view(b, g, h, d // h))
    e = layer.query_geometry(x).view(b, g, h, p)
    for i in range(b):
        for j in range(g):
            content, place = [], []
            for k in range(h):
                logits = [
                    q[i, j, k] @ normed[i, k, m] / (d // h) ** 0.5 + e[i, j, k] @ geometry[i, j, m] / p**0.5
                    for m in range(s)
                    if valid[i, m]
                ]
                weight = torch.stack(logits).softmax(0)
                content.append(weight @ (values[i, k, valid[i]] - bias[k]))
                place.append(weight @ geometry[i, j, valid[i]])
            out[i, j] = layer.out(torch.cat(content) + layer.value_geometry(torch.cat(place)))
    scene = AttendedScene(keys.flatten(0, 1), values.flatten(0, 1), hidden_tokens(valid, h))
    assert_close(layer(x, scene, geometry.flatten(0, 1)), out)


def test_prompt_attention_ignores_padding():
    layer = PromptAttention(dim=8, dim_prompt=6, heads=2)
    x, tokens = torch.randn(2, 3, 8), torch.randn(2, 4, 6)
    padded = torch.cat([tokens, torch.full((2, 2, 6), 9.0)], dim=1)
    valid = torch.arange(6).expand(2, 6) < 4
    short = layer(x, Attended(*layer.keys_values(tokens), torch.ones(2, 4, dtype=torch.bool)))
    assert_close(layer(x, Attended(*layer.keys_values(padded), valid)), short)


@pytest.mark.parametrize(
    "sets", [[[0] * 4 + [1] * 5, [0] * 6 + [-1] * 3], [[*range(9)], [*range(1000, 1009)]]], ids=["few", "own"]
)
def test_sets_in_channels_act_like_a_mask(sets: list[list[int]]):
    """What flash-attn is given instead of a mask, computed with plain attention."""
    q, k, v = (torch.randn(2, 9, 2, 8, dtype=torch.float64) for _ in range(3))
    set_id = torch.tensor(sets)
    wide_q, wide_k = with_sets_in_channels(q, k, set_id)
    logits = torch.einsum("bghe,bkhe->bhgk", wide_q, wide_k) * 8**-0.5
    out = torch.einsum("bhgk,bkhe->bghe", logits.softmax(-1), v)
    same = (set_id[:, :, None] == set_id[:, None, :])[:, None]
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=same).transpose(1, 2)
    assert_close(out, expected)


@pytest.mark.skipif(
    importlib.util.find_spec("flash_attn") is None or not torch.cuda.is_available(),
    reason="needs the package flash-attn and a CUDA device",
)
def test_flash_attention_equals_sdpa():
    torch.manual_seed(0)
    plain = SetAttention(dim=64, heads=4, attention="sdpa").cuda().bfloat16()
    flash = SetAttention(dim=64, heads=4, attention="flash_attn").cuda().bfloat16()
    flash.load_state_dict(plain.state_dict())
    x = torch.randn(2, 33, 64, device="cuda", dtype=torch.bfloat16)
    set_id = (torch.arange(33, device="cuda") > 20).long().expand(2, 33)
    assert_close(flash(x, set_id), plain(x, set_id), atol=2e-2, rtol=2e-2)


@pytest.mark.untyped
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"attention": "flash_atn"}, "Did you mean 'flash_attn'"),
        ({"depth": 0}, "model.generator.decoder.depth: expected at least 1, got 0."),
        ({"mlp_ratio": 0.01}, "model.generator.decoder.mlp_ratio: expected a width of at least 1, got 0.01."),
        ({"dim_time": 0}, "model.generator.decoder.dim_time: expected a width of at least 1, got 0."),
        ({"dim": 33}, "model.generator.decoder.dim=33 must be even and divisible by heads=2."),
        ({"dim": 30, "heads": 4}, "model.generator.decoder.dim=30 must be even and divisible by heads=4."),
    ],
)
def test_sizes_that_cannot_be_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        small_decoder(**changes)


@pytest.mark.skipif(importlib.util.find_spec("flash_attn") is not None, reason="flash-attn is installed")
def test_attention_that_is_not_installed_is_refused():
    with pytest.raises(ValueError, match=r"attention=flash_attn needs the package flash-attn"):
        small_decoder(attention="flash_attn")


@pytest.mark.slow
@pytest.mark.traced
def test_compiled_denoiser_equals_eager_and_keeps_its_names():
    """compile=true runs the same weights under the same names; a copy runs its own."""
    eager, compiled = small_generator(), small_generator(compile=True)
    compiled.load_state_dict(eager.state_dict())
    assert not any("_orig_mod" in name for name in compiled.state_dict())
    batch, seeds = scene_batch(), [1, 2, 3]
    expected = eager.sample(batch, 5, seeds=seeds)
    assert_close(compiled.sample(batch, 5, seeds=seeds).hand_pose, expected.hand_pose, atol=1e-4, rtol=1e-4)
    assert_close(
        compiled.sample(batch, 9, seeds=seeds).hand_pose,
        eager.sample(batch, 9, seeds=seeds).hand_pose,
        atol=1e-4,
        rtol=1e-4,
    )
    average = copy.deepcopy(compiled)
    with torch.no_grad():
        average.decoder.out.bias += 1.0
    assert_close(compiled.sample(batch, 5, seeds=seeds).hand_pose, expected.hand_pose, atol=1e-4, rtol=1e-4)
    moved = average.sample(batch, 5, seeds=seeds).hand_pose
    assert not torch.allclose(moved, expected.hand_pose, atol=1e-2)
