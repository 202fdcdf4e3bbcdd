"""What every encoder promises: tokens that depend on their own cloud alone, positions that move with it, float32
geometry under any autocast, the same gradients when recomputed, and a sentence for what it cannot encode.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from factories.models import small_encoder, small_ptv3
from sceneleapultra.models.network.encoder.base import SceneEncoder
from sceneleapultra.models.network.encoder.fpn import FeaturePyramid, nearest_to_target
from sceneleapultra.models.network.encoder.hierarchy import AbstractionLevel, Patch
from sceneleapultra.models.network.encoder.pointnet2 import PointNet2
from sceneleapultra.models.network.encoder.pointnet_lite import PointNetLite
from sceneleapultra.models.network.tokens import Cloud, SceneTokens
from sceneleapultra.utils.core.config import build


def pyramid(**changes) -> FeaturePyramid:
    settings = {"backbone": small_encoder(), "num_fine": 20, "num_coarse": 10, "dim": 32, "backend": "torch"}
    return FeaturePyramid(**{**settings, **changes})


def two_scales(**changes) -> PointNet2:
    levels = {
        "fine": AbstractionLevel(centers=48, radii=(0.03, 0.06), neighbors=(10, 16), widths=(16, 24)),
        "middle": AbstractionLevel(centers=30, radii=(0.08,), neighbors=(8,), widths=(40,)),
        "coarse": AbstractionLevel(centers=12, radii=(0.1, 0.2), neighbors=(4, 8), widths=(16, 24)),
    }
    return small_encoder(levels=levels, propagate=1, **changes)


HIERARCHIES: dict[str, Callable[..., SceneEncoder]] = {
    "pointnet2": small_encoder,
    "pointnet2_scales_propagated": two_scales,
    "pointnet_lite": lambda **changes: small_encoder(PointNetLite, **changes),
    "fpn": lambda **changes: pyramid(backbone=small_encoder(**changes)),
    "fpn_of_three_levels": lambda **changes: pyramid(backbone=two_scales(**changes)),
}
NO_DECODER = {"dec_depths": (), "dec_channels": (), "dec_heads": ()}
ENCODERS = HIERARCHIES | {
    "ptv3": small_ptv3,
    "ptv3_without_decoder": lambda **changes: small_ptv3(**NO_DECODER, **changes),
    "fpn_of_ptv3": lambda **changes: pyramid(backbone=small_ptv3(**changes), num_coarse=6),
}


@pytest.fixture(params=ENCODERS)
def make(request: pytest.FixtureRequest) -> Callable[..., SceneEncoder]:
    def seeded(**changes) -> SceneEncoder:
        torch.manual_seed(0)
        return ENCODERS[request.param](**changes)

    return seeded


def scenes(b: int = 3, n: int = 96, seed: int = 0) -> Cloud:
    """Curved patches, seen from above on the side, in no particular order."""
    g = torch.Generator().manual_seed(seed)
    angle, height = torch.rand(b, n, generator=g) * 3.0, torch.rand(b, n, generator=g) * 0.1
    radius = 0.03 + 0.02 * torch.rand(b, 1, generator=g)
    return Cloud(
        points=torch.stack([radius * angle.cos(), radius * angle.sin(), height], dim=-1),
        valid=torch.ones(b, n, dtype=torch.bool),
        target=torch.rand(b, n, generator=g) < 0.6,
        viewpoint=torch.tensor([0.1, 0.5, 0.4]).expand(b, 3),
        up=torch.tensor([0.0, 0.0, 1.0]).expand(b, 3),
    )


def mapped(cloud: Cloud, change: Callable[[torch.Tensor], torch.Tensor]) -> Cloud:
    parts = ("points", "valid", "target", "viewpoint", "up")
    return Cloud(**{name: change(getattr(cloud, name)) for name in parts})


def assert_same(one: SceneTokens, two: SceneTokens, tolerance: float = 1e-5) -> None:
    assert torch.equal(one.valid, two.valid) and torch.equal(one.target, two.target)
    for name in ("xyz", "features", "frames"):
        a, b = getattr(one, name)[one.valid], getattr(two, name)[two.valid]
        assert_close(a, b, atol=tolerance, rtol=tolerance, msg=lambda m, name=name: f"{name}: {m}")


def test_it_says_how_many_tokens_it_gives_whatever_the_cloud(make) -> None:
    encoder = make()
    for n in (96, 300):
        tokens = encoder(scenes(2, n))
        assert tokens.features.shape == (2, encoder.num_tokens, encoder.dim)
        assert tokens.valid.all() and tokens.features.isfinite().all()
        orthonormal = tokens.frames.transpose(-1, -2) @ tokens.frames
        assert_close(orthonormal, torch.eye(3).expand_as(orthonormal), atol=1e-5, rtol=0)
    spread = tokens.features.flatten(0, 1).std(0)
    assert (spread > 1e-3).all(), "features that are the same everywhere say nothing"


@pytest.mark.gpu
def test_a_gpu_gives_the_tokens_of_a_cpu(make) -> None:
    encoder, cloud = make(), scenes()
    want = encoder(cloud)
    encoder.cuda()(mapped(cloud, torch.Tensor.cuda)).features.square().sum().backward()
    got = encoder(mapped(cloud, torch.Tensor.cuda))
    parts = ("xyz", "features", "valid", "target", "frames")
    assert_same(SceneTokens(**{name: getattr(got, name).cpu() for name in parts}), want, tolerance=1e-3)
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())
    with torch.autocast("cuda", torch.bfloat16):
        half = encoder(mapped(cloud, torch.Tensor.cuda))
    # Geometry stays in float32 under autocast.
    assert half.xyz.dtype == torch.float32 and torch.equal(half.xyz, got.xyz)
    assert torch.equal(half.frames, got.frames)


def test_padding_changes_nothing(make) -> None:
    encoder, cloud = make(), scenes()
    junk = torch.full((3, 40, 3), 0.02)  # in the middle of the clouds
    no, yes = torch.zeros(3, 40, dtype=torch.bool), torch.ones(3, 40, dtype=torch.bool)
    padded = replace(
        cloud,
        points=torch.cat([cloud.points, junk], 1),
        valid=torch.cat([cloud.valid, no], 1),
        target=torch.cat([cloud.target, yes], 1),
    )
    assert_same(encoder(cloud), encoder(padded))


def test_a_cloud_does_not_depend_on_its_batch_mates(make) -> None:
    encoder, cloud = make(), scenes()
    valid = cloud.valid.clone()
    valid[2, 60:] = False  # one of them short of points
    cloud = replace(cloud, valid=valid)
    together = encoder(cloud)
    for i in range(3):
        alone = encoder(mapped(cloud, lambda x, i=i: x[i : i + 1]))
        mate = SceneTokens(**{name: getattr(together, name)[i : i + 1] for name in vars(alone)})
        assert_same(alone, mate)


def test_points_that_are_no_centers_are_a_set(make) -> None:
    """The order of points decides which are centers (a prefix) and how ties fall, and nothing else."""
    encoder, cloud = make(), scenes()
    order = torch.cat([torch.arange(48), 48 + torch.randperm(48)])
    shuffled = replace(
        cloud,
        points=cloud.points[:, order],
        valid=cloud.valid[:, order],
        target=cloud.target[:, order],
    )
    assert_same(encoder(cloud), encoder(shuffled))


def test_moving_a_cloud_moves_positions_and_nothing_else(make) -> None:
    encoder, cloud = make(), scenes()
    # On this lattice float32 adds the shift exactly, so nothing at all may change.
    cloud = replace(cloud, points=(cloud.points * 2**16).round() / 2**16)
    shift = torch.tensor([0.5, -0.25, 1.0])
    still = encoder(cloud)
    moved = encoder(replace(cloud, points=cloud.points + shift, viewpoint=cloud.viewpoint + shift))
    assert torch.equal(moved.xyz, still.xyz + shift)
    assert_same(replace(moved, xyz=still.xyz), still, tolerance=1e-5)


def test_turning_a_cloud_about_the_vertical_turns_frames_and_leaves_features(make) -> None:
    encoder, cloud = make(), scenes()
    c, s = torch.tensor(0.7).cos(), torch.tensor(0.7).sin()
    R = torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    turned = encoder(replace(cloud, points=cloud.points @ R.T, viewpoint=cloud.viewpoint @ R.T))
    still = encoder(cloud)
    assert_same(turned, replace(still, xyz=still.xyz @ R.T, frames=R @ still.frames), tolerance=2e-3)


def test_missing_points_are_invalid_tokens_with_features_of_zero(make) -> None:
    encoder, cloud = make(), scenes()
    valid = cloud.valid.clone()
    valid[0, 5:] = False
    valid[1] = False  # a cloud of nothing
    cloud = replace(cloud, valid=valid)
    tokens = encoder(cloud)
    assert tokens.features.isfinite().all() and tokens.frames.isfinite().all()
    assert not tokens.valid[1].any() and not tokens.target[1].any()
    assert (tokens.features[~tokens.valid] == 0).all()
    tokens.features.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())


def test_recomputing_gives_the_same_gradients(make) -> None:
    gradients = []
    for checkpointing in (False, True):
        encoder = make(checkpointing=checkpointing).train()
        encoder(scenes()).features.square().sum().backward()
        gradients.append({name: p.grad for name, p in encoder.named_parameters()})
    for name, gradient in gradients[0].items():
        assert_close(gradients[1][name], gradient, atol=0, rtol=0)


def test_bf16_keeps_geometry_in_float32(make) -> None:
    encoder, cloud = make(), scenes()
    cloud = replace(
        cloud, points=cloud.points + 2.0, viewpoint=cloud.viewpoint + 2.0
    )  # bf16 knows centimetres here
    exact = encoder(cloud)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = encoder(cloud)
    for name in ("xyz", "frames"):
        assert torch.equal(getattr(rough, name), getattr(exact, name))
    assert not torch.equal(rough.features.float(), exact.features), "networks do run in bf16"
    assert_close(rough.features.float(), exact.features, atol=0.1, rtol=0.05)


def test_every_parameter_learns(make) -> None:
    """Parallel training waits for the gradient of every parameter that asks for one."""
    encoder = make()
    encoder(scenes()).features.square().sum().backward()
    trained = [(name, p) for name, p in encoder.named_parameters() if p.requires_grad]
    assert not [name for name, p in trained if p.grad is None or p.grad.abs().sum() == 0]


def test_color_reaches_the_features(make) -> None:
    encoder, cloud = make(use_color=True), scenes()
    gray = replace(cloud, rgb=torch.full_like(cloud.points, 0.5))
    tinted = replace(cloud, rgb=torch.rand(cloud.points.shape))
    assert (encoder(gray).features - encoder(tinted).features).abs().max() > 1e-3


def test_color_that_is_missing_or_not_wanted_is_refused(make) -> None:
    cloud = scenes()
    with pytest.raises(
        ValueError,
        match=r"built to use colors, but the cloud has none. Give scene_rgb \(data.colors=true",
    ):
        make(use_color=True)(cloud)
    with pytest.raises(
        ValueError, match=r"built without colors, but the cloud has some. Leave scene_rgb out"
    ):
        make()(replace(cloud, rgb=torch.rand(cloud.points.shape)))


@pytest.mark.parametrize("name", HIERARCHIES)
def test_clouds_smaller_than_the_first_level_are_refused(name) -> None:
    with pytest.raises(ValueError, match=r"Level 'fine' of PointNet.* takes 48 centers .* got clouds of 40"):
        HIERARCHIES[name]()(scenes(n=40))


@pytest.mark.slow
@pytest.mark.traced
def test_encoding_traces_without_leaving_the_graph() -> None:
    """No host synchronisation, no shape that depends on the data; PTv3, whose voxels are counted, has both."""
    for make in HIERARCHIES.values():
        encoder, cloud = make().eval(), scenes()
        compiled = torch.compile(encoder, backend="eager", fullgraph=True)
        assert_same(compiled(cloud), encoder(cloud))


def test_neighbors_that_fill_places_twice_change_nothing() -> None:
    """A patch of 3 points asked for 8 neighbors is the patch of 3."""
    cloud = scenes(1, 96)
    far = torch.arange(93.0)[:, None] * torch.tensor([1.0, 0, 0]) + 10
    cloud = replace(cloud, points=torch.cat([cloud.points[:, :1] + torch.rand(3, 3) * 0.01, far[None]], 1))
    levels = {"only": AbstractionLevel(centers=1, radii=(0.05,), neighbors=(8,), widths=(16, 16))}
    torch.manual_seed(0)
    many = small_encoder(levels=levels)
    torch.manual_seed(0)
    few = small_encoder(levels={"only": replace(levels["only"], neighbors=(3,))})
    assert_same(many(cloud), few(cloud))


def test_the_light_encoder_pools_sums_of_place_and_feature() -> None:
    """Its definition, pair by pair, in a loop."""
    encoder = small_encoder(PointNetLite)
    stage = encoder.stages["coarse"][0]
    geometry, features = torch.randn(1, 2, 3, 6), torch.randn(1, 5, 32)
    index = torch.tensor([[[0, 1, 2], [4, 4, 3]]])
    expected = torch.empty(1, 2, 32)
    for s in range(2):
        sums = []
        for k in range(3):
            g = geometry[0, s, k]
            x, y, z = g[:3]
            moments = torch.stack([x * x, y * y, z * z, x * y, y * z, z * x])
            felt = stage.before[0](features[0, index[0, s, k]])
            sums.append(stage.place(torch.cat([g, moments])) + felt)
        pooled = torch.stack(sums).max(0).values
        expected[0, s] = stage.norm(stage.after(torch.nn.functional.gelu(pooled)))
    assert_close(stage(Patch(geometry, index), features), expected)


def test_the_shipped_light_encoder_is_light(compose) -> None:
    """At most half a million parameters, and 70 % fewer than the predecessor's widths have."""
    light, predecessor = (
        sum(
            p.numel()
            for p in build(compose(f"model/generator/encoder={name}").model.generator.encoder).parameters()
        )
        for name in ("pointnet_lite", "pointnet2_predecessor")
    )
    assert light <= min(500_000, 0.3 * predecessor)


def test_a_pyramid_gives_the_targets_surroundings_finely() -> None:
    xyz = torch.tensor([[[0.0, 0, 0], [3, 0, 0], [1, 0, 0], [2, 0, 0], [9, 9, 9]]])
    target = torch.tensor([[True, False, True, False, False]])
    valid = torch.tensor([[True, True, True, True, False]])
    assert nearest_to_target(xyz, target, valid).tolist() == [[0, 2, 3, 1, 4]]
    tokens = pyramid()(scenes())
    assert tokens.target[:, :20].float().mean() > tokens.target[:, 20:].float().mean()
    assert tokens.target[:, :20].all()  # 48 fine tokens hold more than 20 of the target


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_tokens_as_near_keep_their_order(share: float) -> None:
    g = torch.Generator().manual_seed(0)
    xyz = torch.rand(3, 90, 3, generator=g)
    xyz[:, 50:80] = xyz[:, :30]
    target, valid = torch.rand(3, 90, generator=g) < share, torch.rand(3, 90, generator=g) < 0.8
    apart = (xyz[:, :, None] - xyz[:, None]).norm(dim=-1).masked_fill(~target[:, None], 1e6).amin(-1)
    expected = apart.masked_fill(~valid, torch.inf).argsort(dim=1, stable=True)
    assert torch.equal(nearest_to_target(xyz, target, valid), expected)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"centers": 0}, r"centers of an encoder's level: expected at least 1, got 0"),
        ({"radii": (0.0,)}, r"radii of an encoder's level: expected lengths of more than 0 m"),
        (
            {"radii": (0.1, 0.2)},
            r"neighbors of an encoder's level: expected one number .* each of the 2 radii",
        ),
        ({"widths": ()}, r"widths of an encoder's level: expected one width of at least 1 or several"),
    ],
)
def test_levels_that_make_no_sense_are_refused(changes, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        AbstractionLevel(**{"centers": 8, "radii": (0.1,), "neighbors": (4,), "widths": (16,), **changes})


def test_hierarchies_that_do_not_fit_are_refused() -> None:
    fine = AbstractionLevel(centers=8, radii=(0.1,), neighbors=(4,), widths=(16, 16))
    with pytest.raises(ValueError, match=r"levels.coarse takes centers=9 .* 8 centers of level 'fine'"):
        small_encoder(levels={"fine": fine, "coarse": replace(fine, centers=9)})
    with pytest.raises(ValueError, match=r"neighbors=\(9,\) from the 8 centers"):
        small_encoder(levels={"fine": fine, "coarse": replace(fine, neighbors=(9,))})
    with pytest.raises(ValueError, match=r"propagate: expected 0 to 1, .* got 2"):
        small_encoder(propagate=2)
    with pytest.raises(ValueError, match="expected at least one level"):
        small_encoder(levels={})
    with pytest.raises(ValueError, match=r"needs widths before and after grouping, at least two, got \[16\]"):
        small_encoder(PointNetLite, levels={"only": replace(fine, widths=(16,))})
    with pytest.raises(ValueError, match=r"num_fine: expected 1 to 48, .* got 49"):
        pyramid(num_fine=49)
    with pytest.raises(ValueError, match=r"num_coarse: expected 1 to 24, .* got 25"):
        pyramid(num_coarse=25)


def test_an_encoder_on_a_backend_that_is_absent_says_so() -> None:
    if importlib.util.find_spec("pytorch3d") is not None:
        pytest.skip("pytorch3d is installed")
    with pytest.raises(ImportError, match="backend=pytorch3d: pytorch3d is not installed"):
        small_encoder(backend="pytorch3d")
