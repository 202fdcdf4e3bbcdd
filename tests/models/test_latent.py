"""Is the CVAE a correct one: divergence, bound, set semantics, sampling through the same door, and its refusals."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from factories.models import (
    TERMS,
    draw_anchors,
    losses_of,
    scene_batch,
    set_statistics_from,
    small_cvae,
    small_decoder,
    small_generator,
    small_module,
    small_objective,
)
from sceneleapultra.models import GraspModel, load_grasp_model
from sceneleapultra.models.diffusion.prior import PriorSolver
from sceneleapultra.models.module import GraspModule, build_module
from sceneleapultra.models.network.context import AnchoredScene
from sceneleapultra.models.network.tokens import Cloud
from sceneleapultra.models.objectives.latent import Divergence, gaussian_kl
from sceneleapultra.models.process import LatentDecoding
from sceneleapultra.utils.core.config import build

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
CLOUD = {
    "num_points": 280,
    "target_share": 0.6,
    "crop_radius": 0.5,
    "points": {"sampler": "farthest", "cell_m": 0.005, "shares": (0.5, 0.25, 0.25), "falloff_m": 0.05},
}
SEEDS = [1, 2, 3]


def anchored_scene(module: GraspModule, num_grasps: int) -> AnchoredScene:
    scene = module.generator.encode(Cloud.of(scene_batch()))
    index = draw_anchors(scene, num_grasps)
    return module.generator.anchor(scene, index, torch.zeros_like(index))


def with_divergence(**settings) -> GraspModule:
    return small_cvae(terms=TERMS | {"kl": Divergence(**{"free_nats": 0.0, "weight": 0.02, **settings})})


def test_divergence_is_that_of_torch():
    mean, log_variance = torch.randn(3, 4, 5), torch.randn(3, 4, 5)
    q = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0))
    assert_close(gaussian_kl(mean, log_variance), expected)


def test_free_nats_and_warm_up_shape_the_divergence():
    batch = scene_batch()
    plain, free = with_divergence(), with_divergence(free_nats=50.0)
    warm = with_divergence(weight=lambda step: 0.02 * min(1.0, step / 10))
    assert losses_of(plain, batch)["kl"] > 0.1
    assert_close(losses_of(free, batch)["kl"], torch.tensor(8 * 50.0))  # 8 dimensions, all below 50 nats
    terms = losses_of(warm, batch)
    rest = {name: term for name, term in terms.items() if name != "kl"}
    assert_close(warm.objective.total(terms, 0), warm.objective.total(rest, 0))  # weightless at step 0
    assert_close(warm.objective.total(terms, 10), plain.objective.total(terms, 10))


def test_noise_of_the_code_is_reparametrized():
    """With a code without variance the reconstruction does not depend on the noise; with one it does."""
    module, batch = small_cvae(), scene_batch()
    one, two = (losses_of(module, batch, step) for step in (0, 1))
    assert not torch.allclose(one["joints"], two["joints"], rtol=1e-4)
    anchored, x0 = anchored_scene(module, 6), torch.randn(3, 6, 41)
    features = module.generator.conditioning.anchor_features(anchored.scene, anchored.index)
    mean, log_variance = module.objective.encode(x0, anchored, features)
    module.objective.posterior.out.weight.data[8:] = 0.0
    module.objective.posterior.out.bias.data[8:] = -50.0  # bounded to -8
    again, least = module.objective.encode(x0, anchored, features)
    assert_close(again, mean)
    assert (log_variance > -8.0).all() and (least == -8.0).all()


def test_codes_and_grasps_keep_the_order_of_the_set():
    module = small_cvae()
    generator = module.generator

    def encode(x0, anchored):
        features = generator.conditioning.anchor_features(anchored.scene, anchored.index)
        return module.objective.encode(x0, anchored, features)

    scene = generator.encode(Cloud.of(scene_batch()))
    index = draw_anchors(scene, 7)
    order, x0, z = torch.randperm(7), torch.randn(3, 7, 41), torch.randn(3, 7, 8)
    set_id, t = torch.zeros_like(index), torch.zeros(3)
    one = generator.anchor(scene, index, set_id)
    two = generator.anchor(scene, index[:, order], set_id)
    assert_close(encode(x0[:, order], two)[0], encode(x0, one)[0][:, order], atol=1e-5, rtol=1e-5)
    decoded = generator.predict_x0(z, t, one)[:, order]
    assert_close(generator.predict_x0(z[:, order], t, two), decoded, atol=1e-5, rtol=1e-5)


def test_samples_come_from_the_prior_in_one_evaluation():
    generator, batch = small_cvae().generator, scene_batch()
    made = generator.sample(batch, 5, seeds=SEEDS)
    assert made.nfe == 1 and made.hand_pose.shape == (3, 5, 23)
    assert_close(made.hand_pose, generator.sample(batch, 5, seeds=SEEDS).hand_pose, atol=0, rtol=0)
    assert not torch.allclose(made.hand_pose, generator.sample(batch, 5, seeds=[4, 5, 6]).hand_pose)
    # At temperature 0 every code is the same: only the anchor tells grasps of a scene apart, and there are 24.
    several = generator.sample(batch, 40, seeds=SEEDS)
    still = generator.sample(batch, 40, seeds=SEEDS, sampling={"temperature": 0.0})
    distinct = lambda m: len(m.pred_pose[0].round(decimals=4).unique(dim=0))  # noqa: E731
    assert distinct(still) <= generator.encoder.num_tokens < distinct(several) == 40


@pytest.mark.slow
def test_training_on_one_batch_finds_its_grasps():
    """Reconstruction beats the mean by far, and samples of the prior lie on the training palms."""
    module, batch = small_cvae().train(), scene_batch(num_grasps=6)
    set_statistics_from(module, batch)
    optimizer = torch.optim.AdamW(module.parameters(), 3e-3)
    errors = []
    for step in range(300):
        terms = losses_of(module, batch, step)
        loss = module.objective.total(terms, step)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        errors.append(torch.stack([terms["translation"], terms["rotation"]]).detach())
    # Predicting the mean leaves 1. One step alone may have drawn an unlikely code.
    assert (torch.stack(errors[-10:]).mean(0) < 0.05).all()
    assert terms["kl"] > 0.5, "the code must carry something"
    made = module.generator.eval().sample(batch, 12, seeds=[0, 1, 2])
    distance = torch.cdist(made.hand_pose[..., :3], batch.hand_pose[..., :3]).amin(-1)
    spread = torch.cdist(batch.hand_pose[..., :3], batch.hand_pose[..., :3]).mean()
    assert distance.median() < 0.35 * spread


def test_configured_cvae_goes_through_checkpoint_and_sample(compose, tmp_path: Path):
    cfg = compose(
        "model=grasp_cvae",
        "model.generator.decoder.dim=32",
        "model.generator.decoder.depth=1",
        "data.grasps.number=4",
    )
    module = build_module(
        cfg.model, cloud=CLOUD, optimizer=build(cfg.optimizer), scheduler=build(cfg.scheduler)
    ).eval()
    saved = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(saved)
    torch.save(saved, tmp_path / "m.ckpt")
    loaded = load_grasp_model(tmp_path / "m.ckpt")
    rng = np.random.default_rng(0)
    angle, height = rng.uniform(-1.2, 1.2, 300), rng.uniform(0, 0.1, 300)
    points = np.stack([0.04 * np.cos(angle), 0.04 * np.sin(angle), height], axis=1).astype(np.float32)
    asked = {
        "object_mask": np.arange(300) % 3 > 0,
        "viewpoint": (0.5, 0.0, 0.5),
        "up": (0.0, 0.0, 1.0),
        "seed": 0,
    }
    one = loaded.sample(points, 5, **asked)
    built = GraspModel(generator=module.generator, cloud_settings=CLOUD)
    two = built.sample(points, 5, sampling={"solver": "prior"}, **asked)
    assert one.nfe == 1 and np.array_equal(one.hand_pose, two.hand_pose)
    for changes, sentence in (
        ({"solver": "ddim"}, "solver=ddim follows a diffusion; this model is a CVAE"),
        ({"cfg_scale": 2.0}, "cfg_scale=2 needs a model that was trained without its conditions"),
        ({"rank": "log_prob"}, "rank=log_prob follows the flow of a diffusion model; this is a CVAE"),
    ):
        with pytest.raises(ValueError, match=sentence):
            loaded.sample(points, 5, sampling=changes, **asked)


def test_what_makes_no_sense_is_refused():
    batch, cvae = scene_batch(), small_cvae()
    with pytest.raises(ValueError, match=r"solver.steps must be 1, got 2"):
        PriorSolver(steps=2, temperature=1.0, clip_x0=None)
    with pytest.raises(ValueError, match=r"solver=prior draws the codes of a CVAE"):
        small_generator().sample(batch, 2, seeds=SEEDS, sampling={"solver": "prior"})
    with pytest.raises(ValueError, match="it has no trajectory"):
        cvae.generator.sample(batch, 2, seeds=SEEDS, trajectory=True)
    with pytest.raises(ValueError, match=r"model.generator.decoder.hand_geometry=false"):
        small_cvae(decoder=small_decoder())
    with pytest.raises(ValueError, match=r"process.latent_dim: expected at least 1, got 0"):
        LatentDecoding(latent_dim=0)
    with pytest.raises(ValueError, match="expected free_nats of at least 0, got -1"):
        with_divergence(free_nats=-1.0)
    with pytest.raises(ValueError, match=r"objective=latent trains a CVAE.*Pass model=grasp_cvae"):
        small_module(small_generator(), cvae.objective)
    with pytest.raises(ValueError, match=r"objective=denoising trains a diffusion.*Pass model=grasp_dit"):
        small_module(cvae.generator, small_objective())
    with pytest.raises(ValueError, match=r"terms.kl needs code, which Denoising does not give"):
        small_objective(terms=TERMS | {"kl": Divergence(free_nats=0.0, weight=0.02)})
