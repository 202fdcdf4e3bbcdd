"""PTv3 as a scene encoder: the contract, what leaves its tokens unchanged, and a sentence for every bad cloud."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from factories.models import losses_of, scene_batch, set_statistics_from, small_generator, small_module
from factories.ptv3 import SMALL
from sceneleapultra.models import load_grasp_model
from sceneleapultra.models.module import build_module
from sceneleapultra.models.network.encoder.ptv3 import Architecture, PTv3
from sceneleapultra.models.network.encoder.ptv3.voxels import voxelise
from sceneleapultra.models.network.tokens import Cloud
from sceneleapultra.utils.core.config import build
from sceneleapultra.utils.geometry.rotation import matrix_from_quat_wxyz

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
ALONE = {"dec_depths": (), "dec_channels": (), "dec_heads": ()}
CLOSE = {"atol": 1e-5, "rtol": 1e-4}


def encoder(**changes) -> PTv3:
    architecture = Architecture(**{**SMALL, **changes.pop("architecture", {})})
    settings = {
        "num_tokens": 24,
        "dim": 16,
        "inputs": ("xyz", "target"),
        "grid_size": 0.004,
        "depth": 10,
        "position_scale": 0.1,
        "frame_neighbors": 8,
        "frame_radius": 0.03,
        "weights": None,
    }
    torch.manual_seed(0)
    return PTv3(**{**settings, **changes}, architecture=architecture).eval()


def scenes(num_points: int = 200) -> Cloud:
    """Curved patches, seen from above on the side, in no particular order."""
    g = torch.Generator().manual_seed(0)
    angle, height = torch.rand(3, num_points, generator=g) * 3.0, torch.rand(3, num_points, generator=g) * 0.1
    radius = 0.03 + 0.02 * torch.rand(3, 1, generator=g)
    return Cloud(
        points=torch.stack([radius * angle.cos(), radius * angle.sin(), height], dim=-1),
        valid=torch.ones(3, num_points, dtype=torch.bool),
        target=torch.rand(3, num_points, generator=g) < 0.7,
        viewpoint=torch.tensor([0.1, 0.5, 0.4]).expand(3, 3),
        up=torch.tensor([0.0, 0.0, 1.0]).expand(3, 3),
    )


def turned(cloud: Cloud, R: torch.Tensor, shift: torch.Tensor) -> Cloud:
    """The same scene, camera and gravity in another frame; in double precision, so that no voxel is rounded away."""
    R, shift = R.double(), shift.double()
    return replace(
        cloud,
        points=cloud.points.double() @ R.T + shift,
        viewpoint=cloud.viewpoint.double() @ R.T + shift,
        up=cloud.up.double() @ R.T,
    )


@pytest.mark.parametrize("architecture", [{}, ALONE, {"stem": "linear"}])
@pytest.mark.parametrize("inputs", [("xyz", "target"), ("normal", "xyz")])
def test_tokens_fulfil_the_contract(architecture, inputs):
    enc, cloud = encoder(architecture=architecture, inputs=inputs), scenes()
    cloud.valid[1, 10:] = False
    tokens = enc(cloud)
    assert tokens.features.shape == (3, 24, 16) and torch.isfinite(tokens.features).all()
    assert_close(tokens.xyz[0], cloud.points[0, :24])
    assert torch.equal(tokens.valid, cloud.valid[:, :24])
    assert torch.equal(tokens.target, cloud.target[:, :24] & tokens.valid)
    assert_close(tokens.frames.mT @ tokens.frames, torch.eye(3).expand(3, 24, 3, 3), atol=1e-4, rtol=0)


def test_color_reaches_the_features_where_it_is_asked_for_and_refused_elsewhere():
    seeing, cloud = encoder(inputs=("xyz", "color")), scenes()
    gray = replace(cloud, rgb=torch.full(cloud.points.shape, 0.5))
    tinted = replace(cloud, rgb=torch.rand(cloud.points.shape))
    assert (seeing(gray).features - seeing(tinted).features).abs().max() > 1e-3
    with pytest.raises(ValueError, match="built to use colors, but the cloud has none"):
        seeing(cloud)
    with pytest.raises(ValueError, match="built without colors, but the cloud has some"):
        encoder()(gray)


def test_colors_are_from_0_to_1_outside_and_what_official_weights_know_inside():
    seeing, cloud = encoder(inputs=("color", "xyz")), scenes()
    read = []
    seeing.network.register_forward_pre_hook(lambda _, given: read.append(given[1]))
    for value in (0.0, 0.5, 1.0):
        seeing(replace(cloud, rgb=torch.full(cloud.points.shape, value)))
    for features, expected in zip(read, (-1.0, 0.0, 1.0), strict=True):
        assert_close(features[:, :3], torch.full_like(features[:, :3], expected))


def test_levels_halve_the_tokens_and_read_the_encoder():
    enc, cloud = encoder(), scenes()
    levels = enc.levels(cloud)
    assert [level.features.shape for level in levels] == [(3, 24, 8), (3, 12, 12), (3, 6, 16)]
    assert enc.level_sizes == (24, 12, 6) and enc.level_dims == (8, 12, 16)
    voxels = voxelise(cloud, enc.grid_size, enc.depth)
    for s, level in enumerate(levels):
        assert_close(level.xyz, cloud.points[:, : enc.level_sizes[s]])
        # Two tokens have the same features exactly where they lie in the same voxel of the level.
        cells = voxels.grid[voxels.of_point[:, : enc.level_sizes[s]]] >> s
        same_cell = (cells[:, :, None] == cells[:, None]).all(-1)
        alike = (level.features[:, :, None] - level.features[:, None]).abs().amax(-1) == 0
        assert torch.equal(same_cell, alike)


def test_gradients_reach_every_parameter():
    enc = encoder(inputs=("xyz", "target", "normal")).train()
    enc(scenes()).features.square().sum().backward()
    missing = [name for name, p in enc.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not missing


@pytest.mark.parametrize("architecture", [{}, ALONE])
def test_padding_changes_nothing_even_when_it_is_not_a_number(architecture):
    enc, cloud = encoder(architecture=architecture), scenes()
    junk = torch.full((3, 30, 3), torch.nan)
    yes = torch.ones(3, 30, dtype=torch.bool)
    padded = replace(
        cloud,
        points=torch.cat([cloud.points, junk], 1),
        valid=torch.cat([cloud.valid, ~yes], 1),
        target=torch.cat([cloud.target, yes], 1),
    )
    assert_close(enc(padded).features, enc(cloud).features, **CLOSE)
    assert_close(enc(padded).frames, enc(cloud).frames, **CLOSE)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("architecture", [{}, ALONE])
def test_a_cloud_does_not_depend_on_its_batch_mates(architecture, train):
    enc = encoder(architecture={**architecture, "drop_path": 0.3, "shuffle": "training"}).train(train)
    cloud = scenes()
    cloud.valid[0, 40:] = False
    far = replace(
        cloud, points=cloud.points * torch.tensor([1.0, 1.0, 20.0])[:, None, None]
    )  # one fifty times longer
    alone = enc(Cloud(**{name: value[1:2] for name, value in vars(cloud).items() if value is not None}))
    assert_close(enc(far).features[1:2], alone.features, **CLOSE)


def test_order_of_the_points_behind_the_tokens_does_not_matter():
    enc, cloud = encoder(), scenes()
    order = torch.cat([torch.arange(24), 24 + torch.randperm(176)])
    mixed = replace(
        cloud, points=cloud.points[:, order], valid=cloud.valid[:, order], target=cloud.target[:, order]
    )
    assert_close(enc(mixed).features, enc(cloud).features, **CLOSE)
    assert_close(enc(mixed).xyz, enc(cloud).xyz, atol=0, rtol=0)


def test_moving_a_scene_moves_positions_and_nothing_else():
    enc, cloud = encoder(inputs=("xyz", "target", "normal")), scenes(1200)
    shift = torch.tensor([0.31, -0.2, 0.5])
    one, two = enc(cloud), enc(turned(cloud, torch.eye(3), shift))
    assert_close(two.xyz, one.xyz + shift, atol=1e-6, rtol=0)
    assert_close(two.features, one.features, atol=1e-4, rtol=1e-3)
    assert_close(two.frames, one.frames, atol=1e-4, rtol=0)


def test_features_turn_with_scene_camera_and_gravity_together():
    """The whole scene in another frame, gravity included: features stay, frames turn."""
    enc, cloud = encoder(inputs=("xyz", "target", "normal")), scenes(1200)
    R = matrix_from_quat_wxyz(torch.nn.functional.normalize(torch.randn(4), dim=0))
    one, two = enc(cloud), enc(turned(cloud, R, torch.tensor([0.3, 0.1, -0.2])))
    assert_close(two.features, one.features, atol=2e-4, rtol=1e-3)
    assert_close(two.frames, R @ one.frames, atol=1e-4, rtol=0)


def test_turning_the_scene_under_a_camera_that_stays_changes_tokens():
    """It is not equivariant to turns by itself: this is why training turns scenes."""
    enc, cloud = encoder(), scenes()
    c, s = torch.cos(torch.tensor(0.7)), torch.sin(torch.tensor(0.7))
    R = torch.stack([torch.stack([c, -s, c * 0]), torch.stack([s, c, c * 0]), torch.tensor([0.0, 0.0, 1.0])])
    other = replace(turned(cloud, R, torch.zeros(3)), viewpoint=cloud.viewpoint)
    assert (enc(other).features - enc(cloud).features).abs().max() > 1e-2


def test_a_camera_straight_above_has_a_heading_too():
    cloud = scenes()
    above = replace(cloud, viewpoint=torch.tensor([0.0, 0.0, 9.0]).expand(3, 3))
    voxels = voxelise(above, 0.004, 10)
    eye = torch.eye(3, dtype=torch.double).expand(3, 3, 3)
    assert_close(voxels.rotation.mT @ voxels.rotation, eye)
    assert_close(torch.linalg.det(voxels.rotation), torch.ones(3, dtype=torch.double))
    assert torch.isfinite(encoder()(above).features).all()


def test_voxels_average_their_points():
    cloud = scenes(60)
    voxels = voxelise(cloud, 0.02, 10)
    own = ((cloud.points.double() - voxels.origin[:, None]) @ voxels.rotation).float()
    cells = ((own - own.amin(1, keepdim=True)) / 0.02).floor()
    assert 20 < len(voxels.grid) < 150
    for v in range(len(voxels.grid)):
        b = voxels.batch[v]
        members = (cells[b] == voxels.grid[v]).all(-1)
        assert_close(voxels.coord[v], own[b][members].mean(0), atol=1e-6, rtol=1e-5)
        assert (voxels.of_point[b][members] == v).all() and (voxels.of_point[b] == v).sum() == members.sum()
        share = voxels.mean(cloud.target[..., None].float())[v, 0]
        assert_close(share, cloud.target[b][members].float().mean())


def test_normals_of_a_plane_face_the_camera():
    xy = torch.cartesian_prod(torch.arange(20), torch.arange(20)) * 0.004
    points = torch.cat([xy, xy.sum(1, keepdim=True)], 1)[None]  # z = x + y, normal (-1, -1, 1) / sqrt(3)
    cloud = replace(
        Cloud(**{name: value[:1] for name, value in vars(scenes()).items() if value is not None}),
        points=points,
        valid=torch.ones(1, 400, dtype=torch.bool),
        target=torch.ones(1, 400, dtype=torch.bool),
        viewpoint=torch.tensor([[-1.0, -1.0, 2.0]]),
    )
    from sceneleapultra.models.network.encoder.ptv3.encoder import voxel_normals
    from sceneleapultra.models.network.encoder.ptv3.level import serialize

    voxels = voxelise(cloud, 0.004, 10)
    level = serialize(voxels.coord, voxels.grid, voxels.batch, num_clouds=1, depth=10, curves=("z",))
    viewpoint = ((cloud.viewpoint.double() - voxels.origin) @ voxels.rotation[0]).float()
    normals = voxel_normals(level, viewpoint) @ voxels.rotation[0].T.float()
    expected = torch.tensor([-1.0, -1.0, 1.0]) / 3**0.5
    assert_close(normals, expected.expand_as(normals), atol=1e-3, rtol=0)


def test_half_precision_keeps_geometry_exact():
    enc, cloud = encoder(inputs=("xyz", "target", "normal")), scenes()
    exact = enc(cloud)
    with torch.autocast("cpu", torch.bfloat16):
        half = enc(cloud)
    for name in ("xyz", "frames"):
        assert getattr(half, name).dtype == torch.float32
        assert_close(getattr(half, name), getattr(exact, name), atol=0, rtol=0)
    # bfloat16 has 8 bits: errors of about 1 % of the features' size.
    assert (half.features.float() - exact.features).abs().mean() < 0.03 * exact.features.abs().mean()


def test_training_in_half_precision_gives_finite_gradients():
    enc = encoder(architecture={"checkpointing": True, "drop_path": 0.1}).train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = enc(scenes()).features.float().square().mean()
    loss.backward()
    assert all(torch.isfinite(p.grad).all() and p.grad.dtype == torch.float32 for p in enc.parameters())


def test_the_whole_model_trains_with_it():
    small = encoder(architecture={**ALONE, "enc_depths": (1, 1, 1)}).train()
    module = small_module(small_generator(encoder=small)).train()
    batch = scene_batch()
    set_statistics_from(module, batch)
    optimizer, losses = torch.optim.AdamW(module.parameters(), 3e-3), []
    for _ in range(12):
        loss = module.objective.total(losses_of(module, batch), 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def moved_far(cloud: Cloud) -> Cloud:
    points = cloud.points * 1000
    return replace(cloud, points=points)


def not_finite(cloud: Cloud) -> Cloud:
    points = cloud.points.clone()
    points[1, 3], points[2, 5, 0] = torch.inf, torch.nan
    return replace(cloud, points=points)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        # 0.1 m of height become 100 m: 25000 voxels of 4 mm where 1024 fit, 4.096 m.
        (
            moved_far,
            r"spans \d+\.?\d* m: 2\d{4} voxels of grid_size=0\.004 m, but depth=10 holds 1024 per axis, 4\.096 m",
        ),
        (moved_far, "in millimetres"),
        (not_finite, "2 of 600 valid points have NaN or infinite coordinates"),
        (
            lambda c: replace(c, valid=torch.zeros_like(c.valid)),
            "None of the 600 points of the batch is valid",
        ),
        (
            lambda c: replace(c, points=c.points[:, :20], valid=c.valid[:, :20], target=c.target[:, :20]),
            "room for 20 points, fewer than the num_tokens=24",
        ),
    ],
)
def test_bad_clouds_get_a_sentence(spoil, sentence):
    with pytest.raises(ValueError, match=sentence):
        encoder()(spoil(scenes()))


def test_it_starts_from_a_file_of_weights(tmp_path, caplog):
    first = encoder()
    with torch.no_grad():
        for parameter in first.network.parameters():
            parameter.add_(0.1)
    torch.save({"state_dict": first.network.state_dict()}, tmp_path / "w.pth")
    with caplog.at_level("INFO"):
        second = encoder(weights=tmp_path / "w.pth")
    assert "Encoder starts from" in caplog.text and "numbers" in caplog.text
    for key, value in first.network.state_dict().items():
        assert_close(second.network.state_dict()[key], value, atol=0, rtol=0)


def test_a_checkpoint_does_not_need_the_file_its_encoder_started_from(tmp_path, compose):
    cfg = compose(
        "model/generator/encoder=ptv3_light", f"model.generator.encoder.weights={tmp_path / 'w.pth'}"
    ).model
    start = build(cfg.generator.encoder, weights=None)
    torch.save(start.network.state_dict(), tmp_path / "w.pth")
    module = build_module(cfg, cloud={}, optimizer=torch.optim.AdamW, scheduler=lambda optimizer: optimizer)
    encoder = module.generator.encoder
    assert_close(encoder.network.state_dict(), start.network.state_dict(), atol=0, rtol=0)
    saved = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(saved)
    torch.save(saved, tmp_path / "model.ckpt")
    (tmp_path / "w.pth").unlink()
    loaded = load_grasp_model(tmp_path / "model.ckpt").generator
    before, after = (part.state_dict() for part in (encoder, loaded.encoder))
    assert_close(after, before, atol=0, rtol=0)
