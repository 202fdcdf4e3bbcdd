"""Who attends to whom: runs of K points, the last of a cloud its last K points, no cloud another's."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from factories.ptv3 import SMALL, expected_keys, level_of, surface
from sceneleapultra.models.network.encoder.ptv3.attention import PatchAttention
from sceneleapultra.models.network.encoder.ptv3.level import serialize
from sceneleapultra.models.network.encoder.ptv3.patches import lay_out

CPU = torch.device("cpu")


@pytest.mark.parametrize("rule", ["cloud", "smallest_cloud"])
def test_an_empty_cloud_takes_no_part(rule):
    attention = PatchAttention(8, 2, patch_size=12, patch_rule=rule, relative_bias=False, backend="sdpa")
    x, grids = torch.randn(60, 8), [surface(40, 0), surface(20, 1)]
    alone = attention(x, level_of(grids), 0)
    batch = torch.tensor([0, 2]).repeat_interleave(torch.tensor([40, 20]))
    level = serialize(
        torch.cat(grids).float(), torch.cat(grids), batch, num_clouds=4, depth=8, curves=SMALL["order"]
    )
    assert level.counts == (40, 0, 20, 0)
    assert_close(attention(x, level, 0), alone, atol=1e-6, rtol=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(sum), st.integers(1, 16))
def test_both_layouts_follow_the_definition(counts, size):
    counts = tuple(counts)
    patches, expected = lay_out(counts, size, CPU), expected_keys(counts, size)
    ends = patches.cu_seqlens.tolist()
    segment = torch.arange(len(ends) - 1).repeat_interleave(patches.cu_seqlens.diff().long())
    assert ends[-1] == len(patches.pad) and patches.cu_seqlens.diff().max() <= patches.longest
    groups, begin = [], 0
    for group in patches.groups:
        shape = (group.num_patches, group.width)
        rows = torch.arange(begin, begin + group.num_patches * group.width).view(shape)
        valid = torch.ones(shape, dtype=torch.bool) if group.key_valid is None else group.key_valid
        groups += [(set(row.tolist()), set(row[ok].tolist())) for row, ok in zip(rows, valid, strict=True)]
        begin += rows.numel()
    assert begin == len(patches.dense)
    for position, keys in enumerate(expected):
        row = patches.unpad[position]
        assert patches.pad[row] == position
        mine = (segment == segment[row]).nonzero().squeeze(1)
        assert set(patches.pad[mine].tolist()) == keys and len(mine) == len(keys)
        home = int(patches.home[position])
        assert patches.dense[home] == position
        (valid_rows,) = [valid for every, valid in groups if home in every]
        assert home in valid_rows
        assert {int(patches.dense[r]) for r in valid_rows} == keys and len(valid_rows) == len(keys)


@pytest.mark.parametrize("relative_bias", [False, True])
@pytest.mark.parametrize("rule", ["cloud", "smallest_cloud"])
def test_attention_is_the_softmax_over_those_keys(relative_bias, rule):
    level = level_of([surface(37, 0), surface(9, 1), surface(12, 2)])
    torch.manual_seed(0)
    attention = PatchAttention(
        8, 2, patch_size=12, patch_rule=rule, relative_bias=relative_bias, backend="sdpa"
    )
    if relative_bias:
        torch.nn.init.normal_(attention.rpe.rpe_table)
        assert len(attention.rpe.rpe_table) == 3 * 15  # int((4 * 12) ** (1 / 3) * 2) = int(7.27) = 7
    x = torch.randn(58, 8)
    size = 12 if rule == "cloud" else 9
    q, k, v = attention.qkv(x).view(58, 3, 2, 4).unbind(1)
    for curve in (0, 1):
        out, order = torch.empty(58, 2, 4), level.order[curve]
        for position, keys in enumerate(expected_keys(level.counts, size)):
            query, keys = order[position], order[sorted(keys)]
            logits = torch.einsum("hd,khd->hk", q[query], k[keys]) / 2.0  # sqrt(4)
            if relative_bias:
                offset = (level.grid[query] - level.grid[keys]).clamp(-7, 7) + 7
                bias = sum(attention.rpe.rpe_table[15 * axis + offset[:, axis]] for axis in range(3))
                logits = logits + bias.T
            out[query] = torch.einsum("hk,khd->hd", logits.softmax(-1), v[keys])
        assert_close(attention(x, level, curve), attention.proj(out.flatten(1)), atol=1e-5, rtol=1e-5)


def test_gradients_reach_borrowed_points_too():
    level = level_of([surface(14, 0), surface(5, 1)])
    attention = PatchAttention(4, 2, patch_size=6, patch_rule="cloud", relative_bias=False, backend="sdpa")
    x = torch.randn(19, 4, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: attention.double()(x, level, 1), (x,))


def test_varlen_on_a_cpu_says_what_to_use():
    attention = PatchAttention(8, 2, patch_size=12, patch_rule="cloud", relative_bias=False, backend="varlen")
    with pytest.raises(
        ValueError, match=r"needs a CUDA device, but the cloud is on cpu\. Use attention=sdpa"
    ):
        attention(torch.randn(20, 8), level_of([surface(20)]), 0)


@pytest.mark.gpu
def test_varlen_equals_sdpa_but_for_half_precision():
    from dataclasses import replace

    cpu = level_of([surface(300, 0), surface(9, 1), surface(64, 2)])
    moved = {
        name: getattr(cpu, name).cuda() for name in ("coord", "grid", "batch", "code", "order", "inverse")
    }
    level = replace(cpu, **moved, _tables={})
    torch.manual_seed(0)
    dense = PatchAttention(
        32, 2, patch_size=64, patch_rule="cloud", relative_bias=False, backend="sdpa"
    ).cuda()
    packed = PatchAttention(
        32, 2, patch_size=64, patch_rule="cloud", relative_bias=False, backend="varlen"
    ).cuda()
    packed.load_state_dict(dense.state_dict())
    x = torch.randn(373, 32, device="cuda")
    assert_close(packed(x, level, 0), dense(x, level, 0), atol=2e-2, rtol=2e-2)
