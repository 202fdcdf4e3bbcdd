"""Do augmented batches tell the same truth: the same hand at the same place of the same object?"""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor
from torch.testing import assert_close

from factories.batches import ALL, AUGMENT, SURE, batch, chain, hand_to_cloud
from factories.records import leap
from sceneleapultra.datasets.augmentation import Augmentation
from sceneleapultra.datasets.augmentation.frame import express, move_hand_pose
from sceneleapultra.datasets.augmentation.legality import CAMERA_MODES, MODES
from sceneleapultra.datasets.augmentation.pipeline import TRANSFORMS
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.geometry.rotation import matrix_from_quat_wxyz, quat_wxyz_from_matrix

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
        moved = move_hand_pose(values.hand_pose, T[:, :3, 3], quat_wxyz_from_matrix(T[:, :3, :3]))
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
    quat = torch.nn.functional.normalize(torch.randn(4, 4), dim=-1)
    t = torch.randn(4, 3)
    back = quat * torch.tensor([1.0, -1.0, -1.0, -1.0])
    there = express(before, t, quat)
    after = express(there, -(matrix_from_quat_wxyz(back) @ t[..., None]).squeeze(-1), back)
    assert (there.scene_pc - before.scene_pc).abs().max() > 0.1
    assert_close(after.scene_pc, before.scene_pc, rtol=0, atol=2e-6)
    assert_close(after.T_world_frame, before.T_world_frame, rtol=0, atol=2e-6)
    assert_close(after.hand_pose, before.hand_pose, rtol=0, atol=2e-6)


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


@pytest.mark.parametrize("name", sorted(TRANSFORMS))
def test_a_transform_depends_on_the_item_and_the_pass_alone(name: str) -> None:
    """Alone or in a batch, again or in another pass; clutter alone asks the neighbor."""
    mode = "camera_centric" if name == "tilt" else "tabletop"
    wide = {"erode_m": 0.02, "dilate_m": 0.02} if name == "mask_noise" else {}
    augment, before = chain(name, mode=mode, **wide), batch(4)
    first, again, later = augment(before), augment(before), augment(batch(4, epoch=1))
    assert torch.equal(first.scene_pc, again.scene_pc) and torch.equal(first.point_valid, again.point_valid)
    drawn = (first.scene_pc, first.object_mask, first.scene_rgb)
    if name not in ("background", "quantization"):  # which leave nothing to chance
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
    after = Augmentation({n: ALL[n] for n in names}, mode="tabletop", colors=True, hand=leap())(batch(16))
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
    ("object_centric", "clutter"): "a distractor stands on the table",
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
            Augmentation({name: SURE.get(name, {})}, mode=mode, colors=True, hand=leap())
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
        ("color", SURE["color"], "data.augment.color changes colors, and batches have none"),
    ],
)
def test_settings_that_make_no_sense_are_answered(name: str, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        Augmentation({name: settings}, mode="tabletop", colors=False, hand=leap())
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize("path", sorted(AUGMENT.glob("*.yaml")), ids=lambda p: p.stem)
def test_yaml_keys_are_the_settings(path: Path) -> None:
    """No transform has a default in code: each setting stands in YAML."""
    settings = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(settings, dict)
    mode = "camera_centric" if path.stem == "camera" else "tabletop"
    Augmentation(settings, mode=mode, colors=True, hand=leap())  # type: ignore[arg-type]
    for name, given in settings.items():
        kind = TRANSFORMS[str(name)]
        assert set(given) == {f.name for f in fields(kind)} - {"hand"}
