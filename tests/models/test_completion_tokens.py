"""Are a completion's tokens where the scene is, and is a model that reads them, at first, the model without?"""

from dataclasses import replace

import pytest
import torch

from factories.models import (
    draw_anchors,
    losses_of,
    scene_batch,
    set_statistics_from,
    small_decoder,
    small_generator,
    small_module,
)
from factories.shipped import LEAP_TABLE_CPU
from sceneleapultra.models.checkpoints.init import start_from
from sceneleapultra.models.checkpoints.load import build_generator, load_generator
from sceneleapultra.models.completion.completer import SceneCompleter
from sceneleapultra.models.completion.tokens import FrozenCompletion
from sceneleapultra.models.export.onnx import check_exportable
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.network.decoder.base import DecoderConfig
from sceneleapultra.models.network.decoder.dit import DiTConfig
from sceneleapultra.models.network.decoder.unet import UNetConfig
from sceneleapultra.models.network.tokens import Cloud
from sceneleapultra.utils.core.config import build
from sceneleapultra.utils.geometry.voxels.observe import CHANNELS
from sceneleapultra.utils.geometry.voxels.settings import VoxelSettings

VOXELS = VoxelSettings(size=16, voxel_m=(0.014,), extent_m=(), reach_m=0.03)
ADDED = ("completion.", "completion_attn")


def completion(number: int = 12) -> FrozenCompletion:
    torch.manual_seed(1)
    return FrozenCompletion(
        weights=None,
        number=number,
        completer=SceneCompleter(dim=8, reach_m=VOXELS.reach_m),
        voxels=VOXELS.plain,
    )


def with_and_without(kind: type[DecoderConfig] = DiTConfig) -> tuple[GraspGenerator, GraspGenerator]:
    """The same weights, and those of what a completion adds as they are drawn: its attention's outputs are zero."""
    plain = small_generator(decoder=small_decoder(kind))
    torch.manual_seed(0)
    more = small_generator(decoder=small_decoder(kind), completion=completion())
    own = {name: p for name, p in plain.named_parameters()}
    with torch.no_grad():
        for name, parameter in more.named_parameters():
            if name in own:
                parameter.copy_(own[name])
            elif ".completion_attn.out." in name:
                parameter.zero_()
    return plain, more


def denoised(generator: GraspGenerator) -> torch.Tensor:
    cloud = Cloud.of(scene_batch())
    scene = generator.encode(cloud)
    index = draw_anchors(scene, 5)
    torch.manual_seed(2)
    x_t = torch.randn(3, 5, generator.codec.layout.dim)
    return generator.predict_x0(
        x_t, torch.tensor([0.2, 0.5, 0.9]), generator.anchor(scene, index, torch.zeros_like(index))
    )


@pytest.mark.parametrize("kind", [DiTConfig, UNetConfig])
def test_a_model_with_tokens_starts_as_the_model_without(kind: type[DecoderConfig]) -> None:
    """And reads them as soon as the attention's output is something."""
    plain, more = with_and_without(kind)
    with torch.no_grad():
        before, after = denoised(plain), denoised(more)
        assert torch.equal(before, after)
        for block in more.decoder.blocks:
            torch.nn.init.normal_(block.completion_attn.out.weight, std=0.5)
        assert not torch.allclose(before, denoised(more))


def test_gradients_reach_the_attention_and_not_the_completion() -> None:
    _, more = with_and_without()
    module = small_module(more)
    batch = scene_batch()
    set_statistics_from(module, batch)
    sum(losses_of(module, batch).values()).backward()
    for block in more.decoder.blocks:
        assert block.completion_attn.out.weight.grad.abs().sum() > 0.0
        assert block.completion_attn.key_value.weight.grad is not None
    assert not any(p.requires_grad or p.grad is not None for p in more.completion.parameters())


def test_tokens_turn_with_the_scene_and_tell_what_is_seen_of_it() -> None:
    """A cloud that is turned and moved with its camera has the same features, elsewhere."""
    cloud, encoder = Cloud.of(scene_batch()), completion()
    tokens = encoder(cloud)
    assert tokens.xyz.shape == (3, 12, 3) and tokens.valid[:, 0].all() and tokens.target.any()
    seen = tokens.features[..., -len(CHANNELS) :]
    share = seen[..., [CHANNELS.index(n) for n in ("target_seen", "hidden_by_target")]].sum(-1)
    assert torch.equal(tokens.target, share > 0.0)
    middle = (cloud.points * cloud.target[..., None]).sum(1) / cloud.target.sum(1, keepdim=True)
    assert (tokens.xyz[:, 0] - middle).norm(dim=-1).max() < 0.1, "most is seen or hidden near the target"
    towards = cloud.viewpoint - middle
    towards[:, 2] = 0.0
    cosine = torch.nn.functional.cosine_similarity(tokens.frames[:, 0, :, 2], towards)
    assert (cosine > 0.98).all() and torch.linalg.det(tokens.frames).sub(1.0).abs().max() < 1e-5
    R = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # the middle of a box stays one
    shift = torch.tensor([0.25, -0.5, 0.125])
    turned = encoder(
        replace(cloud, points=cloud.points @ R.T + shift, viewpoint=cloud.viewpoint @ R.T + shift)
    )
    torch.testing.assert_close(turned.features, tokens.features, atol=1e-3, rtol=0.0)
    torch.testing.assert_close(turned.xyz, tokens.xyz @ R.T + shift, atol=1e-5, rtol=0.0)
    torch.testing.assert_close(turned.frames, R @ tokens.frames, atol=1e-5, rtol=0.0)


def test_a_generator_is_built_again_from_its_own_description() -> None:
    """Nothing but the plain configuration and the weights is needed."""
    encoder = completion()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.1)
    again = build(encoder.described)
    again.load_state_dict(encoder.state_dict())
    cloud = Cloud.of(scene_batch())
    for mine, theirs in zip(vars(again(cloud)).values(), vars(encoder(cloud)).values(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0.0, atol=0.0)


def test_a_trained_model_goes_on_with_tokens_as_it_was() -> None:
    """``init_from`` takes its weights; what a completion adds keeps its own, and changes nothing yet."""
    trained, _ = load_generator(LEAP_TABLE_CPU)
    assert trained.config is not None
    more = build_generator({**trained.config, "completion": completion().described}).eval()
    own = more.completion.state_dict()
    start_from(more, LEAP_TABLE_CPU, frame="tabletop")
    assert all(torch.equal(value, own[key]) for key, value in more.completion.state_dict().items())
    batch = scene_batch(1, num_points=512)
    with torch.no_grad():
        before, after = (g.sample(batch, 2, seeds=[0], sampling={"steps": 2}) for g in (trained, more))
    assert torch.equal(before.hand_pose, after.hand_pose)


def test_what_cannot_be_is_refused() -> None:
    cloud, encoder = Cloud.of(scene_batch()), completion()
    with pytest.raises(ValueError, match=r"needs the rays of a camera.*model/generator/completion=none"):
        encoder(replace(cloud, viewpoint=torch.zeros_like(cloud.viewpoint)))
    with pytest.raises(
        ValueError, match=r"completion\.weights: expected a checkpoint.*experiment=completion"
    ):
        FrozenCompletion(weights=None, number=4, completer=None, voxels=None)
    with pytest.raises(ValueError, match=r"condition_dropout\.scene=0\.1 leaves out"):
        small_generator(completion=encoder, condition_dropout={"scene": 0.1, "color": 0.0})
    with pytest.raises(ValueError, match=r"model\.generator\.completion: voxels .* no form in ONNX"):
        check_exportable(small_generator(completion=encoder))
