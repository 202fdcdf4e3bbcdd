"""Distillation: the boundary is kept, neighbors lie on the teacher's trajectory, and a student answers in one step."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils.data import DataLoader

from factories.mixture import MIXTURE, PATHS
from factories.models import STATE_TERMS, awake, losses_of, scene_batch, small_generator, small_module
from factories.shipped import LEAP_TABLE_CPU
from sceneleapultra.models import load_grasp_model
from sceneleapultra.models.checkpoints.load import build_generator
from sceneleapultra.models.checkpoints.migrate import migrate
from sceneleapultra.models.diffusion.consistency import Consistency
from sceneleapultra.models.diffusion.dormand_prince import DormandPrince
from sceneleapultra.models.module import GraspModule
from sceneleapultra.models.objectives.consistency import neighbors
from sceneleapultra.models.objectives.context import AnchorAssignment
from sceneleapultra.models.objectives.distillation import Distillation, build_student
from sceneleapultra.models.objectives.states import StateError
from sceneleapultra.models.process import ConsistencyDiffusion, Diffusion, with_boundary

SHIPPED = LEAP_TABLE_CPU
CONTINUOUS = [name for name, process in PATHS.items() if process.continuous]
SEEDS = [0, 1, 2]
TRAINED = ("decoder.", "geometry.", "hand_geometry.", "contacts.")  # what denoises


@pytest.mark.parametrize("name", CONTINUOUS)
def test_answer_at_data_is_the_input_and_in_noise_the_prediction(name):
    process = PATHS[name]
    x, x0 = torch.randn(2, 3, 2, dtype=torch.float64), torch.randn(2, 3, 2, dtype=torch.float64)
    ends = with_boundary(process, x, x0, torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert_close(ends[0], x[0], atol=0, rtol=0)
    assert_close(ends[1], x0[1], atol=5e-3 * float((x0 - x).abs().max()), rtol=0)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_a_network_that_knows_its_noise_level_answers_at_data_with_the_input(name):
    """Below ``t_min`` neighbors are at t = 0, where the level ln(sigma) would be infinite."""
    model = ConsistencyDiffusion(diffusion=Diffusion(noise=PATHS[name], prediction="x0"))
    x, t = torch.randn(2, 3, 2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    level = model.network_level(t)[0][:, None, None]
    assert_close(model.predict_x0(lambda state: (state + level).cos(), x, t), x.float(), check_dtype=False)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_neighbors_lie_on_one_trajectory(name):
    """The shorter the interval, the nearer is the slope between neighbors to the velocity of the flow."""
    process, teacher = PATHS[name], MIXTURE.expected_x0_of(PATHS[name])
    x0, eps = torch.randn(1, 50, 2, dtype=torch.float64), torch.randn(1, 50, 2, dtype=torch.float64)
    t = torch.tensor([0.6], dtype=torch.float64)
    errors = []
    for intervals in (100, 200):
        x_t, x_s, s = neighbors(process, teacher, x0, eps, t, intervals)
        u = process.velocity(x_t, teacher(x_t, t), t)
        errors.append(((x_t - x_s) / (t - s)[:, None, None] - u).abs().max())
    assert 1.8 < errors[0] / errors[1] < 2.2 or errors[0] < 1e-12  # exact where trajectories begin straight
    _, x_end, s = neighbors(process, teacher, x0, eps, torch.tensor([process.t_min + 0.05]).double(), 2)
    assert s == 0.0 and x_end.isfinite().all()


@pytest.mark.parametrize("name", [pytest.param("flow", marks=pytest.mark.slow), "cosine"])
def test_student_answers_in_one_step_what_the_teachers_flow_ends_at(name):
    """A small network learns the end of the trajectories of a mixture from neighbors alone."""
    process, teacher = PATHS[name], MIXTURE.expected_x0_of(PATHS[name])
    net = nn.Sequential(nn.Linear(3, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2)).double()

    def answer(x, t):
        return with_boundary(
            process, x, net(torch.cat([x, t[:, None, None].expand(*x.shape[:-1], 1)], -1)), t
        )

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
        t = torch.rand((), generator=generator, dtype=torch.float64).clamp(min=process.t_min).expand(256)
        with torch.no_grad():
            x_t, x_s, s = neighbors(process, teacher, x0, eps, t, 8 * 2 ** (4 * step // steps))
            wanted = answer(x_s, s)
        loss = (answer(x_t, t) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    noise = torch.randn(1, 500, 2, generator=generator, dtype=torch.float64)
    exact = DormandPrince(steps=500, rtol=1e-6, atol=1e-6, temperature=1.0, clip_x0=None)
    end = exact(teacher, process, noise, None).x0
    with torch.no_grad():
        made = Consistency(steps=1, temperature=1.0, clip_x0=None)(answer, process, noise, None)
    mean_only = (
        (teacher(noise, torch.ones(1).double()) - end).square().mean().sqrt()
    )  # what it began as: 0.83
    error = (made.x0 - end).square().mean().sqrt()
    assert error < 0.15 * mean_only, (error, mean_only)


def distiller(**changes) -> GraspModule:
    teacher, hand = changes.pop("teacher", str(SHIPPED)), changes.pop("hand", "leap_right")
    settings = {
        "terms": {**STATE_TERMS, "squeeze": StateError(group="squeeze", weight=1.0)},
        "anchors": AnchorAssignment(softness=0.01, reach=1.0),  # the grasps of the batch are made up
        "num_grasps": 6,
        "target_decay": 0.5,
        "intervals": (10, 80),
        "total_steps": 8,
        "seed": 0,
    }
    objective = Distillation(teacher=teacher, **{**settings, **changes})
    student = build_student(teacher=teacher, hand=hand)
    module = GraspModule(
        generator=student,
        objective=objective,
        config={
            "generator": student.config,
            "objective": None,
            "cloud": load_grasp_model(teacher).cloud_settings,
        },
        optimizer=lambda groups: torch.optim.AdamW(groups, lr=1e-3),
        scheduler=lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0),
    )
    return module.eval()


def saved(module: GraspModule) -> dict:
    checkpoint = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    return checkpoint


def test_student_begins_as_its_teacher_and_its_checkpoint_is_a_model_of_its_own(tmp_path: Path):
    student = distiller().generator
    teacher = load_grasp_model(SHIPPED).generator
    assert_close(student.state_dict()["decoder.out.weight"], teacher.decoder.out.weight)
    torch.save(saved(distiller()), tmp_path / "student.ckpt")
    loaded = load_grasp_model(tmp_path / "student.ckpt").generator
    batch = scene_batch(num_points=256)
    made = loaded.sample(batch, 3, seeds=SEEDS)
    assert isinstance(loaded.process, ConsistencyDiffusion) and made.nfe == 2
    assert_close(made.hand_pose, student.sample(batch, 3, seeds=SEEDS).hand_pose)
    with pytest.raises(ValueError, match=r"this one was distilled.*Use solver=consistency"):
        loaded.sample(batch, 3, seeds=SEEDS, sampling={"solver": "ddim"})
    with pytest.raises(ValueError, match=r"rank=log_prob follows.*this one was distilled"):
        loaded.sample(batch, 3, seeds=SEEDS, sampling={"rank": "log_prob"})
    with pytest.raises(ValueError, match="is distilled already"):
        distiller(teacher=str(tmp_path / "student.ckpt"))
    with pytest.raises(ValueError, match=r"solver=consistency needs a distilled model.*experimental=distill"):
        teacher.sample(batch, 3, seeds=SEEDS, sampling={"solver": "consistency"})


def test_student_of_the_shipped_model_is_sampled_as_it_is_but_for_its_solver():
    teacher = load_grasp_model("leap_table").generator
    student = build_student(teacher="leap_table", hand="leap_right")
    assert student.sampling.solver == Consistency(steps=2, temperature=0.2, clip_x0=4.0)
    assert replace(student.sampling, solver=teacher.sampling.solver) == teacher.sampling
    batch = scene_batch(num_points=256)
    made = student.sample(batch, 3, seeds=SEEDS, sampling={"steps": 1})
    assert made.nfe == 2  # the trial on every token by which guidance chooses anchors, and the grasps
    begun = teacher.sample(batch, 3, seeds=SEEDS, sampling={"steps": 1})
    assert_close(made.hand_pose, begun.hand_pose, atol=5e-3, rtol=0)


def test_noise_of_training_has_the_temperature_of_sampling():
    module, batch = distiller(), scene_batch(num_points=256, num_grasps=6)
    states = []
    for temperature in (0.0, 0.5, 1.0):
        teacher = module.objective.teacher
        teacher.sampling = teacher.sampling.changed(temperature=temperature)
        x_t, *_ = module.context_of(batch, step=0, training=True).trajectory
        states.append(x_t)
    assert_close(states[1], 0.5 * (states[0] + states[2]))
    assert not torch.allclose(states[0], states[2], atol=0.1)


def test_only_what_denoises_learns_and_the_target_follows():
    module = distiller()
    batch = scene_batch(num_points=256, num_grasps=6)
    before = {name: p.clone() for name, p in module.named_parameters()}
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], 1e-2)
    terms = losses_of(module, batch)
    assert set(terms) == set(module.generator.codec.layout.groups)
    sum(terms.values()).backward()
    optimizer.step()
    changed = {name for name, p in module.named_parameters() if not torch.equal(p, before[name])}
    assert changed and all(name.removeprefix("generator.").startswith(TRAINED) for name in changed)
    module.objective.after_step(module.generator)
    name = "generator.decoder.out.weight"
    middle = 0.5 * before[name] + 0.5 * dict(module.named_parameters())[name]
    assert_close(module.objective.target.decoder.out.weight, middle)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:You defined a `validation_step`", "ignore:Detected call of")
@pytest.mark.parametrize("batches", [1, 2])
def test_the_target_follows_steps_however_many_batches_make_one(batches: int):
    module, states = distiller().train(), []
    weight = module.generator.decoder.out.weight

    class Steps(pl.Callback):
        def on_before_zero_grad(self, *_: object) -> None:
            states.append(weight.detach().clone())

    pl.Trainer(
        max_steps=3,
        callbacks=[Steps()],
        accelerator="cpu",
        accumulate_grad_batches=batches,
        limit_val_batches=0,
        **dict.fromkeys(
            ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
        ),
    ).fit(module, DataLoader([scene_batch(num_points=256, num_grasps=6)] * 6, batch_size=None))
    wanted = states[0]  # from before the first step
    for state in [*states[1:], weight.detach()]:
        wanted = wanted.lerp(state, 0.5)
    assert_close(module.objective.target.decoder.out.weight, wanted)


def test_teacher_and_target_are_no_weights_of_the_run_but_the_target_continues():
    module = distiller()
    assert {key.split(".")[0] for key in module.state_dict()} == {"generator"}
    with torch.no_grad():
        module.generator.decoder.out.bias += 1.0
    module.objective.after_step(module.generator)
    again = distiller()
    again.on_load_checkpoint(saved(module))
    assert_close(
        again.objective.target.state_dict()["decoder.out.bias"],
        module.objective.target.decoder.out.bias,
        atol=0,
        rtol=0,
    )


def test_data_of_another_frame_than_the_teachers_are_refused():
    module = distiller()
    module.trainer = trainer = SimpleNamespace(datamodule=SimpleNamespace(frame="tabletop"))
    module.on_fit_start()
    trainer.datamodule.frame = "camera_centric"
    with pytest.raises(
        ValueError, match=r"learned poses in frame 'tabletop', data.cloud.frame=camera_centric"
    ):
        module.on_fit_start()


def test_every_parameter_that_is_trained_gets_a_gradient(tmp_path: Path):
    """Parallel training waits for all of them; a teacher that does without colors has one that no grasp needs."""
    checkpoint = migrate(torch.load(SHIPPED, weights_only=True))
    settings = checkpoint["model_config"]["generator"]
    settings["encoder"]["use_color"], settings["condition_dropout"]["color"] = True, 0.1
    weights = awake(build_generator(settings)).state_dict()
    checkpoint["state_dict"] = {f"generator.{key}": value for key, value in weights.items()}
    torch.save(checkpoint, tmp_path / "teacher.ckpt")
    module = distiller(teacher=str(tmp_path / "teacher.ckpt"))
    batch = scene_batch(num_points=256, num_grasps=6)
    batch = replace(batch, scene_rgb=torch.full(batch.scene_pc.shape, 200, dtype=torch.uint8))
    sum(losses_of(module, batch).values()).backward()
    assert module.generator.conditioning.null_color is not None
    assert not [name for name, p in module.named_parameters() if p.requires_grad and p.grad is None]


def test_curriculum_doubles_its_intervals():
    objective = distiller().objective
    assert [objective.intervals_at(step) for step in range(9)] == [10, 10, 20, 20, 40, 40, 80, 80, 80]


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


def test_only_a_student_is_distilled():
    with pytest.raises(ValueError, match=r"objective=distillation trains a student.*Pass model=consistency"):
        small_module(small_generator(), distiller().objective)
