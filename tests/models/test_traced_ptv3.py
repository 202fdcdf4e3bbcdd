"""Is the Point Transformer V3 that is traced the one that was trained, and does its graph take any clouds?"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.double import double_precision, in_double
from benchmarks.export_parity import difference, doubled, run_torch, scene
from factories.models import SMALL_PTV3, small_generator
from factories.ptv3 import expected_keys, surface
from sceneleapultra.models.bundle.parts import RUNTIME
from sceneleapultra.models.export.graphs import EncoderGraph
from sceneleapultra.models.export.ptv3 import (
    TracedPTv3,
    float_bits,
    neighbor_table,
    padded_patches,
    traceable,
)
from sceneleapultra.models.network.encoder.ptv3 import Architecture, PTv3
from sceneleapultra.models.network.encoder.ptv3.hashed_random import bits
from sceneleapultra.models.network.encoder.ptv3.sparse_conv import find_pairs
from sceneleapultra.models.network.tokens import Cloud
from sceneleapultra.utils.geometry.cloud import PreparedCloud

# Between them, every option that means something in evaluation.
OPTIONS = {
    "decoder": ({"unpool_convolution": "skip", "patch_size": (5, 1, 16)}, ("normal", "target")),
    "no decoder": (
        {
            "order": ("z", "z-trans", "hilbert", "hilbert-trans"),
            "dec_depths": (),
            "dec_channels": (),
            "dec_heads": (),
            "stem": "linear",
            "norm": "batch",
            "layer_scale": 0.5,
            "relative_bias": True,
            "shuffle": "always",
            "patch_rule": "smallest_cloud",
        },
        ("color", "xyz"),
    ),
}


def encoder(changes: dict, inputs: tuple) -> PTv3:
    torch.manual_seed(0)
    made = PTv3(
        num_tokens=24,
        dim=32,
        inputs=inputs,
        grid_size=0.004,
        depth=10,
        position_scale=0.1,
        frame_neighbors=8,
        frame_radius=0.03,
        architecture=Architecture(**{**SMALL_PTV3, **changes}),
        weights=None,
    )
    for weights in made.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    return made.eval()


def clouds(made: PTv3, b: int, n: int) -> dict[str, torch.Tensor]:
    """Of which one lacks points, one is empty and one has a single point."""
    cloud = scene(b, n, seed=n)
    cloud["valid"][0, n // 2 :] = False
    cloud["valid"][1:2] = False
    cloud["valid"][2:3, 1:] = False
    return cloud if made.use_color else {name: x for name, x in cloud.items() if name != "rgb"}


@pytest.mark.parametrize("options", OPTIONS)
@torch.no_grad()
def test_tokens_and_levels_are_those_of_the_encoder(options: str) -> None:
    made = encoder(*OPTIONS[options])
    traced = TracedPTv3(made)
    for b, n in ((1, 60), (4, 300)):
        cloud = Cloud(**clouds(made, b, n))
        pairs = [(traced(cloud), made(cloud)), *zip(traced.levels(cloud), made.levels(cloud), strict=True)]
        for found, expected in pairs:
            torch.testing.assert_close(found.features, expected.features, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kernel", [3, 5])
@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=4).filter(sum), st.integers(6, 40))
def test_the_table_holds_every_pair(kernel: int, sizes: list[int], side: int) -> None:
    grid = torch.cat([surface(n, seed, side) for seed, n in enumerate(sizes)])
    batch = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    pairs = find_pairs(grid, batch, kernel)
    tap = torch.arange(kernel**3).repeat_interleave(pairs.ends.diff(prepend=pairs.ends.new_zeros(1)))
    expected = torch.full((len(grid), kernel**3), len(grid))
    expected[pairs.target, tap] = pairs.source.long()
    assert torch.equal(neighbor_table(grid, batch, kernel).index, expected)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(sum), st.integers(1, 16))
def test_padded_patches_follow_the_definition(counts: list[int], size: int) -> None:
    count = torch.tensor(counts)
    batch = torch.arange(len(counts)).repeat_interleave(count)
    patches, expected = padded_patches(count, batch, size), expected_keys(tuple(counts), size)
    assert patches.group.key_valid is not None
    place = patches.place.view(patches.group.key_valid.shape)
    assert torch.equal(patches.place[patches.home], torch.arange(len(batch)))
    for home, keys in zip(patches.home.tolist(), expected, strict=True):
        there = patches.group.key_valid[home // patches.group.width]
        assert set(place[home // patches.group.width][there].tolist()) == keys and there.sum() == len(keys)


def test_bits_of_numbers() -> None:
    every = torch.arange(-(1 << 31), 1 << 31, 65_521).to(torch.int32).view(torch.float32)
    edges = torch.tensor([0.0, -0.0, 1.0, -1.0, 1e-45, 1.1754942e-38, 1.1754944e-38, 3.4028235e38])
    x = torch.cat([every[every.isfinite()], edges])
    x = x[: len(x) // 3 * 3].view(-1, 3)
    assert torch.equal(float_bits(x), bits(x))


@pytest.mark.slow
@pytest.mark.traced
@pytest.mark.parametrize("options", OPTIONS)
@torch.no_grad()
def test_the_graph_takes_any_clouds(options: str, tmp_path: Path) -> None:
    """Two exports, which take a minute each."""
    pytest.importorskip("onnxscript")
    from sceneleapultra.models.export.onnx import write_graphs
    from sceneleapultra.serving.runtime.generator import Generation
    from sceneleapultra.serving.runtime.sessions import GraphSessions

    made = encoder(*OPTIONS[options])
    generator = small_generator(encoder=made)
    generator.config = {"sampling": {}}
    write_graphs(generator, tmp_path, pt2=True, only=("encoder",))
    assert generator.encoder is made and isinstance(traceable(generator).encoder, TracedPTv3)
    engine, graph = GraphSessions(tmp_path, threads=1), EncoderGraph(generator)
    with double_precision():
        exact = EncoderGraph(in_double(traceable(generator)))
    program = torch.export.load(tmp_path / "encoder.pt2").module()
    for b, n in ((1, 300), (2, 400), (5, 700)):
        cloud = clouds(made, b, n)
        found = engine.run("encoder", {name: x.numpy() for name, x in cloud.items()})
        again = dict(zip(graph.outputs, program(*cloud.values()), strict=True))
        own = run_torch(graph, cloud)
        with double_precision():
            right = run_torch(exact, {name: doubled(x) for name, x in cloud.items()})
        for name in graph.outputs:
            near = max(1e-5, 2.0 * difference(own[name].numpy(), right[name]))
            assert difference(found[name], right[name]) <= near, name
            assert difference(again[name].numpy(), right[name]) <= near, name

    cloud = {name: x[0].numpy() for name, x in clouds(made, 1, 200).items()}
    wide = PreparedCloud(
        scene_pc=100.0 * cloud["points"],
        point_valid=cloud["valid"],
        object_mask=cloud["target"],
        viewpoint=cloud["viewpoint"],
        up=cloud["up"],
        scene_rgb=np.zeros((200, 3), dtype=np.uint8) if made.use_color else None,
        T_cloud_frame=np.eye(4),
        index=np.arange(200),
    )
    about = json.loads((tmp_path / RUNTIME).read_text())
    solver = {"_target_": "DDIM", "steps": 2, "temperature": 1.0}
    with pytest.raises(ValueError, match=r"Cloud 0 spans \d+\.?\d* m: .* millimetres") as refused:
        Generation(engine, about, {"solver": solver}, 0)(wide, 4)
    with pytest.raises(ValueError) as by_torch:
        made(Cloud(**clouds(made, 1, 200) | {"points": torch.from_numpy(wide.scene_pc)[None]}))
    assert str(refused.value) == str(by_torch.value)
