"""Is the CVAE a correct one: divergence, bound, set semantics, sampling through the same door, and its refusals."""

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from sceneleapultra.models.cvae import Prior, gaussian_kl
from torch.testing import assert_close

from factories.models import adopt_from, scene_batch, small_cvae, small_decoder, small_model
from sceneleapultra.models import GraspModel, load_grasp_model
from sceneleapultra.models.sampling import cloud_of
from sceneleapultra.utils.core.config import build

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
CLOUD = {
    "num_points": 280,
    "target_share": 0.6,
    "crop_radius": 0.5,
    "points": {"sampler": "farthest", "cell_m": 0.005, "shares": (0.5, 0.25, 0.25), "falloff_m": 0.05},
}


def anchored_scene(model, num_grasps: int):
    scene = model.denoiser.encode(cloud_of(scene_batch()))
    index = model.sample_anchors(scene, num_grasps, torch.Generator().manual_seed(0))
    return model.denoiser.anchor(scene, index, torch.zeros_like(index))


def test_divergence_is_that_of_torch():
    mean, log_variance = torch.randn(3, 4, 5), torch.randn(3, 4, 5)
    q = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0))
    assert_close(gaussian_kl(mean, log_variance), expected)


def test_free_nats_and_warm_up_shape_the_divergence():
    batch = scene_batch()
    plain, free, warm = small_cvae(), small_cvae(free_nats=50.0), small_cvae(kl_warmup_steps=10)
    draws = plain.draw(batch, 0, 24)
    assert plain.losses(batch, draws)["kl"] > 0.1
    assert_close(free.losses(batch, draws)["kl"], torch.tensor(8 * 50.0))  # 8 dimensions, all below 50 nats
    assert warm.losses(batch, draws)["kl"] == 0.0, "weightless at step 0"


def test_noise_of_the_code_is_reparametrized():
    """With a code without variance the reconstruction does not depend on the noise; with one it does."""
    model, batch = small_cvae(), scene_batch()
    one, two = (model.losses(batch, model.draw(batch, step, 24)) for step in (0, 1))
    assert not torch.allclose(one["joints"], two["joints"], rtol=1e-4)
    anchored, x0 = anchored_scene(model, 6), torch.randn(3, 6, 41)
    mean, log_variance = model.encoded(x0, anchored)
    model.posterior.out.weight.data[8:] = 0.0
    model.posterior.out.bias.data[8:] = -50.0  # bounded to -8
    again, least = model.encoded(x0, anchored)
    assert_close(again, mean)
    assert (log_variance > -8.0).all() and (least == -8.0).all()


def test_codes_and_grasps_keep_the_order_of_the_set():
    model = small_cvae()
    scene = model.denoiser.encode(cloud_of(scene_batch()))
    index = model.sample_anchors(scene, 7, torch.Generator().manual_seed(0))
    order, x0, z = torch.randperm(7), torch.randn(3, 7, 41), torch.randn(3, 7, 8)
    set_id, t = torch.zeros_like(index), torch.zeros(3)
    one = model.denoiser.anchor(scene, index, set_id)
    two = model.denoiser.anchor(scene, index[:, order], set_id)
    assert_close(
        model.encoded(x0[:, order], two)[0], model.encoded(x0, one)[0][:, order], atol=1e-5, rtol=1e-5
    )
    assert_close(model.decoded(z[:, order], t, two), model.decoded(z, t, one)[:, order], atol=1e-5, rtol=1e-5)


def test_samples_come_from_the_prior_in_one_evaluation():
    model, batch = small_cvae(), scene_batch()
    made = model.forward_infer(batch, 5, seed=1)
    assert made.nfe == 1 and made.hand_pose.shape == (3, 5, 23)
    assert_close(made.hand_pose, model.forward_infer(batch, 5, seed=1).hand_pose, atol=0, rtol=0)
    assert not torch.allclose(made.hand_pose, model.forward_infer(batch, 5, seed=2).hand_pose)
    # At temperature 0 every code is the same: only the anchor tells grasps of a scene apart, and there are 24.
    several = model.forward_infer(batch, 40, seed=1)
    still = model.forward_infer(batch, 40, sampler=Prior(steps=1, temperature=0.0, clip_x0=None), seed=1)
    distinct = lambda m: len(m.pred_pose[0].round(decimals=4).unique(dim=0))  # noqa: E731
    assert distinct(still) <= model.denoiser.encoder.num_tokens < distinct(several) == 40


@pytest.mark.slow
def test_training_on_one_batch_finds_its_grasps():
    """Reconstruction beats the mean by far, and samples of the prior lie on the training palms."""
    model, batch = small_cvae().train(), scene_batch(num_grasps=6)
    adopt_from(model, batch)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    errors = []
    for step in range(300):
        terms = model.losses(batch, model.draw(batch, step, 24))
        loss = sum(model.loss_weights[name] * term for name, term in terms.items())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        errors.append(torch.stack([terms["translation"], terms["rotation"]]).detach())
    # Predicting the mean leaves 1. One step alone may have drawn an unlikely code.
    assert (torch.stack(errors[-10:]).mean(0) < 0.05).all()
    assert terms["kl"] > 0.5, "the code must carry something"
    made = model.eval().forward_infer(batch, 12, seed=0)
    distance = torch.cdist(made.hand_pose[..., :3], batch.hand_pose[..., :3]).amin(-1)
    spread = torch.cdist(batch.hand_pose[..., :3], batch.hand_pose[..., :3]).mean()
    assert distance.median() < 0.35 * spread


def test_configured_cvae_goes_through_checkpoint_and_sample(compose, tmp_path):
    cfg = compose("model=grasp_cvae", "model.decoder.dim=32", "model.decoder.depth=1", "data.grasps.number=4")
    plain = OmegaConf.to_container(cfg.model, resolve=True)
    module = build(cfg.model).eval()
    module.config = {"model": plain, "cloud": CLOUD}
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
    two = GraspModel(module=module, cloud_settings=CLOUD).sample(points, 5, sampler="prior", **asked)
    assert one.nfe == 1 and np.array_equal(one.hand_pose, two.hand_pose)
    with pytest.raises(ValueError, match=r"sampler=ddim follows a diffusion; this model is a CVAE"):
        loaded.sample(points, 5, sampler="ddim", **asked)
    with pytest.raises(ValueError, match="cfg_scale=2 needs a model that was trained without its conditions"):
        loaded.sample(points, 5, cfg_scale=2.0, **asked)
    with pytest.raises(
        ValueError, match=r"rank=log_prob follows the flow of a diffusion model; this is a CVAE"
    ):
        loaded.sample(points, 5, rank="log_prob", **asked)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match=r"sampler.steps must be 1, got 2"):
        Prior(steps=2, temperature=1.0, clip_x0=None)
    with pytest.raises(ValueError, match=r"sampler=prior draws the codes of a CVAE"):
        small_model().forward_infer(scene_batch(), 2, sampler=Prior(steps=1, temperature=1.0, clip_x0=None))
    with pytest.raises(ValueError, match="it has no trajectory"):
        small_cvae().forward_infer(scene_batch(), 2, trajectory=True)
    with pytest.raises(ValueError, match=r"model.decoder.hand_geometry=false"):
        small_cvae(decoder=small_decoder())
    with pytest.raises(ValueError, match=r"model.latent_dim: expected at least 1, got 0"):
        small_cvae(latent_dim=0)
    with pytest.raises(ValueError, match=r"model.loss_weights needs exactly .*'kl'"):
        small_cvae(loss_weights={"translation": 1.0})
