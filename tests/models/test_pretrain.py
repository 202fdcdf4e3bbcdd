"""Does an encoder learn from clouds alone, asked for what was hidden, and does a model start from what it learnt?"""

import numpy as np
import pytest
import torch
from sceneleapultra.models.density import reordered, stratified
from sceneleapultra.models.pretrain import EncoderPretrainer, Masking
from torch.testing import assert_close

from factories.models import scene_batch, small_model
from sceneleapultra.models.checkpoints.weights import load_encoder
from sceneleapultra.models.network.tokens import Cloud
from sceneleapultra.models.sampling import cloud_of


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


def pretrainer(**changes) -> EncoderPretrainer:
    encoder = small_model().denoiser.encoder
    torch.manual_seed(0)
    settings = {"encoder": encoder, "masking": masking(), "dim": 32, "seed": 0}
    return EncoderPretrainer(**{**settings, "optimizer": None, "scheduler": None, **changes})


def clouds(num_valid: int = 80) -> Cloud:
    cloud = cloud_of(scene_batch())
    valid = (torch.arange(96) < num_valid).expand(3, 96)
    return reordered(cloud, *stratified(cloud.points, valid, cloud.target, 0.6))


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
    tokens = small_model().denoiser.encoder(mask.hide(cloud, hidden))
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
    tokens = small_model().denoiser.encoder(cloud)
    places, _, _ = mask.queries(tokens, cloud, hidden)
    reach = (cloud.points[0] - tokens.xyz[0, 0]).norm(dim=-1) <= 0.05
    apart = torch.cdist(places[0, 0], cloud.points[0])
    assert set(apart.argmin(1).tolist()) == set((reach & cloud.valid[0]).nonzero().flatten().tolist())


def test_draws_belong_to_items():
    mask = masking()
    together, alone = mask.draw([4, 5], 96, 24, 0, 7), mask.draw([5], 96, 24, 0, 7)
    assert torch.equal(together.noise[1:], alone.noise)
    assert torch.equal(together.thin.order[1:], alone.thin.order)
    assert not torch.equal(mask.draw([5], 96, 24, 0, 8).noise, alone.noise)


def test_the_loss_falls_and_reaches_the_encoder():
    """Thirty steps on one batch; each starts from the same draws."""
    module, cloud = pretrainer(), clouds()
    hidden = module.masking.draw([0, 1, 2], 96, 24, 0, 0)
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = module.loss(cloud, hidden)
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.encoder.parameters())
    assert losses[-1] < 0.5 * losses[0]


def test_a_model_starts_from_a_pretrained_encoder(tmp_path, caplog):
    module = pretrainer()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    torch.save({"state_dict": module.state_dict()}, tmp_path / "encoder.ckpt")
    model = small_model()
    caplog.set_level("INFO", "sceneleapultra.models.checkpoints.weights")
    load_encoder(model.denoiser.encoder, tmp_path / "encoder.ckpt")
    said = caplog.messages[-1]
    count = len(module.encoder.state_dict())
    assert said.startswith(f"Encoder starts from {tmp_path / 'encoder.ckpt'}: all {count} tensors (")
    assert said.endswith(f"matched, {len(module.head.state_dict())} others unused.")
    for name, value in module.encoder.state_dict().items():
        assert torch.equal(model.denoiser.encoder.state_dict()[name], value)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "model.ckpt")
    other = small_model()
    load_encoder(other.denoiser.encoder, tmp_path / "model.ckpt")
    assert_close(other.denoiser.encoder.state_dict(), module.encoder.state_dict())


def test_weights_that_do_not_fit_are_named(tmp_path):
    state = {f"encoder.{k}": v for k, v in small_model().denoiser.encoder.state_dict().items()}
    first = next(iter(state))
    encoder = small_model().denoiser.encoder
    path = tmp_path / "encoder.ckpt"
    with pytest.raises(FileNotFoundError, match="encoder_weights: no checkpoint at"):
        load_encoder(encoder, path)
    for content in ({"state_dict": {"scorer.x": torch.zeros(1)}}, {"weights": 1}, [1]):
        torch.save(content, path)
        with pytest.raises(ValueError, match="holds no encoder of this project"):
            load_encoder(encoder, path)
    torch.save({"state_dict": {**state, first: torch.zeros(3)}}, path)
    with pytest.raises(
        ValueError, match=rf"has {first.removeprefix('encoder.')} of shape \(3,\), the model's"
    ):
        load_encoder(encoder, path)
    torch.save({"state_dict": {k: v for k, v in state.items() if k != first}}, path)
    with pytest.raises(ValueError, match=f"has {first.removeprefix('encoder.')} not at all"):
        load_encoder(encoder, path)
    torch.save({"state_dict": {**state, "encoder.extra": torch.zeros(1)}}, path)
    with pytest.raises(ValueError, match=r"has extra of shape \(1,\), the model's encoder not at all"):
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
