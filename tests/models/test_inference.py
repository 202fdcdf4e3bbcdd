"""The one call users make: frames, order, determinism, and a sentence for every wrong input."""

import subprocess
import sys

import hydra
import numpy as np
import pytest
import torch
from hydra import initialize_config_dir
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from factories.models import small_encoder, small_generator
from factories.shipped import LEAP_TABLE_CPU
from factories.views import CLOUD, cloud, sample, small_model
from sceneleapultra.models import GraspModel, load_grasp_model
from sceneleapultra.models.beside import neighbor_points
from sceneleapultra.models.checkpoints.migrate import migrate
from sceneleapultra.models.clearance import observed_clearance
from sceneleapultra.models.module import build_module
from sceneleapultra.models.ranking import ClearanceRank
from sceneleapultra.models.representation import PoseRepresentation
from sceneleapultra.utils.core.config import CONFIG_DIR
from sceneleapultra.utils.requests import GraspRequest

SHIPPED = LEAP_TABLE_CPU


@pytest.fixture
def model() -> GraspModel:
    return small_model()


def test_grasps_come_best_first_and_repeat(model):
    one, two = sample(model, *cloud()), sample(model, *cloud())
    assert one.hand_pose.shape == (9, 23) and (np.diff(one.score) <= 0).all()
    assert_allclose(one.hand_pose, two.hand_pose, atol=0)
    assert not np.allclose(one.hand_pose, sample(model, *cloud(), seed=1).hand_pose)


def test_grasps_are_in_the_frame_of_the_cloud(model):
    """A cloud in a camera's frame (y down) gives the same grasps as the same cloud with z up, in its own frame."""
    points, mask = cloud()
    R = np.array([[1.0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]])  # camera axes from world axes
    shift = np.array([0.1, 0.2, 0.9])
    viewpoint = R @ np.array([0.5, 0.0, 0.5]) + shift
    # Three steps: a network of random weights turns a rounding that changes a nearest point into millimetres.
    one = sample(model, points, mask, sampling={"steps": 3})
    two = sample(
        model,
        (points @ R.T + shift).astype(np.float32),
        mask,
        viewpoint=tuple(viewpoint),
        up=tuple(R @ np.array([0.0, 0.0, 1.0])),
        sampling={"steps": 3},
    )
    # Scores of different grasps may tie to rounding, so the order is not compared.
    expected = one.hand_pose[:, :3] @ R.T + shift
    distance = np.linalg.norm(two.hand_pose[:, None, :3] - expected[None], axis=-1)
    assert distance.min(0).max() < 1e-4 and distance.min(1).max() < 1e-4


def test_the_rank_by_clearance_is_the_product_of_two_probabilities(model):
    """Of success as the score has it, and of staying clear of a wall that stands beside the object on a table."""
    points, mask = cloud()
    x, y, z = np.meshgrid(np.linspace(-0.2, 0.2, 60), np.linspace(-0.2, 0.2, 60), [0.0])
    floor = np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1).astype(np.float32)
    wall = np.stack([np.full(x.size, 0.2), y.ravel(), 0.15 + 0.6 * x.ravel()], axis=1).astype(np.float32)
    wall = wall[wall[:, 2] > 0.02]
    points = np.concatenate([points, floor, wall])
    mask = np.append(mask, np.zeros(len(floor) + len(wall), dtype=bool))
    by_score = sample(model, points, mask, sampling={"rank": "score"})
    alone = np.concatenate([points[:300], wall]), np.append(mask[:300], np.zeros(len(wall), dtype=bool))
    request = GraspRequest(*alone, viewpoint=np.array([0.5, 0.0, 0.5]), up=np.array([0.0, 0.0, 1.0]))
    clearance_m = observed_clearance(model.hand, by_score.hand_pose, request)
    middle = float(clearance_m.min() + clearance_m.max()) / 2.0
    rank = ClearanceRank(sort=True, by="success", margin_m=middle, softness_m=1e-4)
    made = sample(model, points, mask, sampling={"rank": rank})
    far = {pose.tobytes() for pose in by_score.hand_pose[clearance_m > middle]}
    assert 0 < len(far) < len(made) and {pose.tobytes() for pose in made.hand_pose[: len(far)]} == far
    assert (np.diff(made.score) <= 0).all()
    one, two = (np.lexsort(grasps.hand_pose.T) for grasps in (by_score, made))
    assert not np.array_equal(one, two)
    assert_allclose(made.hand_pose[two], by_score.hand_pose[one], atol=0)
    assert_allclose(made.p_stable[two], by_score.p_stable[one], atol=0)
    success, product = (
        1.0 / (1.0 + np.exp(-x.astype(np.float64))) for x in (by_score.score[one], made.score[two])
    )
    clear = 1.0 / (1.0 + np.exp((middle - clearance_m[one]) / 1e-4))
    assert_allclose(product, success * clear, rtol=1e-3, atol=1e-9)


def test_neighbors_are_what_stands_out_of_the_table():
    rng = np.random.default_rng(0)
    table, box = rng.uniform(-0.3, 0.3, (900, 3)), rng.uniform(0.0, 0.05, (100, 3))
    table[:, 2] = rng.normal(0.0, 0.001, 900)
    R = Rotation.from_rotvec([0.4, -0.7, 0.2]).as_matrix()
    points = np.concatenate([table, box]) @ R.T
    expected = points[900:][box[:, 2] > 0.0125]
    found = neighbor_points(points, R[:, 2])
    assert {tuple(p) for p in expected} <= {tuple(p) for p in found}
    assert len(found) <= (box[:, 2] > 0.005).sum()
    assert neighbor_points(points[:0], R[:, 2]).shape == (0, 3)


def test_few_points_are_enough_behind_the_msample(model):
    points, _ = cloud(20)
    made = sample(model, points, np.ones(20, dtype=bool))
    assert np.isfinite(made.hand_pose).all()


def test_steps_and_solver_can_be_chosen(model):
    assert sample(model, *cloud(), sampling={"steps": 3}).nfe == 3
    assert sample(model, *cloud(), sampling={"solver": "ddpm", "steps": 2}).nfe == 2
    whole = model.generator.sampling.changed(steps=3)
    assert sample(model, *cloud(), sampling=whole).nfe == 3


def test_grasps_are_ranked_by_what_is_asked_for(model):
    ranks = ("score", "stable", "none", "log_prob")
    made = {rank: sample(model, *cloud(), sampling={"rank": rank}) for rank in ranks}

    def keys(rank):
        return [tuple(pose) for pose in made[rank].hand_pose]

    for rank in ranks:
        assert rank == "none" or (np.diff(made[rank].score) <= 0).all()
        assert sorted(keys(rank)) == sorted(keys("score")), "the same grasps"
    assert not (np.diff(made["none"].score) <= 0).all(), "as they were drawn"
    assert not np.array_equal(made["log_prob"].score, made["score"].score)
    # Success is being stable and collision-free, so its log-odds are below those of being stable alone.
    stable = dict(zip(keys("stable"), made["stable"].score, strict=True))
    assert all(score < stable[key] for key, score in zip(keys("score"), made["score"].score, strict=True))
    with pytest.raises(ValueError, match=r"'log_probb'\. Did you mean 'log_prob'"):
        sample(model, *cloud(), sampling={"rank": "log_probb"})


@pytest.mark.untyped
@pytest.mark.parametrize("number", [4.0, True, 0, -3])
def test_a_number_of_grasps_that_is_none_gets_a_sentence(model, number):
    points, mask = cloud()
    with pytest.raises(ValueError, match=f"num_grasps: expected a whole number of at least 1, got {number}"):
        model.sample(points, number, object_mask=mask, viewpoint=(0.5, 0.0, 0.5), up=(0.0, 0.0, 1.0))


def test_trajectory_ends_at_the_grasps(model):
    made = sample(model, *cloud(), sampling={"solver": "heun", "steps": 3}, trajectory=True)
    assert made.nfe == 5 and made.trajectory.shape == (4, 9, 23)
    assert_allclose(made.trajectory[-1], made.hand_pose, atol=0)
    assert sample(model, *cloud()).trajectory is None


@pytest.mark.untyped
def test_unknown_solver_names_the_nearest(model):
    with pytest.raises(ValueError, match="Did you mean 'ddpm'"):
        sample(model, *cloud(), sampling={"solver": "ddmp"})


@pytest.mark.untyped
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p, m: (p * 1000, m), "span .* cm; the hand spans 25 cm.*divide millimetres by 1000"),
        (lambda p, m: (p * 0.001, m), "Points must be in metres"),
        (lambda p, m: (np.full_like(p, np.nan), m), "none of 300 points holds a surface"),
        (lambda p, m: (np.full_like(p, 0.5), m), "all 300 points are one and the same"),
        (lambda p, m: (p, np.where(m, 3.0, -4.0)), "expected booleans, or 0 and 1"),
        (lambda p, m: (p, np.arange(len(p)) % 4), "expected booleans, or 0 and 1"),
        (
            lambda p, m: (p, np.arange(len(p)) < 5),
            "needs at least 8 points on the object, object_mask marks 5",
        ),
        (lambda p, m: (p[:0], m[:0]), "none of 0 points holds a surface"),
        (lambda p, m: (np.concatenate([p, p], 1), m), r"expected floats of shape \(n, 3\)"),
        (lambda p, m: (p, m[:-1]), r"object_mask: expected booleans, one per point, shape \(300,\)"),
    ],
)
def test_bad_clouds_get_a_sentence(model, spoil, message):
    with pytest.raises(ValueError, match=message):
        sample(model, *spoil(*cloud()))


def colored(**changes) -> GraspModel:
    return GraspModel(
        generator=small_generator(encoder=small_encoder(use_color=True), **changes), cloud_settings=CLOUD
    )


def test_colors_reach_the_encoder(model):
    reads_color = colored()
    rgb = np.random.default_rng(0).integers(0, 255, (300, 3)).astype(np.uint8)
    gray = sample(reads_color, *cloud(), rgb=np.full_like(rgb, 99))
    assert reads_color.uses_color and not model.uses_color
    assert not np.allclose(gray.hand_pose, sample(reads_color, *cloud(), rgb=rgb).hand_pose)
    with pytest.raises(ValueError, match="built to use colors, but the cloud has none"):
        sample(reads_color, *cloud())


def test_colors_are_not_needed_where_a_model_learned_to_do_without():
    able = colored(condition_dropout={"scene": 0.0, "color": 0.1})
    with_color = sample(able, *cloud(), rgb=np.full((300, 3), 255, np.uint8))
    without = sample(able, *cloud())
    assert not np.allclose(with_color.hand_pose, without.hand_pose)
    with torch.no_grad():
        able.generator.conditioning.null_color.fill_(1.0)  # as if all that is not shown were white
    np.testing.assert_array_equal(sample(able, *cloud()).hand_pose, with_color.hand_pose)


@pytest.mark.untyped
def test_colors_nobody_wants_or_of_another_kind_are_refused(model):
    rgb = np.zeros((300, 3), np.uint8)
    with pytest.raises(ValueError, match="built without colors, but the cloud has some"):
        sample(model, *cloud(), rgb=rgb)
    for wrong in (rgb / 255, rgb[:-1]):
        with pytest.raises(
            ValueError, match=r"rgb: expected colors as uint8 of shape \(300, 3\) like the points, got"
        ):
            sample(model, *cloud(), rgb=wrong)


def test_a_checkpoint_carries_all_that_sampling_needs(tmp_path):
    small = [
        "model.generator.encoder.levels.fine.centers=48",
        "model.generator.encoder.levels.coarse.centers=24",
        "sampling.solver.steps=3",
        "sampling.solver.temperature=0.7",
    ]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = hydra.compose("config", overrides=[f"run_dir={tmp_path}", *small])
    module = build_module(cfg.model, cloud=CLOUD, optimizer=torch.optim.AdamW, scheduler=lambda o: o)
    generator = module.generator.eval()
    generator.normalizer.mean += 0.5
    generator.normalizer.frame = "tabletop"
    saved = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(saved)
    path = tmp_path / "m.ckpt"
    torch.save(saved, path)
    loaded = load_grasp_model(path)
    assert loaded.frame == "tabletop"
    assert loaded.generator.sampling == generator.sampling and generator.sampling.solver.temperature == 0.7
    expected = sample(GraspModel(generator=generator, cloud_settings=CLOUD), *cloud())
    made = sample(loaded, *cloud())
    assert made.nfe == 3
    assert_allclose(made.hand_pose, expected.hand_pose, atol=0)
    assert_allclose(made.squeeze_qpos, expected.squeeze_qpos, atol=0)

    saved["hand_hash"] = "another"
    torch.save(saved, path)
    with pytest.raises(ValueError, match="another description of hand 'leap_right'"):
        load_grasp_model(path)


NO_LIGHTNING = """
import sys
for name in ("pytorch_lightning", "lightning", "lightning_fabric"):
    sys.modules[name] = None  # importing it fails
import numpy as np
from sceneleapultra import load_grasp_model
rng = np.random.default_rng(0)
points = np.concatenate([rng.uniform(-0.03, 0.03, (200, 3)), rng.uniform(-0.3, 0.3, (200, 3)) * (1, 1, 0)])
model = load_grasp_model("leap_table")
made = model.sample(
    points, 2, object_mask=np.arange(400) < 200, viewpoint=(0.5, 0, 0.5), up=(0, 0, 1), sampling={"steps": 1}
)
assert made.hand_pose.shape == (2, 23) and np.isfinite(made.hand_pose).all()
"""


@pytest.mark.slow
def test_sampling_needs_no_lightning():
    done = subprocess.run(
        [sys.executable, "-c", NO_LIGHTNING], cwd=CONFIG_DIR.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("key", "change", "words"),
    [
        (
            "generator.encoder.out.weight",
            lambda w: w[:, :-1],
            r"out.weight is \(64, 66\) in the file and \(64, 67\)",
        ),
        ("generator.encoder.out.bias", None, r"out.bias is absent in the file and \(64,\) in the model"),
    ],
)
def test_weights_of_another_architecture_are_named(tmp_path, key, change, words):
    saved = migrate(torch.load(SHIPPED, weights_only=True))
    weight = saved["state_dict"].pop(key)
    if change is not None:
        saved["state_dict"][key] = change(weight)
    torch.save(saved, tmp_path / "changed.ckpt")
    with pytest.raises(ValueError, match=words):
        load_grasp_model(tmp_path / "changed.ckpt")


def test_missing_and_foreign_checkpoints(tmp_path):
    with pytest.raises(FileNotFoundError, match="Train one with"):
        load_grasp_model(tmp_path / "none.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    with pytest.raises(ValueError, match="holds no grasp model"):
        load_grasp_model(tmp_path / "foreign.ckpt")


# A model of plain poses needs the cloud in the frame it was trained in.


def plain(mode: str) -> GraspModel:
    plain_poses = PoseRepresentation(anchored=False, reference_depth=0.02, autoencoder=None)
    model = GraspModel(generator=small_generator(representation=plain_poses), cloud_settings=CLOUD)
    model.generator.normalizer.frame = mode
    return model


def on_a_table(height: float) -> tuple[np.ndarray, np.ndarray]:
    """The curved surface standing on a table at a height."""
    points, mask = cloud()
    rng = np.random.default_rng(1)
    points[~mask] = np.c_[rng.uniform(-0.2, 0.2, (int((~mask).sum()), 2)), np.zeros(int((~mask).sum()))]
    return points + np.array([0.0, 0.0, height], np.float32), mask


def test_plain_poses_on_a_table_move_with_the_cloud():
    """Wherever the world has its origin, the network is shown the same: the table at z = 0 below the target."""
    model, (points, mask) = plain("tabletop"), on_a_table(0.0)
    shift = np.array([0.3, -0.2, 0.7], np.float32)
    one = sample(model, points, mask)
    two = sample(model, points + shift, mask, viewpoint=tuple(np.array([0.5, 0.0, 0.5]) + shift))
    assert_allclose(two.hand_pose[:, :3] - shift, one.hand_pose[:, :3], atol=1e-4)
    assert_allclose(two.hand_pose[:, 3:-4], one.hand_pose[:, 3:-4], atol=1e-4)


@pytest.mark.parametrize(
    "mode",
    [
        "camera_centric",
        "camera_centric_obj_mean_normalized",
        "camera_centric_scene_mean_normalized",
    ],
)
def test_plain_poses_in_a_camera_need_its_frame(mode):
    model, (points, mask) = plain(mode), on_a_table(0.0)
    R = np.array([[1.0, 0, 0], [0, -0.6, -0.8], [0, 0.8, -0.6]])  # camera axes from world axes
    in_camera = (points @ R.T + [0.0, 0.0, 0.5]).astype(np.float32)
    made = sample(model, in_camera, mask, viewpoint=(0.0, 0.0, 0.0), up=tuple(R @ [0.0, 0.0, 1.0]))
    assert np.isfinite(made.hand_pose).all()
    # The origin is taken off and put back on: moved along the ray, only the normalized modes see the same cloud.
    shift = np.array([0.0, 0.0, 0.2], np.float32)
    far = sample(model, in_camera + shift, mask, viewpoint=(0.0, 0.0, 0.0), up=tuple(R @ [0.0, 0.0, 1.0]))
    assert far.hand_pose.shape == made.hand_pose.shape
    with pytest.raises(
        ValueError, match=r"given the cloud in it: viewpoint \(0, 0, 0\), got \(0\.5, 0, 0\.5\)"
    ):
        sample(model, points, mask)


def test_plain_poses_in_an_objects_frame_cannot_be_asked_for():
    with pytest.raises(ValueError, match="which a cloud does not show"):
        sample(plain("object_centric"), *cloud())


def test_a_model_without_a_frame_says_so():
    with pytest.raises(ValueError, match=r"has no coordinate mode \(''\): was it trained\?"):
        sample(plain(""), *cloud())


@pytest.mark.parametrize(
    ("device", "sentence"),
    [
        ("cuda:99", r"device=cuda:99: torch .* sees \d+ CUDA devices here"),
        ("gpu", "device=gpu is none: expected cpu"),
    ],
)
def test_a_device_that_is_not_there_is_named(device, sentence):
    with pytest.raises(ValueError, match=sentence):
        load_grasp_model(SHIPPED, device=device)


@pytest.mark.gpu
@pytest.mark.parametrize("guidance", ["none", "stable", "score", "physics", "physics_collision_free"])
def test_a_gpu_samples_for_the_same_call(guidance):
    model = load_grasp_model("leap_table", device="cuda")
    points, mask = cloud(900)
    made = sample(model, points, mask, sampling={"guidance": guidance, "temperature": 0.2})
    assert_allclose(np.linalg.norm(made.hand_pose[:, -4:], axis=-1), 1.0, atol=1e-5)
    low, high = model.hand.joint_limits.cpu().numpy().T
    assert (made.hand_pose[:, 3:-4] >= low - 1e-5).all() and (made.hand_pose[:, 3:-4] <= high + 1e-5).all()
    palm = np.linalg.norm(made.hand_pose[:, :3] - points[mask].mean(0), axis=-1)
    assert np.isfinite(made.score).all() and (palm < 0.3).all() and (palm > 0.01).all()


@pytest.mark.gpu
def test_a_gpu_repeats_itself():
    model = load_grasp_model(SHIPPED, device="cuda")
    one, two = (sample(model, *cloud(900), sampling={"rank": "none"}) for _ in range(2))
    assert_allclose(one.hand_pose, two.hand_pose, atol=1e-4)
