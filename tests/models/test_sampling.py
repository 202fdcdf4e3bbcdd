"""Random numbers of sampling: a scene's grasps depend on its cloud and its seed, not on its batch."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from factories.models import scene_batch, small_cvae, small_generator, small_sampling
from sceneleapultra.models.diffusion.likelihood import FlowRank
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.network.conditions.base import Condition
from sceneleapultra.models.network.conditions.words import HashingEncoder
from sceneleapultra.models.network.context import GeneratedGrasps
from sceneleapultra.models.network.tokens import Cloud
from sceneleapultra.models.ranking import LikelihoodRank
from sceneleapultra.models.sampling import SampleRandom, choose_anchors
from sceneleapultra.utils.batch import GraspBatch

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
COLUMNS = ("hand_pose", "pred_pose", "pregrasp_qpos", "squeeze_qpos", "score", "log_odds")
SEEDS = (7, 0, 12345)
CPU = torch.device("cpu")


def unlike_clouds() -> GraspBatch:
    """Scenes of different numbers of points and of target points."""
    batch = scene_batch()
    valid = batch.point_valid & (torch.arange(96) < torch.tensor([[96], [80], [64]]))
    mask = batch.object_mask & (torch.arange(3)[:, None] + batch.object_mask.cumsum(1) < 40)
    return replace(batch, point_valid=valid, object_mask=mask)


def assert_same(one: GeneratedGrasps, two: GeneratedGrasps) -> None:
    for name in COLUMNS:
        assert_close(getattr(one, name), getattr(two, name), atol=0, rtol=0, msg=name)


def prompted() -> GraspGenerator:
    words = Condition(encoder=HashingEncoder(dim=16), reads="positive_prompt", dim=32, drop_prob=0.1)
    return small_generator(conditions={"prompt": words})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"solver": "ddpm", "steps": 4},
        {"solver": "edm_heun", "steps": 3},
        {"guidance": "stable"},
        {"guidance": "physics_collision_free"},
        {"rank": LikelihoodRank(sort=True, flow=FlowRank(steps=1, probes=2)), "steps": 1},
        {"solver": "ddpm", "steps": 2, "guidance": "stable", "rank": "stable"},
    ],
    ids=("default", "ddpm", "edm_heun", "stable", "physics_clear", "log_prob", "ddpm-stable"),
)
def test_a_batch_gives_bit_for_bit_what_its_scenes_give_alone(changes: dict[str, Any]) -> None:
    generator, batch = small_generator(), unlike_clouds()
    whole = generator.sample(batch, 5, seeds=SEEDS, sampling=changes)
    for i, seed in enumerate(SEEDS):
        alone = generator.sample(batch.item(i), 5, seeds=[seed], sampling=changes)
        rows = {name: getattr(whole, name)[i : i + 1] for name in COLUMNS}
        assert_same(alone, replace(whole, **rows))
        assert alone.nfe == whole.nfe


def test_prompts_stay_with_their_scenes() -> None:
    generator = prompted()
    batch = replace(unlike_clouds(), positive_prompt=("mug", "bowl", "box"), negative_prompts=(("a",),) * 3)
    whole = generator.sample(batch, 4, seeds=SEEDS)
    alone = generator.sample(batch.item(1), 4, seeds=SEEDS[1:2])
    assert_close(whole.hand_pose[1:2], alone.hand_pose, atol=0, rtol=0)
    other = replace(batch, positive_prompt=("mug", "lamp", "box"))
    changed = generator.sample(other, 4, seeds=SEEDS).hand_pose
    assert_close(changed[[0, 2]], whole.hand_pose[[0, 2]], atol=0, rtol=0)
    assert not torch.allclose(changed[1], whole.hand_pose[1])


def test_a_cvae_keeps_its_scenes_apart() -> None:
    generator, batch = small_cvae().generator, unlike_clouds()
    whole = generator.sample(batch, 4, seeds=SEEDS)
    alone = generator.sample(batch.item(2), 4, seeds=SEEDS[2:])
    assert_close(whole.hand_pose[2:], alone.hand_pose, atol=0, rtol=0)


def test_a_trajectory_of_a_batch_is_those_of_its_scenes() -> None:
    generator, batch = small_generator(), unlike_clouds()
    whole = generator.sample(batch, 4, seeds=SEEDS, trajectory=True).trajectory
    alone = generator.sample(batch.item(1), 4, seeds=SEEDS[1:2], trajectory=True).trajectory
    assert whole is not None and alone is not None and whole.shape == (5, 3, 4, 23)
    assert_close(whole[:, 1:2], alone, atol=0, rtol=0)


def test_equal_seeds_give_equal_noise_and_others_other() -> None:
    like = torch.zeros(3, 50, 41)
    rng = SampleRandom((7, 7, 8), CPU)
    first, second = rng(like), rng(like)
    assert torch.equal(first[0], first[1]) and not torch.equal(first[0], first[2])
    assert not torch.equal(first, second), "every call draws other numbers"
    # 6150 numbers: three standard errors of the mean are 0.038, of the variance 0.054.
    assert abs(first.mean()) < 0.038 and abs(first[1:].var() - 1.0) < 0.08


def test_anchors_are_drawn_from_their_probability() -> None:
    """Of 3000 draws with p = (1, 2, 5) / 8: three standard errors are at most 0.028."""
    scene = small_generator().encode(Cloud.of(scene_batch(num_scenes=1)))
    logits = torch.full_like(scene.outputs["anchors"], float("-inf"))
    logits[0, :3] = torch.tensor([1.0, 2.0, 5.0]).log()
    scene = replace(scene, outputs={"anchors": logits})
    drawn = choose_anchors(scene, 3000, 1.0, SampleRandom((0,), CPU))
    share = torch.bincount(drawn[0], minlength=3) / 3000
    assert_close(share, torch.tensor([1.0, 2.0, 5.0]) / 8, atol=0.028, rtol=0)
    # At temperature 1/2 probabilities are squared: (1, 4, 25) / 30.
    sharp = choose_anchors(scene, 3000, 0.5, SampleRandom((0,), CPU))
    share = torch.bincount(sharp[0], minlength=3) / 3000
    assert_close(share, torch.tensor([1.0, 4.0, 25.0]) / 30, atol=0.028, rtol=0)


def test_pregrasp_and_squeeze_follow_the_settings() -> None:
    """Half as wide open, and squeezed twice as far, from the same grasps."""
    generator, batch = small_generator(), scene_batch()
    wide, narrow = (
        generator.sample(batch, 4, seeds=SEEDS, sampling=changes)
        for changes in (
            {"pregrasp_opening": 0.1, "squeeze_gain": 0.02},
            {"pregrasp_opening": 0.05, "squeeze_gain": 0.01},
        )
    )
    assert torch.equal(wide.hand_pose, narrow.hand_pose)
    qpos = wide.hand_pose[..., 3:19]
    low, high = generator.hand.joint_limits.unbind(-1)
    for name in ("pregrasp_qpos", "squeeze_qpos"):
        far, near = getattr(wide, name), getattr(narrow, name)
        inside = (far > low + 1e-4) & (far < high - 1e-4)
        assert inside.float().mean() > 0.3
        assert_close((far - qpos)[inside], 2.0 * (near - qpos)[inside], atol=1e-6, rtol=1e-4)


def test_a_seed_is_needed_for_each_scene() -> None:
    with pytest.raises(ValueError, match=r"seeds: expected one per scene, 3, got 2"):
        small_generator().sample(scene_batch(), 2, seeds=(0, 1))


def test_a_solver_of_another_kind_is_refused_before_anything_is_sampled() -> None:
    with pytest.raises(ValueError, match=r"solver=prior draws the codes of a CVAE"):
        small_generator(sampling=small_sampling(solver=small_cvae().generator.sampling.solver))
    with pytest.raises(ValueError, match=r"solver=consistency needs a distilled model"):
        small_generator().sample(scene_batch(), 2, seeds=SEEDS, sampling={"solver": "consistency"})
