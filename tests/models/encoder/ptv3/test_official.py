"""Does the network compute what the official code computed: codes, orders, clusters and tables exactly, features of
every stage and block to 1e-4, in every variant recorded?
"""

import pytest
import torch
from torch.testing import assert_close

from factories.ptv3 import (
    arrays,
    needs_reference,
    official_input,
    official_network,
    run_recorded,
    tensors,
)
from sceneleapultra.models.network.encoder.ptv3.serialization import CURVES, encode
from sceneleapultra.models.network.encoder.ptv3.sparse_conv import convolve, find_pairs

pytestmark = needs_reference
CLOSE = {"atol": 1e-4, "rtol": 1e-4}


@pytest.mark.parametrize("depth", [10, 16])
def test_codes(depth):
    expected = arrays("serialization.npz")
    grid, batch = expected[f"d{depth}.grid_coord"].long(), expected[f"d{depth}.batch"]
    codes = encode(grid, depth, CURVES)
    for name, code in zip(CURVES, codes, strict=True):
        assert torch.equal(code, expected[f"d{depth}.{name}"])
        assert torch.equal(batch << 3 * depth | code, expected[f"d{depth}.{name}.batched"])


@pytest.mark.parametrize("depth", [2, 3])
def test_codes_of_a_cube(depth):
    expected = arrays("serialization.npz")
    codes = encode(expected["small.grid_coord"].long(), depth, CURVES)
    for name, code in zip(CURVES, codes, strict=True):
        assert torch.equal(code, expected[f"small.d{depth}.{name}"])


@pytest.mark.parametrize("kernel", [3, 5])
def test_convolution(kernel):
    data = {
        key.split(".")[1]: value for key, value in arrays("subm_conv.npz").items() if key[:2] == f"k{kernel}"
    }
    indices = data["indices"].long()
    pairs = find_pairs(indices[:, 1:], indices[:, 0], kernel)
    out = convolve(data["feat"], data["weight"], pairs)
    assert_close(out + data.get("bias", torch.zeros(())), data["out"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["tiny", "light"])
def test_every_recorded_array(name):
    network = official_network(name)
    level, features = official_input(name)
    encoded, seen = run_recorded(network, level, features)
    expected = arrays(f"{name}/outputs.npz")
    checked = set()

    def check(key, value, exact=False):
        checked.add(key)
        if exact:
            assert torch.equal(value.long(), expected[key].long()), key
        else:
            assert_close(value, expected[key], msg=lambda text: f"{key}: {text}", **CLOSE)

    check("embedding.feat", seen["embedding.stem"])
    for s, level in enumerate(encoded.levels):
        if f"enc{s}.coord" in expected:
            check(f"enc{s}.coord", level.coord)
            check(f"enc{s}.grid_coord", level.grid, exact=True)
        if s:
            check(f"enc{s}.pooling_inverse", level.cluster.index, exact=True)
            check(f"enc{s}.down.feat", seen[f"enc.enc{s}.down"])
        check(f"enc{s}.batch", level.batch, exact=True)
        check(f"enc{s}.offset", torch.tensor(level.counts).cumsum(0), exact=True)
        check(f"enc{s}.serialized_code", level.code, exact=True)
        check(f"enc{s}.serialized_order", level.order, exact=True)
        check(f"enc{s}.serialized_inverse", level.inverse, exact=True)
        check(f"enc{s}.serialized_depth", torch.tensor(level.depth), exact=True)
        check(f"enc{s}.sparse_shape", level.grid.amax(0) + 96, exact=True)
        size = min(network.architecture.patch_size[s], *level.counts)
        patches = level.patches(size)
        check(f"enc{s}.patch_size", torch.tensor(size), exact=True)
        for key in ("pad", "unpad", "cu_seqlens"):
            check(f"enc{s}.{key}", getattr(patches, key), exact=True)
        check(f"enc{s}.feat", encoded.encoder[s])
    for s in range(len(network.dec)):
        up, skip = seen[f"dec.dec{s}.up"]
        check(f"dec{s}.up.feat", up)
        if f"dec{s}.up.conv_feat" in expected:
            check(f"dec{s}.up.conv_feat", skip)
        check(f"dec{s}.patch_size", expected[f"enc{s}.patch_size"], exact=True)
    check("feat", encoded.decoder)
    # Whatever else was recorded is the output of a module, "<stage>.block<i>[.<module>].feat", or of a decoder stage.
    for key in set(expected) - checked:
        stage, _, module = key.removesuffix(".feat").partition(".")
        if not module:
            module = f"block{network.architecture.dec_depths[int(stage[3:])] - 1}"
        check(key, seen[f"{stage[:3]}.{stage}.{module}".replace(".cpe", ".cpe.2")])
    assert checked == set(expected)


@pytest.mark.parametrize("name", ["tiny", "light"])
def test_the_keys_are_the_official_ones_and_gradients_reach_all_of_them(name):
    network = official_network(name).train()
    official = tensors(f"{name}/weights.safetensors")
    assert {k: v.shape for k, v in network.state_dict().items()} == {k: v.shape for k, v in official.items()}
    network(*official_input(name)).decoder.square().sum().backward()
    for key, parameter in network.named_parameters():
        # A bias before a BatchNorm is subtracted again, so its gradient is zero but for rounding.
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), key


def test_exchanged_curves():
    expected = arrays("tiny/variants.npz")
    network = official_network("tiny")
    with torch.no_grad():
        encoded = network(*official_input("tiny"), expected["shuffled.perms"])
    for s, level in enumerate(encoded.levels):
        assert torch.equal(level.code, expected[f"shuffled.enc{s}.serialized_code"])
        assert torch.equal(level.grid, expected[f"shuffled.enc{s}.grid_coord"].long())
        assert_close(level.coord, expected[f"shuffled.enc{s}.coord"], **CLOSE)
        assert_close(encoded.encoder[s], expected[f"shuffled.enc{s}.feat"], **CLOSE)
    assert_close(encoded.decoder, expected["shuffled.feat"], **CLOSE)


@pytest.mark.parametrize("cloud", [0, 1])
def test_one_cloud_alone(cloud):
    expected = arrays("tiny/variants.npz")
    level, features = official_input("tiny", cloud)
    assert level.depth == expected[f"single{cloud}.serialized_depth"]
    with torch.no_grad():
        assert_close(
            official_network("tiny")(level, features).decoder, expected[f"single{cloud}.feat"], **CLOSE
        )


def test_convolution_of_the_sum_after_unpooling():
    expected = arrays("tiny/variants.npz")
    network = official_network("tiny", unpool_convolution="sum")
    encoded, seen = run_recorded(network, *official_input("tiny"))
    assert_close(seen["dec.dec1.block0"], expected["unpool_refreshed.dec1.feat"], **CLOSE)
    assert_close(encoded.decoder, expected["unpool_refreshed.feat"], **CLOSE)


def test_relative_bias():
    expected = arrays("tiny/outputs_rpe.npz")
    network = official_network("tiny", extra="rpe_tables.safetensors", relative_bias=True)
    encoded, seen = run_recorded(network, *official_input("tiny"))
    assert_close(seen["enc.enc0.block0"], expected["enc0.block0.feat"], **CLOSE)
    for s, features in enumerate(encoded.encoder):
        assert_close(features, expected[f"enc{s}.feat"], **CLOSE)
    assert_close(seen["dec.dec1.block0"], expected["dec1.feat"], **CLOSE)
    assert_close(encoded.decoder, expected["feat"], **CLOSE)


def test_patches_of_each_cloud_on_its_own():
    expected = arrays("light/variants.npz")
    network = official_network("light", patch_rule="cloud")
    encoded, seen = run_recorded(network, *official_input("light"))
    patches = encoded.levels[4].patches(network.architecture.patch_size[4])
    for key in ("pad", "unpad", "cu_seqlens"):
        assert torch.equal(getattr(patches, key).long(), expected[f"varlen.enc4.{key}"].long())
    assert_close(encoded.encoder[4], expected["varlen.enc4.feat"], **CLOSE)
    assert_close(seen["dec.dec3.block0"], expected["varlen.dec3.feat"], **CLOSE)
    assert_close(encoded.decoder, expected["varlen.feat"], **CLOSE)
    assert (
        encoded.decoder - arrays("light/outputs.npz")["feat"]
    ).abs().max() > 0.01  # the other rule differs
