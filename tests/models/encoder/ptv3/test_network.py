"""What the network keeps: clouds apart, points in any order, the same result when a stage is recomputed, and draws that
depend on the cloud alone.
"""

import pytest
import torch
from torch.testing import assert_close

from factories.ptv3 import SMALL, level_of, small_network, surface
from sceneleapultra.models.network.encoder.ptv3 import hashed_random
from sceneleapultra.models.network.encoder.ptv3.architecture import Architecture

CLOUDS = [surface(150, 0), surface(40, 1), surface(90, 2)]


def features_of(level) -> torch.Tensor:
    """Features that depend on the place only, so that they follow the points."""
    return torch.sin(level.coord @ torch.randn(3, 4, generator=torch.Generator().manual_seed(1)) * 20)


def run(network, clouds, **changes):
    level = level_of(clouds, SMALL["order"], **changes)
    return network(level, features_of(level)).decoder


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("changes", [{}, {"stem": "linear", "layer_scale": 0.5}, {"relative_bias": True}])
def test_a_cloud_does_not_depend_on_its_batch_mates(changes, train):
    network = small_network(**changes, drop_path=0.3, shuffle="training").train(train)
    together = run(network, CLOUDS).split([150, 40, 90])
    for alone, cloud in zip(together, CLOUDS, strict=True):
        assert_close(run(network, [cloud]), alone, atol=1e-5, rtol=1e-4)


def test_the_official_rules_do_not_keep_clouds_apart():
    """Otherwise the test above could not fail: patches of the smallest cloud, depth of the largest."""
    network = small_network(patch_rule="smallest_cloud").eval()
    level = level_of([*CLOUDS, surface(9, 3)])
    assert (network(level, features_of(level)).decoder[:150] - run(network, CLOUDS[:1])).abs().max() > 1e-3
    # Depth 7 becomes 11; three levels more would only turn the curve about the diagonal into itself.
    far = torch.cat([CLOUDS[1], torch.tensor([[2000, 0, 0]])])
    network = small_network().eval()
    together = run(network, [CLOUDS[0], far], depth=None)[:150]
    assert (together - run(network, [CLOUDS[0]], depth=None)).abs().max() > 1e-3


@pytest.mark.parametrize("train", [False, True])
def test_order_of_the_points_does_not_matter(train):
    network = small_network(drop_path=0.3, shuffle="training").train(train)
    order = torch.randperm(150)
    out = run(network, CLOUDS[:1])
    assert_close(run(network, [CLOUDS[0][order]]), out[order], atol=1e-5, rtol=1e-4)


def test_evaluation_is_the_same_every_time_and_training_follows_the_cloud():
    network = small_network(drop_path=0.5, shuffle="training")
    level = level_of(CLOUDS[:1])
    x, moved = features_of(level), level_of([CLOUDS[0] + torch.tensor([1, 0, 0])])
    network.eval()
    assert torch.equal(network(level, x).decoder, network(level, x).decoder)
    still = network(level, x).decoder
    network.train()
    one, two = network(level, x).decoder, network(level, x).decoder
    assert torch.equal(one, two)
    assert not torch.allclose(one, still, atol=1e-3)
    assert not torch.allclose(network(moved, x).decoder, one, atol=1e-3)


def test_shuffling_in_training_changes_the_curves_and_always_does_so_in_evaluation():
    level = level_of(CLOUDS)
    x = features_of(level)
    networks = {kind: small_network(shuffle=kind) for kind in ("never", "training", "always")}
    evaluated = {kind: network.eval()(level, x).decoder for kind, network in networks.items()}
    assert torch.equal(evaluated["never"], evaluated["training"])
    assert (evaluated["always"] - evaluated["never"]).abs().max() > 1e-3
    assert torch.equal(networks["training"].train()(level, x).decoder, evaluated["always"])


@pytest.mark.parametrize("drop", [0.1, 0.4])
def test_points_drop_at_the_asked_rate_independently(drop):
    keys = hashed_random.point_keys(
        torch.tensor([3, 4]), torch.arange(2).repeat_interleave(5000), surface(10_000, side=128)
    )
    kept = torch.stack([hashed_random.uniform(keys, salt) >= drop for salt in range(4)]).float()
    # Standard error of a rate over 10000 points is at most 0.005.
    assert ((1 - kept.mean(1)) - drop).abs().max() < 0.02
    assert (torch.corrcoef(kept) - torch.eye(4)).abs().max() < 0.05
    assert (torch.corrcoef(kept.view(8, 5000)) - torch.eye(8)).abs().max() < 0.06


def test_dropped_branches_are_scaled_so_that_the_mean_stays():
    network = small_network(enc_depths=(0, 1, 0), dec_depths=(), dec_channels=(), dec_heads=(), drop_path=0.0)
    block = network.enc["enc1"].block0.train()
    block.drop = 0.25
    level = level_of([surface(3000, 0, side=96)])
    kept = block._kept(torch.ones(3000, 5), level, 0)
    assert set(kept.unique().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert abs(kept.mean().item() - 1.0) < 0.05
    assert torch.equal(kept, kept[:, :1].expand(-1, 5))


def test_the_rate_of_dropping_rises_to_the_last_block():
    network = small_network(
        drop_path=0.3, enc_depths=(1, 2, 1), dec_depths=(2, 2), dec_channels=(8, 12), dec_heads=(2, 2)
    )
    rates = {
        name: m.drop for name, m in network.named_modules() if name.rpartition(".")[2].startswith("block")
    }
    # Four encoder blocks: 0, .1, .2, .3. Four decoder blocks: the same from fine to coarse, reversed in a level.
    expected = {
        "enc.enc0.block0": 0.0,
        "enc.enc1.block0": 0.1,
        "enc.enc1.block1": 0.2,
        "enc.enc2.block0": 0.3,
    }
    expected |= {
        "dec.dec1.block0": 0.3,
        "dec.dec1.block1": 0.2,
        "dec.dec0.block0": 0.1,
        "dec.dec0.block1": 0.0,
    }
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize("changes", [{}, {"dec_depths": (), "dec_channels": (), "dec_heads": ()}])
def test_recomputing_stages_gives_the_same_gradients_with_less_kept(changes):
    gradients, kept = [], []
    for checkpointing in (False, True):
        network = small_network(
            checkpointing=checkpointing, drop_path=0.3, shuffle="training", **changes
        ).train()
        level, count = level_of(CLOUDS), 0

        def keep(tensor):
            nonlocal count
            count += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            encoded = network(level, features_of(level))
            out = encoded.encoder[-1] if encoded.decoder is None else encoded.decoder
        out.square().sum().backward()
        gradients.append({name: p.grad for name, p in network.named_parameters()})
        kept.append(count)
    assert kept[1] < 0.5 * kept[0]
    for name, gradient in gradients[0].items():
        assert_close(gradients[1][name], gradient, atol=1e-5, rtol=1e-4)


def test_layer_norm_needs_no_batch_and_batch_norm_is_the_official_one():
    layer = small_network()
    assert not [name for name, _ in layer.named_buffers()]
    batch = small_network(norm="batch")
    assert batch.embedding["stem"].norm.eps == 1e-3 and batch.embedding["stem"].norm.momentum == 0.01
    assert layer.enc["enc1"].down.norm[0].eps == 1e-5


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"order": ("z", "hilbrt")}, "Unknown order 'hilbrt'. Did you mean 'hilbert'?"),
        ({"order": ()}, "order: expected at least one curve"),
        (
            {"stride": (2,)},
            r"stride=\(2,\): expected 2 values, because enc_depths=\(1, 2, 1\) names 3 levels",
        ),
        ({"stride": (2, 3)}, r"stride=\(2, 3\): expected powers of two"),
        ({"enc_channels": (8, 12)}, r"enc_channels=\(8, 12\): expected 3 values"),
        ({"dec_depths": (1,)}, r"dec_depths=\(1,\): expected 2 values"),
        ({"dec_depths": ()}, r"dec_channels=\(8, 12\): expected 0 values"),
        ({"enc_heads": (2, 5, 4)}, "but 5 does not divide 12 at level 1"),
        ({"patch_size": (16, 0, 16)}, r"patch_size=\(16, 0, 16\): expected at least 1 point"),
        ({"drop_path": 1.0}, "drop_path=1.0: expected 0 <= drop_path < 1"),
        (
            {"relative_bias": True, "attention": "varlen"},
            "relative_bias=true cannot be computed by attention=varlen",
        ),
    ],
)
def test_impossible_architectures_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        Architecture(**{**SMALL, **changes})


def test_spconv_where_it_is_not_installed_says_what_to_do():
    from importlib.util import find_spec

    if find_spec("spconv"):
        pytest.skip("spconv is installed here")
    with pytest.raises(ValueError, match="needs the package spconv, which is not installed"):
        small_network(convolution="spconv")


@pytest.mark.filterwarnings("ignore")
def test_spconv_gives_the_same():
    pytest.importorskip("spconv", reason="needs the optional package spconv")
    ours, theirs = small_network(), small_network(convolution="spconv")
    theirs.load_state_dict(ours.state_dict(), strict=True)
    level = level_of(CLOUDS)
    x = features_of(level)
    # In evaluation spconv fuses the bias, which its CPU build cannot; its backward pass needs CUDA.
    with torch.no_grad():
        out = theirs.train()(level, x).decoder
        assert_close(out, ours.train()(level, x).decoder, atol=1e-4, rtol=1e-4)
