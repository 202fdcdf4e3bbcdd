"""Do codes hold the scenes that they are of, and are completions drawn in their space hypotheses of a scene?"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from factories.voxels import GRID, REACH_M, sphere_batch
from sceneleapultra.models.checkpoints.load import build_generator
from sceneleapultra.models.completion.complete import load_completion, load_grid_model
from sceneleapultra.models.completion.completer import GridModel
from sceneleapultra.models.completion.latent import LatentCompleter
from sceneleapultra.models.completion.vae import CELL, HALO, FieldVAE, active_cells, decode_tiles
from sceneleapultra.models.diffusion.weighting import LossWeighting
from sceneleapultra.models.module import GraspModule
from sceneleapultra.models.objectives.code_denoising import CodeDenoising, CodeDistillation, CodeError
from sceneleapultra.models.objectives.completion import DistanceError
from sceneleapultra.models.objectives.field_vae import CodeDivergence, FieldReconstruction
from sceneleapultra.models.objectives.objective import Objective
from sceneleapultra.models.process import ConsistencyDiffusion
from sceneleapultra.models.recomputing import recompute
from sceneleapultra.utils.core.config import load_group
from sceneleapultra.utils.geometry.voxels.observe import FREE

VOXELS = {"size": 16, "voxel_m": [0.01], "extent_m": [], "reach_m": REACH_M}
BATCH = sphere_batch()
FIELD_VAE = {
    "_target_": f"{FieldVAE.__module__}.FieldVAE",
    "dim": 8,
    "channels": 4,
    "reach_m": REACH_M,
    "tile": None,
}


def configured(solver: str, process: dict[str, Any]) -> dict[str, Any]:
    return {
        "_target_": f"{LatentCompleter.__module__}.LatentCompleter",
        "dim": 8,
        "vae": FIELD_VAE,
        "process": process,
        "solver": dict(load_group("sampling/solver", solver)),
    }


def diffusion() -> dict[str, Any]:
    return configured("edm_heun", dict(load_group("model/generator/process", "edm")))


def student() -> dict[str, Any]:
    target = f"{ConsistencyDiffusion.__module__}.ConsistencyDiffusion"
    return configured("consistency", {"_target_": target, "diffusion": diffusion()["process"]})


def module_of(config: dict[str, Any], objective: Objective, rate: float = 3e-3) -> GraspModule:
    generator = build_generator(config)
    return GraspModule(
        generator=generator,
        objective=objective,
        config={"generator": generator.config, "objective": None, "cloud": VOXELS},
        optimizer=lambda groups: torch.optim.Adam(groups, lr=rate),
        scheduler=lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0),
    )


def learned(module: GraspModule, steps: int, rate: float = 1e-3) -> list[float]:
    """Train on two scenes, and return the loss of each step."""
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], rate)
    losses = []
    for step in range(steps):
        context = module.context_of(BATCH, step=step, training=True)
        loss = module.objective.total(module.objective.losses(context, training=True), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        module.objective.after_step(module.generator)
        losses.append(loss.item())
    return losses


def saved(module: GraspModule, path: Path) -> str:
    checkpoint: dict[str, Any] = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, path)
    return str(path)


def reconstruction() -> FieldReconstruction:
    terms = {"distance": DistanceError(weight=2.0), "kl": CodeDivergence(weight=1e-3)}
    return FieldReconstruction(terms=terms, seed=0)


def denoising(vae: str) -> CodeDenoising:
    weighting = LossWeighting(kind="edm", maximum=None)
    return CodeDenoising(vae=vae, terms={"code": CodeError(weight=1.0)}, weighting=weighting, seed=0)


def distillation(teacher: str) -> CodeDistillation:
    return CodeDistillation(
        teacher=teacher,
        terms={"code": CodeError(weight=1.0)},
        target_decay=0.5,
        intervals=(10, 80),
        total_steps=8,
        seed=0,
    )


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint of an autoencoder that knows two scenes by heart."""
    torch.manual_seed(0)
    module = module_of(FIELD_VAE, reconstruction())
    losses = learned(module, 60, rate=3e-3)
    assert losses[-1] < 0.35 * losses[0]
    figures = module.objective.metrics(module.context_of(BATCH, step=0, training=False))
    assert figures["target"].figures()["iou"] > 0.75
    return saved(module, tmp_path_factory.mktemp("vae") / "vae.ckpt")


@pytest.fixture(scope="module")
def teacher(vae: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint of a diffusion of its codes after few steps."""
    torch.manual_seed(0)
    module = module_of(diffusion(), denoising(vae))
    learned(module, 60)
    return saved(module, tmp_path_factory.mktemp("teacher") / "teacher.ckpt")


@pytest.mark.parametrize("tile", [2, 5, 20])
def test_decoding_in_tiles_is_decoding_the_whole(tile: int) -> None:
    model = FieldVAE(dim=8, channels=4, reach_m=REACH_M, tile=tile).double()
    code = torch.randn(2, 4, 2 * HALO + 3, 3, HALO + 2, dtype=torch.float64)
    with torch.no_grad():
        whole = REACH_M * model.decoder(code)
        assert_close(REACH_M * decode_tiles(model.decoder, code, tile), whole, atol=1e-13, rtol=0)
        assert_close(model.decode(code), whole.float(), atol=1e-8, rtol=0)


def test_tiles_that_are_far_from_solids_are_left_out() -> None:
    """What is computed is, site by site, what the whole grid has; the rest is as far as the reach."""
    model = FieldVAE(dim=8, channels=4, reach_m=REACH_M, tile=4).double()
    code = torch.randn(2, 4, 13, 9, 8, dtype=torch.float64)
    active = torch.zeros(1, 13, 9, 8, dtype=torch.bool)
    active[0, 5, 1, 3] = active[0, 12, 8, 7] = True
    with torch.no_grad():
        whole, found = model.decoder(code), decode_tiles(model.decoder, code, 4, active)
    computed = torch.zeros(13, 9, 8, dtype=torch.bool)
    computed[4:8, :4, :4] = computed[12:, 8:, 4:] = True
    for axis in range(3):
        computed = computed.repeat_interleave(CELL, dim=axis)
    assert_close(found[..., computed], whole[..., computed], atol=1e-13, rtol=0)
    assert (found[..., ~computed] == 1.0).all() and not torch.allclose(found, whole, atol=1e-3)


def test_cells_are_active_as_far_as_solids_reach() -> None:
    """No voxel of the others is nearer to one that no ray passed than the reach."""
    observed = BATCH.observed.clone()
    observed[:, FREE] = 1.0
    observed[0, FREE, 1, 14, 6] = 0.0
    active = active_cells(observed, 0.01, REACH_M)
    place = GRID.centers
    apart = np.linalg.norm(place - place[1, 14, 6], axis=-1)
    cells = active[0].numpy()
    for axis in range(3):
        cells = cells.repeat(CELL, axis=axis)
    assert cells[apart < REACH_M].all() and not cells.all() and not active[1].any()


def test_a_voxel_depends_on_all_codes_of_the_halo_and_on_no_other() -> None:
    decoder = FieldVAE(dim=8, channels=4, reach_m=REACH_M, tile=None).decoder.double()
    code = torch.randn(1, 4, 2 * HALO + 3, 1, 1, dtype=torch.float64, requires_grad=True)
    middle = HALO + 1
    decoder(code)[:, :, 4 * middle : 4 * middle + 4].square().sum().backward()
    assert code.grad is not None
    reached = code.grad[0, :, :, 0, 0].abs().amax(0) > 0.0
    assert reached.nonzero().flatten().tolist() == list(range(1, 2 * HALO + 2))


def test_recomputed_activations_give_the_same_gradient() -> None:
    model = build_generator(FIELD_VAE)

    def gradients() -> list[torch.Tensor | None]:
        model.zero_grad()
        model.decode(model.encode(BATCH.distance)[0]).square().sum().backward()
        return [None if p.grad is None else p.grad.clone() for p in model.parameters()]

    kept = gradients()
    recompute(model, ["encoder", "decoder"])
    for a, b in zip(kept, gradients(), strict=True):
        assert a is not None and b is not None and torch.equal(a, b)


def test_codes_have_the_spread_that_diffusion_takes_for_granted() -> None:
    mean, log_variance = build_generator(FIELD_VAE).encode(BATCH.distance)
    assert mean.shape == log_variance.shape == (2, 4, 4, 4, 4)
    assert_close(mean.square().mean(1), torch.ones(2, 4, 4, 4), atol=1e-3, rtol=0)
    context = module_of(FIELD_VAE, reconstruction()).context_of(BATCH, step=0, training=True)
    mean, log_variance = context.code
    prior = torch.distributions.Normal(0.0, 1.0)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(posterior, prior).mean()
    assert_close(CodeDivergence(weight=1.0)(context), expected)


def test_hypotheses_do_not_depend_on_their_number_but_on_what_is_seen(teacher: str) -> None:
    model = load_completion(teacher, hypotheses=3).completer
    with torch.no_grad():
        made = model.complete(BATCH.observed[:1], 3)
        assert made.shape == (3, 2, 16, 16, 16)
        assert_close(made[:1], model.complete(BATCH.observed[:1], 1), atol=1e-6, rtol=0)
        assert (made[0] - made[1]).abs().max() > 1e-3, "hypotheses differ"
        assert (made - model.complete(BATCH.observed[1:], 3)).abs().max() > 1e-4


@pytest.mark.slow
def test_diffusion_learns_two_scenes_and_draws_them(vae: str) -> None:
    """From what is seen alone; every hypothesis is nearer to its scene than to the other."""
    module = module_of(diffusion(), denoising(vae))
    losses = learned(module, 800)
    assert sum(losses[-100:]) < 0.3 * sum(losses[:100])
    with torch.no_grad():
        made = module.generator.complete(BATCH.observed[:1], 3)
    own, other = ((made - BATCH.distance[i]).abs().mean((1, 2, 3, 4)) for i in (0, 1))
    assert (own < 0.1 * REACH_M).all() and (own < other).all()


def test_only_what_denoises_learns(vae: str, teacher: str) -> None:
    for config, objective, frozen in (
        (diffusion(), denoising(vae), ("vae.",)),
        (student(), distillation(teacher), ("vae.", "encoder.")),
    ):
        module = module_of(config, objective)
        before = {name: p.clone() for name, p in module.generator.named_parameters()}
        learned(module, 1)
        changed = {
            name for name, p in module.generator.named_parameters() if not torch.equal(p, before[name])
        }
        assert changed == {name for name in before if not name.startswith(frozen)}, "all the others do"


def test_a_student_begins_as_its_teacher_and_its_checkpoint_is_a_completion(
    teacher: str, tmp_path: Path
) -> None:
    module = module_of(student(), distillation(teacher))
    begun, _ = load_grid_model(teacher, LatentCompleter, "completion_latent")
    x_t, t, observed = torch.randn(2, 3, 256), torch.tensor([1.0, 0.9]), BATCH.observed
    with torch.no_grad():
        mine, theirs = (m.predict_x0(x_t, t, m.encoder(observed)) for m in (module.generator, begun))
    assert_close(mine, theirs, atol=0.02, rtol=0)
    losses = learned(module, 20)
    assert losses[-1] < losses[0]
    again = module_of(student(), distillation(teacher))
    path = saved(module, tmp_path / "student.ckpt")
    again.on_load_checkpoint(torch.load(path, weights_only=True))
    for a, b in zip(again.objective.target.parameters(), module.objective.target.parameters(), strict=True):
        assert torch.equal(a, b), "the target continues"
    loaded = load_completion(path, hypotheses=2).completer
    with torch.no_grad():
        assert loaded.complete(observed[:1], 2).shape == (2, 2, 16, 16, 16)
    with pytest.raises(ValueError, match=r"student\.ckpt is distilled already"):
        module_of(student(), distillation(path))


def test_random_numbers_of_a_step_are_those_of_its_items(vae: str) -> None:
    module = module_of(diffusion(), denoising(vae))
    whole = module.context_of(BATCH, step=3, training=True).noise
    part = module.context_of(BATCH.scenes(1, 2), step=3, training=True).noise
    assert torch.equal(whole[0][1:], part[0]) and torch.equal(whole[1][1:], part[1])
    assert not torch.equal(whole[1][0], whole[1][1])


def test_what_does_not_belong_together_is_refused(vae: str, teacher: str) -> None:
    wide = {**diffusion(), "vae": {**FIELD_VAE, "dim": 16}}
    with pytest.raises(
        ValueError, match=r"vae=.* of shape \(8, 2, 4, 4, 4\), this model of shape \(16, 2, 4, 4, 4\)\. Pass"
    ):
        module_of(wide, denoising(vae))
    with pytest.raises(
        ValueError, match=r"holds a LatentCompleter, not a FieldVAE\. .*experiment=completion_vae"
    ):
        module_of(diffusion(), denoising(teacher))
    with pytest.raises(ValueError, match=r"holds a FieldVAE, not a Completer\. .*experiment=completion"):
        load_completion(vae)
    with pytest.raises(ValueError, match=r"code_distillation trains a student.*model=completion_consistency"):
        module_of(diffusion(), distillation(teacher))
    with pytest.raises(ValueError, match=r"code_denoising trains a diffusion.*model=completion_latent"):
        module_of(student(), denoising(vae))
    with pytest.raises(ValueError, match=r"field_reconstruction trains an autoencoder.*model=completion_vae"):
        module_of(diffusion(), reconstruction())
    with pytest.raises(ValueError, match="solver=consistency needs a distilled"):
        build_generator({**diffusion(), "solver": student()["solver"]})
    with pytest.raises(ValueError, match="expected at least 1, got 0"):
        load_completion(teacher, hypotheses=0)
    one = build_generator(
        {
            "_target_": "sceneleapultra.models.completion.completer.SceneCompleter",
            "dim": 8,
            "reach_m": REACH_M,
        }
    )
    assert isinstance(one, GridModel)
    with pytest.raises(
        ValueError, match=r"hypotheses=2: this completion gives one.*experiment=completion_latent"
    ):
        one.complete(BATCH.observed[:1], 2)
