"""Does an encoder learn from clouds alone, asked for what was hidden, and does a model start from what it learned?"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from factories.models import scene_batch, small_encoder, small_generator, small_module
from sceneleapultra.models.checkpoints.weights import load_encoder
from sceneleapultra.models.module import GraspModule
from sceneleapultra.models.network.tokens import Cloud
from sceneleapultra.models.objectives.pretraining import DistanceError, EncoderOnly, MaskedDistance, Masking
from sceneleapultra.models.objectives.sparse import stratified
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.geometry.points import gather


def masking(**changes) -> Masking:
    settings = {
        "num_patches": 2,
        "patch_radius_m": 0.02,
        "cell_m": 0.01,
        "ratio": (0.5, 1.0),
        "target_share": 0.6,
        "num_queries": 4,
        "query_reach_m": 0.05,
        "query_noise_m": 0.01,
        "max_distance_m": 0.03,
    }
    return Masking(**{**settings, **changes})


def pretrainer() -> GraspModule:
    torch.manual_seed(0)
    terms = {"distance": DistanceError(weight=1.0)}
    objective = MaskedDistance(terms=terms, masking=masking(), dim=32, seed=0)
    return GraspModule(
        generator=EncoderOnly(encoder=small_encoder()),
        objective=objective,
        config={},
        optimizer=lambda groups: torch.optim.Adam(groups, lr=3e-3),
        scheduler=lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0),
    )


def scenes(num_valid: int = 80) -> GraspBatch:
    """Clouds whose valid points stand first, in stratified farthest-point order."""
    batch = scene_batch()
    valid = (torch.arange(96) < num_valid).expand(3, 96)
    index, found = stratified(Cloud.of(batch), valid, 0.6)
    return replace(
        batch,
        scene_pc=gather(batch.scene_pc, index).masked_fill(~found[..., None], 0.0),
        point_valid=found,
        object_mask=gather(batch.object_mask, index) & found,
    )


def clouds() -> Cloud:
    return Cloud.of(scenes())


def test_hidden_patches_are_holes_and_the_rest_is_thinned():
    cloud, mask = clouds(), masking(ratio=(1.0, 1.0))
    hidden = mask.draw([0, 1, 2], 96, 24, seed=0, step=0)
    left = mask.hide(cloud, hidden)
    for b in range(3):
        full, seen = cloud.points[b, cloud.valid[b]], left.points[b, left.valid[b]]
        centers = full[(hidden.center[b] * len(full)).long()]
        out = torch.cdist(full, centers).amin(1) > 0.02
        # With every cell kept, what is missing is exactly the patches.
        assert {tuple(p) for p in seen.tolist()} == {tuple(p) for p in full[out].tolist()}
        assert 0 < len(seen) < len(full)
    thin = masking(num_patches=0, ratio=(0.5, 0.5), cell_m=0.05)
    assert thin.hide(cloud, thin.draw([0, 1, 2], 96, 24, 0, 0)).valid.sum() < 0.7 * cloud.valid.sum()


def test_distances_are_those_to_the_full_cloud():
    cloud, mask = clouds(), masking()
    hidden = mask.draw([0, 1, 2], 96, 24, seed=0, step=0)
    tokens = small_encoder()(mask.hide(cloud, hidden))
    places, distance, asked = mask.queries(tokens, cloud, hidden)
    assert asked.any() and not (asked & ~tokens.valid).any()
    for b in range(3):
        full = cloud.points[b, cloud.valid[b]].double().numpy()
        brute = np.linalg.norm(places[b].double().numpy()[:, :, None] - full, axis=-1).min(-1)
        assert_close(distance[b].double().numpy(), brute.clip(max=0.03), atol=1e-5, rtol=1e-4)
        # A place lies about a point within reach of its token: four noises of 1 cm are the most by far.
        gap = (places[b] - tokens.xyz[b][:, None])[asked[b]].norm(dim=-1)
        assert gap.max() < 0.05 + 0.05


def test_places_lie_about_any_point_in_reach():
    """Without noise a place is a point of the full cloud; over many draws every point within reach is asked for."""
    cloud, mask = clouds(), masking(query_noise_m=1e-9, num_queries=400)
    hidden = mask.draw([0, 1, 2], 96, 24, seed=0, step=0)
    tokens = small_encoder()(cloud)
    places, _, _ = mask.queries(tokens, cloud, hidden)
    reach = (cloud.points[0] - tokens.xyz[0, 0]).norm(dim=-1) <= 0.05
    apart = torch.cdist(places[0, 0], cloud.points[0])
    assert set(apart.argmin(1).tolist()) == set((reach & cloud.valid[0]).nonzero().flatten().tolist())


def test_random_numbers_belong_to_items():
    mask = masking()
    whole, single = mask.draw([4, 5], 96, 24, 0, 7), mask.draw([5], 96, 24, 0, 7)
    assert torch.equal(whole.noise[1:], single.noise)
    assert torch.equal(whole.sparsify.order[1:], single.sparsify.order)
    assert not torch.equal(mask.draw([5], 96, 24, 0, 8).noise, single.noise)


def test_the_loss_falls_and_reaches_the_encoder():
    """Thirty steps on one batch; each starts from the same random numbers. No grasp is read."""
    module, batch = pretrainer(), replace(scenes(), hand_pose=None, grasp_success=None)
    optimizer = module.configure_optimizers()["optimizer"]
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        context = module.objective.context(module.generator, batch, step=0, training=True)
        loss = module.objective.total(module.objective.losses(context, training=True), 0)
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    encoder = module.generator.encoder
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.parameters())
    assert losses[-1] < 0.5 * losses[0]


def test_a_model_starts_from_a_pretrained_encoder(tmp_path, caplog):
    module = pretrainer()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    torch.save({"state_dict": module.state_dict()}, tmp_path / "encoder.ckpt")
    generator, trained = small_generator(), module.generator.encoder.state_dict()
    caplog.set_level("INFO", "sceneleapultra.models.checkpoints.weights")
    load_encoder(generator.encoder, tmp_path / "encoder.ckpt")
    logged = caplog.messages[-1]
    assert logged.startswith(f"Encoder starts from {tmp_path / 'encoder.ckpt'}: all {len(trained)} tensors (")
    assert logged.endswith(f"matched, {len(module.objective.head.state_dict())} others unused.")
    for name, value in trained.items():
        assert torch.equal(generator.encoder.state_dict()[name], value)
    torch.save({"state_dict": small_module(generator).state_dict()}, tmp_path / "model.ckpt")
    other = small_generator(weights=1)
    load_encoder(other.encoder, tmp_path / "model.ckpt")
    assert_close(other.encoder.state_dict(), trained)


@pytest.mark.parametrize("prefix", ["generator.encoder.", "denoiser.encoder.", "encoder."])
def test_encoders_of_0_1_are_found_too(prefix: str, tmp_path):
    """0.1 kept the encoder of a model under `denoiser.encoder`, that of pretraining under `encoder`."""
    torch.manual_seed(1)
    trained = small_encoder().state_dict()
    state = {f"{prefix}{key}": value for key, value in trained.items()}
    torch.save({"state_dict": {**state, "head.out.bias": torch.zeros(1)}}, tmp_path / "old.ckpt")
    encoder = small_encoder()
    load_encoder(encoder, tmp_path / "old.ckpt")
    assert_close(encoder.state_dict(), trained, atol=0, rtol=0)


def test_pretraining_trains_an_encoder_alone():
    with pytest.raises(
        ValueError, match=r"objective=pretraining trains an encoder alone.*Pass model=pretrain"
    ):
        small_module(small_generator(), pretrainer().objective)


def test_weights_that_do_not_fit_are_named(tmp_path):
    state = {f"encoder.{k}": v for k, v in small_encoder().state_dict().items()}
    first = next(iter(state))
    encoder = small_encoder()
    path = tmp_path / "encoder.ckpt"
    with pytest.raises(FileNotFoundError, match="encoder_weights: no checkpoint at"):
        load_encoder(encoder, path)
    for content in ({"state_dict": {"scorer.x": torch.zeros(1)}}, {"weights": 1}, [1]):
        torch.save(content, path)
        with pytest.raises(ValueError, match="holds no encoder of this project"):
            load_encoder(encoder, path)
    torch.save({"state_dict": {**state, first: torch.zeros(3)}}, path)
    with pytest.raises(
        ValueError, match=rf"has {first.removeprefix('encoder.')} of shape \(3,\), this model"
    ):
        load_encoder(encoder, path)
    torch.save({"state_dict": {k: v for k, v in state.items() if k != first}}, path)
    with pytest.raises(ValueError, match=f"has {first.removeprefix('encoder.')} not at all"):
        load_encoder(encoder, path)
    torch.save({"state_dict": {**state, "encoder.extra": torch.zeros(1)}}, path)
    with pytest.raises(ValueError, match=r"has extra of shape \(1,\), this model not at all"):
        load_encoder(encoder, path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"num_patches": -1}, "model.objective.masking.num_patches: expected at least 0, got -1."),
        ({"num_queries": 0}, "model.objective.masking.num_queries: expected at least 1, got 0."),
        ({"cell_m": 0.0}, "model.objective.masking.cell_m: expected more than 0 m, got 0.0."),
        ({"query_reach_m": -0.1}, "model.objective.masking.query_reach_m: expected more than 0 m, got -0.1."),
        ({"ratio": (0.5, 1.5)}, "ratio: expected 0 < low <= high <= 1, got [0.5, 1.5]."),
    ],
)
def test_settings_that_cannot_be_are_named(changes: dict, sentence: str):
    with pytest.raises(ValueError) as caught:
        masking(**changes)
    assert str(caught.value) == sentence
