"""Distillation: the boundary is kept, neighbors lie on the teacher's trajectory, and a student answers in one step."""

from dataclasses import replace

import pytest
import torch
from omegaconf import OmegaConf
from sceneleapultra.models.distill import ConsistencyDistiller, neighbors, with_boundary
from torch import nn
from torch.testing import assert_close

from factories.mixture import MIXTURE, PATHS
from factories.models import awake, scene_batch
from sceneleapultra.models import load_grasp_model
from sceneleapultra.models.checkpoints.migrate import migrated
from sceneleapultra.models.diffusion.consistency import Consistency
from sceneleapultra.models.diffusion.dormand_prince import DormandPrince
from sceneleapultra.utils.core.config import CONFIG_DIR, build

SHIPPED = CONFIG_DIR.parent / "model_zoo" / "leap_table_cpu" / "model.ckpt"
CONTINUOUS = [name for name, path in PATHS.items() if path.continuous]


@pytest.mark.parametrize("name", CONTINUOUS)
def test_answer_at_data_is_the_input_and_in_noise_the_prediction(name):
    path = PATHS[name]
    x, x0 = torch.randn(2, 3, 2, dtype=torch.float64), torch.randn(2, 3, 2, dtype=torch.float64)
    ends = with_boundary(path, x, x0, torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert_close(ends[0], x[0], atol=0, rtol=0)
    assert_close(ends[1], x0[1], atol=5e-3 * float((x0 - x).abs().max()), rtol=0)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_neighbors_lie_on_one_trajectory(name):
    """The shorter the interval, the nearer is the slope between neighbors to the velocity of the flow."""
    path, teacher = PATHS[name], MIXTURE.expected_x0_of(PATHS[name])
    x0, eps = torch.randn(1, 50, 2, dtype=torch.float64), torch.randn(1, 50, 2, dtype=torch.float64)
    t = torch.tensor([0.6], dtype=torch.float64)
    errors = []
    for intervals in (100, 200):
        x_t, x_s, s = neighbors(path, teacher, x0, eps, t, intervals)
        u = path.velocity(x_t, teacher(x_t, t), t)
        errors.append(((x_t - x_s) / (t - s)[:, None, None] - u).abs().max())
    assert 1.8 < errors[0] / errors[1] < 2.2 or errors[0] < 1e-12  # exact where trajectories begin straight
    _, x_end, s = neighbors(path, teacher, x0, eps, torch.tensor([path.t_min + 0.05]).double(), 2)
    assert s == 0.0 and x_end.isfinite().all()


@pytest.mark.parametrize("name", ["flow", "cosine"])
def test_student_answers_in_one_step_what_the_teachers_flow_ends_at(name):
    """A small network learns the end of the trajectories of a mixture from neighbors alone."""
    path, teacher = PATHS[name], MIXTURE.expected_x0_of(PATHS[name])
    net = nn.Sequential(nn.Linear(3, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2)).double()

    def answer(x, t):
        return with_boundary(path, x, net(torch.cat([x, t[:, None, None].expand(*x.shape[:-1], 1)], -1)), t)

    optimizer = torch.optim.Adam(net.parameters(), 4e-3)
    generator = torch.Generator().manual_seed(0)
    steps = 900
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * (1 - step / steps)
        which = torch.multinomial(MIXTURE.weights, 256, replacement=True, generator=generator)
        spread = torch.linalg.cholesky(MIXTURE.covariances)[which]
        z, eps = torch.randn(2, 256, 1, 2, generator=generator, dtype=torch.float64)
        x0 = MIXTURE.means[which][:, None] + torch.einsum("nij,nkj->nki", spread, z)
        t = torch.rand((), generator=generator, dtype=torch.float64).clamp(min=path.t_min).expand(256)
        with torch.no_grad():
            x_t, x_s, s = neighbors(path, teacher, x0, eps, t, 8 * 2 ** (4 * step // steps))
            wanted = answer(x_s, s)
        loss = (answer(x_t, t) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    noise = torch.randn(1, 500, 2, generator=generator, dtype=torch.float64)
    exact = DormandPrince(steps=500, rtol=1e-6, atol=1e-6, temperature=1.0, clip_x0=None)
    end = exact(teacher, path, noise, None).x0
    with torch.no_grad():
        made = Consistency(steps=1, temperature=1.0, clip_x0=None)(answer, path, noise, None)
    mean_only = (
        (teacher(noise, torch.ones(1).double()) - end).square().mean().sqrt()
    )  # what it began as: 0.83
    error = (made.x0 - end).square().mean().sqrt()
    assert error < 0.15 * mean_only, (error, mean_only)


def distiller(**changes) -> ConsistencyDistiller:
    settings = {
        "teacher": str(SHIPPED),
        "hand": "leap_right",
        "num_grasps": 6,
        "target_decay": 0.5,
        "intervals": (10, 80),
        "total_steps": 8,
        "seed": 0,
        "optimizer": None,
        "scheduler": None,
    }
    return ConsistencyDistiller(**{**settings, **changes})


def test_student_begins_as_its_teacher_and_its_checkpoint_is_a_model_of_its_own(tmp_path):
    student = distiller()
    teacher = load_grasp_model(SHIPPED).module
    assert_close(student.denoiser.state_dict()["decoder.out.weight"], teacher.denoiser.decoder.out.weight)
    student.config = {"model": {}, "cloud": load_grasp_model(SHIPPED).cloud_settings}
    saved = {"state_dict": student.state_dict()}
    student.on_save_checkpoint(saved)
    torch.save(saved, tmp_path / "student.ckpt")
    model = load_grasp_model(tmp_path / "student.ckpt")
    batch = scene_batch(num_points=256)
    assert model.module.distilled and model.module.forward_infer(batch, 3).nfe == 2
    assert_close(model.module.forward_infer(batch, 3).hand_pose, student.forward_infer(batch, 3).hand_pose)
    with pytest.raises(ValueError, match=r"this one was distilled.*Use sampler=consistency"):
        model.module.forward_infer(batch, 3, sampler=model.chosen_sampler("ddim"))
    with pytest.raises(ValueError, match="is distilled already"):
        distiller(teacher=str(tmp_path / "student.ckpt"))
    with pytest.raises(ValueError, match=r"sampler=consistency needs a distilled model.*experiment=distill"):
        teacher.forward_infer(batch, 3, sampler=model.chosen_sampler("consistency"))


def test_only_what_denoises_learns_and_the_target_follows():
    student = distiller()
    student.anchor_reach = 1.0  # the grasps of the batch are made up
    batch = scene_batch(num_points=256, num_grasps=6)
    before = {name: p.clone() for name, p in student.named_parameters()}
    optimizer = torch.optim.SGD([p for p in student.parameters() if p.requires_grad], 1e-2)
    terms = student.losses(batch, student.draw(batch, 0, student.denoiser.encoder.num_tokens))
    assert set(terms) == set(student.denoiser.codec.layout.groups)
    sum(terms.values()).backward()
    optimizer.step()
    changed = {name for name, p in student.named_parameters() if not torch.equal(p, before[name])}
    assert changed and all(
        n.startswith(("denoiser.decoder", "denoiser.geometry", "denoiser.hand_geometry", "denoiser.contacts"))
        for n in changed
    )
    student.on_train_batch_end(None, batch, 0)
    name = "denoiser.decoder.out.weight"
    middle = 0.5 * before[name] + 0.5 * dict(student.named_parameters())[name]
    assert_close(student._frozen[1].denoiser.decoder.out.weight, middle)


def test_every_parameter_that_is_trained_gets_a_gradient(tmp_path):
    """Parallel training waits for all of them; a teacher that does without colors has one that no grasp needs."""
    saved = migrated(torch.load(SHIPPED, weights_only=True))
    settings = saved["model_config"]["model"]
    settings["encoder"]["use_color"], settings["color_drop_prob"] = True, 0.1
    saved["state_dict"] = awake(build(OmegaConf.create(settings))).state_dict()
    torch.save(saved, tmp_path / "teacher.ckpt")
    student = distiller(teacher=str(tmp_path / "teacher.ckpt"))
    student.anchor_reach = 1.0  # the grasps of the batch are made up
    batch = scene_batch(num_points=256, num_grasps=6)
    batch = replace(batch, scene_rgb=torch.full(batch.scene_pc.shape, 200, dtype=torch.uint8))
    terms = student.losses(batch, student.draw(batch, 0, student.denoiser.encoder.num_tokens))
    sum(terms.values()).backward()
    assert student.denoiser.no_color is not None
    assert not [name for name, p in student.named_parameters() if p.requires_grad and p.grad is None]


def test_curriculum_doubles_its_intervals():
    student = distiller()
    assert [student.intervals_at(step) for step in range(9)] == [10, 10, 20, 20, 40, 40, 80, 80, 80]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target_decay": 1.0}, r"model.objective.target_decay must lie in \[0, 1\)"),
        ({"intervals": (1, 8)}, "2 <= first <= last"),
        ({"hand": "allegro_right"}, "moves hand=leap_right. Pass hand=leap_right."),
        ({"teacher": "nowhere.ckpt"}, "No checkpoint at nowhere.ckpt"),
    ],
)
def test_impossible_distillations_are_refused(change, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        distiller(**change)
