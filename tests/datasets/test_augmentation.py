"""Do augmented batches tell the same truth: the same hand at the same place of the same object?"""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from records_under_test import SETTINGS, leap, scene_record
from torch import Tensor
from torch.testing import assert_close

from datasets.augmentation import Augmentation
from datasets.augmentation.frame import express, inverse, move_hand_pose
from datasets.augmentation.legality import CAMERA_MODES, MODES
from datasets.augmentation.pipeline import TRANSFORMS
from datasets.augmentation.sensor import rays
from datasets.items import collate, draw, gather, see
from hands import GraspPose
from utils.batch import GraspBatch
from utils.config import CONFIG_DIR
from utils.keyed_random import draw_keys

AUGMENT = CONFIG_DIR / "data" / "augment"
ALL: dict[str, dict[str, Any]] = {
    **OmegaConf.to_container(OmegaConf.load(AUGMENT / "sensor.yaml")),  # type: ignore[dict-item]
    "tilt": {"probability": 1.0, "max_deg": 10.0},
    "colour": {"probability": 1.0, "exposure": 0.3, "balance": 0.1},
}
SURE = {name: {**settings, "probability": 1.0} for name, settings in ALL.items()}


def batch(size: int = 4, epoch: int = 0, records: int = 4) -> GraspBatch:
    settings = replace(SETTINGS, colours=True, num_points=200, num_grasps=5)
    scenes = [scene_record(i % records) for i in range(size)]
    index = torch.arange(size)
    return collate(
        [see(r.views[0], 0, settings, np.random.default_rng(0)) for r in scenes],
        [draw(gather(r.judged[0], settings), settings, None, np.random.default_rng(i)) for i, r in enumerate(scenes)],
        draw_key=draw_keys(0, torch.full_like(index, epoch), index),
        item_index=tuple(index.tolist()),
    )  # fmt: skip


def chain(*names: str, mode: str = "tabletop", **changes: Any) -> Augmentation:
    transforms = {name: {**SURE[name], **changes} for name in names}
    return Augmentation(transforms, mode=mode, colours=True, hand=leap())


def hand_to_cloud(values: GraspBatch) -> Tensor:
    """Distance of every point to the surface of the hand, at every grasp."""
    assert values.hand_pose is not None
    return torch.stack(
        [
            leap().signed_distance(points, GraspPose.from_hand_pose(pose))
            for points, pose in zip(values.scene_pc, values.hand_pose, strict=True)
        ]
    )


JOINT = [
    ("yaw", "tabletop"),
    ("yaw", "object_centric"),
    ("translation", "tabletop"),
    *[(name, mode) for name in ("tilt", "translation") for mode in CAMERA_MODES],
]


@pytest.mark.parametrize(("name", "mode"), JOINT)
def test_hand_and_object_keep_their_distance(name: str, mode: str) -> None:
    before = batch()
    after = chain(name, mode=mode)(before)
    assert (after.scene_pc - before.scene_pc).abs().max() > 0.005
    assert_close(hand_to_cloud(after), hand_to_cloud(before), rtol=0, atol=3e-6)


@pytest.mark.parametrize(("name", "mode"), JOINT)
def test_the_scene_stays_where_it_is_in_the_world(name: str, mode: str) -> None:
    before = batch()
    after = chain(name, mode=mode)(before)

    def world(values: GraspBatch) -> list[Tensor]:
        T = values.T_world_frame
        ones = torch.ones(values.size, 1, 1)
        points = torch.cat((values.scene_pc, values.viewpoint[:, None]), 1)
        homogeneous = torch.cat((points, ones.expand(*points.shape[:2], 1)), -1) @ T.transpose(1, 2)
        assert values.hand_pose is not None
        moved = move_hand_pose(values.hand_pose, T)
        sign = moved[..., -4:-3].sign()
        return [homogeneous, moved[..., :-4], sign * moved[..., -4:], (T[:, :3, :3] @ values.up[..., None])]

    for one, other in zip(world(after), world(before), strict=True):
        assert_close(one, other, rtol=0, atol=3e-6)
    unchanged = (
        "pregrasp_qpos",
        "squeeze_qpos",
        "grasp_valid",
        "grasp_success",
        "object_mask",
        "point_valid",
    )
    for field in unchanged:
        assert getattr(after, field) is getattr(before, field)


def test_there_and_back_is_nothing() -> None:
    before = batch()
    T = chain("yaw")(before).T_world_frame
    after = express(express(before, T), inverse(T))
    assert_close(after.scene_pc, before.scene_pc, rtol=0, atol=2e-6)
    assert_close(after.T_world_frame, before.T_world_frame, rtol=0, atol=2e-6)


def test_yaw_covers_the_circle_and_leaves_the_vertical() -> None:
    after = chain("yaw")(batch(200))
    T = after.T_world_frame
    yaws = torch.atan2(T[:, 1, 0], T[:, 0, 0])
    assert torch.histc(yaws, 8, -torch.pi, torch.pi).min() > 8  # 25 expected, deviation 4.7
    assert_close(after.up, torch.tensor([0.0, 0.0, 1.0]).expand(200, 3), rtol=0, atol=1e-6)


def test_a_horizontal_shift_leaves_heights() -> None:
    before = batch()
    after = chain("translation")(before)
    assert_close(after.scene_pc[..., 2], before.scene_pc[..., 2], rtol=0, atol=1e-7)


def test_jitter_moves_points_by_its_deviation_and_nothing_else() -> None:
    before = batch()
    before.point_valid[:, 150:] = False
    after = chain("jitter", sigma_m=0.002)(before)
    moved = after.scene_pc - before.scene_pc
    assert moved[:, 150:].abs().max() == 0.0
    assert moved[:, :150].std() == pytest.approx(0.002, rel=0.08)  # 1800 numbers: 1.7 % standard error
    changed = {f.name for f in fields(GraspBatch) if getattr(after, f.name) is not getattr(before, f.name)}
    assert changed == {"scene_pc"}


@pytest.mark.parametrize("name", ["depth_noise", "quantisation", "edge_pixels"])
def test_a_depth_camera_moves_points_along_their_rays(name: str) -> None:
    before = batch()
    direction, distance = rays(before)
    seen, moved = rays(chain(name)(before))
    assert_close(seen, direction, rtol=0, atol=1e-5)
    assert 1e-5 < (moved - distance).abs().max() < 0.8


def test_depth_noise_grows_with_the_range() -> None:
    """At 1.4 m the deviation is 0.0012 + 0.0019 m = 3.1 mm."""
    before = batch(16)
    direction, _ = rays(before)
    before = replace(before, scene_pc=before.viewpoint[:, None] + 1.4 * direction)
    _, moved = rays(chain("depth_noise")(before))
    assert (moved - 1.4).std() == pytest.approx(0.0031, rel=0.06)  # 3200 numbers: 1.3 % standard error


def test_quantised_ranges_are_steps_that_grow_with_their_square() -> None:
    before = batch()
    _, ranges = rays(before)
    _, moved = rays(chain("quantisation", step_m_at_1m=0.01)(before))
    steps = 1.0 / moved / 0.01
    assert_close(steps, steps.round(), rtol=0, atol=1e-3)
    # Half a step at range r is 0.005 r^2.
    assert ((moved - ranges).abs() <= 0.0055 * ranges**2).all()


def test_flying_pixels_fly_between_two_sides_of_a_jump() -> None:
    """A near patch in front of a far wall: only points at the rim move, and none beyond either side."""
    y = torch.linspace(-0.2, 0.2, 21)
    wall = torch.cartesian_prod(y, y)
    near = (wall.abs() < 0.1).all(-1)
    points = torch.cat((wall, torch.where(near, 0.5, 1.0)[:, None]), 1)
    points[:, :2] *= points[:, 2:]  # one ray for each place
    n = len(points)
    before = GraspBatch(
        points[None], torch.ones(1, n, dtype=torch.bool), near[None], torch.zeros(1, 3), torch.tensor([[0.0, -1, 0]]),
        torch.eye(4)[None], draw_key=torch.tensor([3]),
    )  # fmt: skip
    _, ranges = rays(before)
    _, moved = rays(chain("edge_pixels", share=1.0)(before))
    flown = ((moved - ranges).abs() > 1e-4)[0]
    rim = (wall.abs() < 0.13).all(-1) & ~(wall.abs() < 0.07).all(-1)
    assert flown.sum() > 20 and not (flown & ~rim).any()
    assert (moved[0, flown] > 0.5).all() and (moved[0, flown] < 1.06).all()


REMOVING = ("holes", "occlusion", "background", "density")


@pytest.mark.parametrize("name", REMOVING)
def test_what_is_left_keeps_its_order_and_its_mask(name: str) -> None:
    before = batch()
    after = chain(name)(before)
    assert (after.point_valid.sum(1) < before.point_valid.sum(1)).any()
    assert (after.object_mask & after.point_valid).sum(1).min() >= 1
    for i in range(before.size):
        n = int(after.point_valid[i].sum())
        assert after.point_valid[i, :n].all() and not after.point_valid[i, n:].any()
        assert (after.scene_pc[i, n:] == 0).all() and not after.object_mask[i, n:].any()
        same = (after.scene_pc[i, :n, None] == before.scene_pc[i]).all(-1)
        row = same.float().argmax(1)
        assert same.any(1).all() and (row.diff() > 0).all()
        assert torch.equal(after.object_mask[i, :n], before.object_mask[i, row])
        assert torch.equal(after.scene_rgb[i, :n], before.scene_rgb[i, row])  # type: ignore[index]


def test_an_occluder_hides_a_cone_and_leaves_enough_of_the_target() -> None:
    before = batch(32)
    direction, _ = rays(before)
    target = before.object_mask.sum(1)
    after = chain("occlusion", max_radius_deg=60.0, min_visible=0.7)(before)
    left = (after.object_mask & after.point_valid).sum(1)
    assert (left >= 0.7 * target - 1e-6).all() and (left < target).any()
    for i in range(before.size):
        kept = (before.scene_pc[i, :, None] == after.scene_pc[i, after.point_valid[i]]).all(-1).any(1)
        # About some point of the target, all hidden rays are nearer than all seen ones: a cone, at every range.
        cosine = direction[i] @ direction[i, before.object_mask[i]].T
        assert ((cosine[~kept].amin(0) if (~kept).any() else 1.0) >= cosine[kept].amax(0) - 1e-6).any()


def test_background_leaves_the_target_alone() -> None:
    before = batch()
    after = chain("background")(before)
    assert torch.equal(after.point_valid.sum(1), before.object_mask.sum(1))
    assert (after.object_mask == after.point_valid).all()


def test_density_keeps_a_share_between_its_bounds() -> None:
    share = chain("density", min_share=0.4)(batch(64)).point_valid.float().mean(1)
    assert share.min() > 0.25 and share.max() > 0.9
    assert share.mean() == pytest.approx(0.7, abs=0.08)  # deviation of 64 uniform numbers: 0.022


@pytest.mark.parametrize(("erode", "dilate"), [(0.01, 0.0), (0.0, 0.01)])
def test_masks_wear_and_grow_at_their_border(erode: float, dilate: float) -> None:
    before = batch(16)
    after = chain("mask_noise", erode_m=erode, dilate_m=dilate)(before)
    shrunk = (before.object_mask & ~after.object_mask).sum(1)
    grown = (after.object_mask & ~before.object_mask).sum(1)
    assert (grown if dilate else shrunk).sum() > 0 and (shrunk if dilate else grown).sum() == 0
    changed = before.object_mask != after.object_mask
    away = torch.cdist(before.scene_pc, before.scene_pc)
    other = before.object_mask[:, None] != before.object_mask[..., None]
    border = away.masked_fill(~other, torch.inf).amin(-1)
    assert border[changed].max() <= 0.01
    assert (2 * after.object_mask.sum(1) >= before.object_mask.sum(1)).all()


def test_colours_change_by_their_gain() -> None:
    before = batch(8)
    after = chain("colour")(before)
    assert before.scene_rgb is not None and after.scene_rgb is not None
    dark = (before.scene_rgb < 100) & (before.scene_rgb > 20)
    ratio = after.scene_rgb[dark].float() / before.scene_rgb[dark].float()
    assert ratio.min() > 1 / 1.3 / 1.1 - 0.04 and ratio.max() < 1.3 * 1.1 + 0.04
    assert ratio.std() > 0.05
    assert after.scene_pc is before.scene_pc


def test_a_newcomer_stands_on_the_table_beside_the_target() -> None:
    before = batch(8)
    after = chain("clutter", max_points=40, shadow_deg=0.0, gap_m=[0.03, 0.05])(before)
    for i in range(before.size):
        same = (after.scene_pc[i, :, None] == before.scene_pc[i]).all(-1).any(1)
        new = after.scene_pc[i, ~same & after.point_valid[i]]
        own = before.scene_pc[i, before.object_mask[i]]
        lent = before.scene_pc[(i + 1) % 8, before.object_mask[(i + 1) % 8]]
        assert 20 < len(new) <= 40
        gap = torch.cdist(new[:, :2], own[:, :2]).min()
        assert gap >= 0.03 - 1e-5
        assert new[:, 2].min() >= lent[:, 2].min() - 1e-5 and new[:, 2].max() <= lent[:, 2].max() + 1e-5
    assert torch.equal(after.object_mask.sum(1), before.object_mask.sum(1))


def test_a_newcomer_makes_grasps_that_touch_it_invalid() -> None:
    before = batch(8)
    after = chain("clutter", gap_m=[0.0, 0.01])(before)
    assert before.grasp_valid is not None and after.grasp_valid is not None
    dropped = before.grasp_valid & ~after.grasp_valid
    assert dropped.any() and after.grasp_valid.any() and not (after.grasp_valid & ~before.grasp_valid).any()
    # What stays valid is clear of every point that is new.
    away = hand_to_cloud(after)
    for i in range(8):
        same = (after.scene_pc[i, :, None] == before.scene_pc[i]).all(-1).any(1)
        new = ~same & after.point_valid[i]
        nearest = away[i][:, new].amin(-1)
        assert (nearest[after.grasp_valid[i]] >= SURE["clutter"]["clearance_m"] - 1e-5).all()


def test_what_stands_behind_a_newcomer_is_hidden() -> None:
    before = batch(8)
    plain = chain("clutter", shadow_deg=0.0)(before)
    shaded = chain("clutter", shadow_deg=3.0)(before)
    assert (shaded.point_valid.sum(1) < plain.point_valid.sum(1)).any()
    target = (before.object_mask & before.point_valid).sum(1)
    assert (2 * (shaded.object_mask & shaded.point_valid).sum(1) >= target).all()


@pytest.mark.parametrize("name", sorted(TRANSFORMS))
def test_a_transform_depends_on_the_item_and_the_pass_alone(name: str) -> None:
    """Alone or in a batch, again or in another pass; clutter alone asks the neighbour."""
    mode = "camera_centric" if name == "tilt" else "tabletop"
    wide = {"erode_m": 0.02, "dilate_m": 0.02} if name == "mask_noise" else {}
    augment, before = chain(name, mode=mode, **wide), batch(4)
    first, again, later = augment(before), augment(before), augment(batch(4, epoch=1))
    assert torch.equal(first.scene_pc, again.scene_pc) and torch.equal(first.point_valid, again.point_valid)
    drawn = (first.scene_pc, first.object_mask, first.scene_rgb)
    if name not in ("background", "quantisation"):  # which leave nothing to chance
        then = (later.scene_pc, later.object_mask, later.scene_rgb)
        assert any(not torch.equal(a, b) for a, b in zip(drawn, then, strict=True))  # type: ignore[arg-type]
    if name != "clutter":
        rows = {
            f.name: value[2:3] if isinstance(value := getattr(before, f.name), Tensor) else value
            for f in fields(GraspBatch)
        }
        alone = augment(replace(before, **rows))
        assert_close(alone.scene_pc[0], first.scene_pc[2], rtol=0, atol=1e-6)


def test_everything_at_once_is_still_a_batch() -> None:
    names = [n for n in ALL if n != "tilt"]
    after = Augmentation({n: ALL[n] for n in names}, mode="tabletop", colours=True, hand=leap())(batch(16))
    assert torch.isfinite(after.scene_pc).all()
    assert not (after.object_mask & ~after.point_valid).any()
    assert (after.scene_pc[~after.point_valid] == 0).all()
    assert (after.object_mask.sum(1) > 0).all()


def test_a_share_of_the_items_is_changed() -> None:
    before = batch(64)
    after = chain("yaw", probability=0.3)(before)
    changed = (after.scene_pc != before.scene_pc).flatten(1).any(1)
    assert 8 <= int(changed.sum()) <= 31  # 19.2 expected, deviation 3.7
    assert torch.equal(changed, (after.T_world_frame != before.T_world_frame).flatten(1).any(1))


def test_batches_without_keys_and_chains_without_links_change_nothing() -> None:
    before = batch()
    assert chain()(before) is before
    plain = replace(before, draw_key=None)
    assert chain("yaw", "jitter")(plain) is plain


REASONS = {
    ("tabletop", "tilt"): "the frame stands on gravity",
    ("object_centric", "tilt"): "the frame stands on gravity or on the object",
    ("object_centric", "translation"): "the origin is the object's own",
    ("object_centric", "clutter"): "a newcomer stands on the table",
    **{(mode, "yaw"): "the camera at the origin cannot have seen it; use tilt" for mode in CAMERA_MODES},
    **{(mode, "clutter"): "only the frame tabletop has it at z = 0" for mode in CAMERA_MODES},
    **{(mode, name): "the hand does not grow" for mode in MODES for name in ("scale", "scaling")},
    **{(mode, name): "a right hand is a left hand" for mode in MODES for name in ("mirror", "flip")},
}


@pytest.mark.parametrize("mode", MODES)
def test_every_transform_is_legal_or_refused_with_its_reason(mode: str) -> None:
    for name in (*TRANSFORMS, "scale", "scaling", "mirror", "flip"):
        if (reason := REASONS.get((mode, name))) is None:
            chain(name, mode=mode)
            continue
        with pytest.raises(ValueError) as caught:
            Augmentation({name: SURE.get(name, {})}, mode=mode, colours=True, hand=leap())
        assert str(caught.value).startswith(f"data.augment.{name} is not offered in frame {mode}: ")
        assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("yww", {}, "Unknown augmentation 'yww'. Did you mean 'yaw'?"),
        (
            "yaw",
            {"probability": 1.0, "max_dg": 3},
            "data.augment.yaw: expected the settings ['max_deg', 'probability']",
        ),
        (
            "yaw",
            {"probability": 1.0, "max_deg": 3, "min_deg": 1},
            "Unknown setting of data.augment.yaw 'min_deg'. Did you mean 'max_deg'?",
        ),
        (
            "jitter",
            {"probability": 1.0, "sigma_m": "much"},
            "data.augment.jitter.sigma_m: Input should be a valid number",
        ),
        (
            "jitter",
            {"probability": 2.0, "sigma_m": 0.1},
            "data.augment.jitter.probability: expected 0 to 1, got 2.0.",
        ),
        (
            "jitter",
            {"probability": 1.0, "sigma_m": -0.1},
            "data.augment.jitter.sigma_m: expected at least 0, got -0.1.",
        ),
        (
            "translation",
            {"probability": 1.0, "max_m": 0.1, "vertical": True},
            "data.augment.translation.vertical=true would lift the table",
        ),
        ("colour", SURE["colour"], "data.augment.colour changes colours, and batches have none"),
    ],
)
def test_settings_that_make_no_sense_are_answered(name: str, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        Augmentation({name: settings}, mode="tabletop", colours=False, hand=leap())
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize("path", sorted(AUGMENT.glob("*.yaml")), ids=lambda p: p.stem)
def test_yaml_keys_are_the_settings(path: Path) -> None:
    """No transform has a default in code: each setting stands in YAML."""
    settings = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(settings, dict)
    Augmentation(settings, mode="tabletop", colours=True, hand=leap())  # type: ignore[arg-type]
    for name, given in settings.items():
        kind = TRANSFORMS[str(name)]
        assert set(given) == {f.name for f in fields(kind)} - {"hand"}
