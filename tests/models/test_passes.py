"""Is a step in passes the step, whatever does not fit, in one process or in two?"""

import multiprocessing
from collections.abc import Sequence
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins import MixedPrecision
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.testing import assert_close
from torch.utils.data import DataLoader

from factories.models import TERMS, scene_batch, small_module, small_objective
from factories.ranks import become_rank, free_port
from sceneleapultra.models.hardware import check_size
from sceneleapultra.models.module import GraspModule
from sceneleapultra.models.objectives.context import StepContext
from sceneleapultra.models.objectives.latent import Divergence
from sceneleapultra.models.objectives.states import StateError
from sceneleapultra.models.objectives.term import LossTerm
from sceneleapultra.models.passes import Passes, indivisible, parts_of
from sceneleapultra.utils.batch import GraspBatch

SCENES, PATIENCE_S = 6, 300.0
EXACT, CLOSE = {"rtol": 0.0, "atol": 0.0}, {"rtol": 1e-6, "atol": 1e-6}


class TooLarge(LossTerm):
    """Has no room for more than so many scenes, in one process of a training."""

    needs = ()

    def __init__(self, *, most: int, rank: int = 0) -> None:
        super().__init__(weight=1.0)
        self.most, self.rank, self.sizes = most, rank, []

    def __call__(self, context: StepContext) -> Tensor:
        self.sizes.append(context.batch.size)
        own = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
        if own == self.rank and context.batch.size > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return context.noise.t.mean() * 0.0


def with_term(**terms: LossTerm) -> GraspModule:
    return small_module(objective=small_objective(terms=TERMS | terms)).train()


def gradients(
    module: GraspModule, batch: GraspBatch, passes: Passes | None
) -> tuple[Tensor, dict[str, Tensor]]:
    module.passes = passes
    module.log_dict = lambda *_, **__: None  # there is no Trainer to log to
    module.zero_grad()
    loss = module.training_step(batch, 0)
    loss.backward()
    return loss.detach(), {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("number", [1, 2, 4, SCENES])
def test_passes_give_the_gradient_of_the_batch(number: int) -> None:
    """Four parts of six scenes have different sizes: each counts by its own."""
    module, batch = with_term(), scene_batch(SCENES)
    loss, whole = gradients(module, batch, None)
    again, divided = gradients(module, batch, Passes(number, number))
    assert_close(again, loss, **CLOSE)
    assert whole.keys() == divided.keys()
    for name, gradient in whole.items():
        assert_close(divided[name], gradient, **(EXACT if number == 1 else CLOSE))
    assert module.losses.keys() == TERMS.keys()


def test_what_does_not_fit_is_computed_in_more_passes(capsys: pytest.CaptureFixture[str]) -> None:
    term = TooLarge(most=2)
    module, batch = with_term(large=term), scene_batch(SCENES)
    _, whole = gradients(with_term(), batch, None)
    passes = Passes(1, 8)
    _, divided = gradients(module, batch, passes)
    assert passes.number == 4
    assert term.sizes == [6, 3, 1, 2, 1, 2]
    for name, gradient in whole.items():
        assert_close(divided[name], gradient, **CLOSE)
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("Out of memory: from here on each step is computed in") == 2
    assert "in 4 passes; its result stays the same." in said
    gradients(module, batch, passes)
    assert term.sizes[6:] == [1, 2, 1, 2], "a step begins with the number that fitted"


@pytest.mark.parametrize(("most", "scenes"), [(8, "6 passes"), (2, "2 passes")])
def test_what_never_fits_is_one_sentence(most: int, scenes: str) -> None:
    module = with_term(large=TooLarge(most=0))
    with pytest.raises(
        ValueError, match=f"a step of 6 scenes in {scenes} does not fit .* hardware.recompute="
    ):
        gradients(module, scene_batch(SCENES), Passes(1, most))


def test_a_gradient_may_be_scaled() -> None:
    """As Lightning does where several batches make a step."""
    module, batch = with_term(), scene_batch(SCENES)
    module.log_dict = lambda *_, **__: None
    module.passes = Passes(2, 2)
    found = []
    for factor in (1.0, 0.25):
        module.zero_grad()
        (factor * module.training_step(batch, 0)).backward()
        found.append([p.grad for p in module.parameters() if p.grad is not None])
    for one, quarter in zip(*found, strict=True):
        assert_close(quarter, 0.25 * one, rtol=0, atol=0)


def test_parts_are_the_batch() -> None:
    batch = scene_batch(5)
    parts = parts_of(batch, 3)
    assert [part.size for part in parts] == [1, 2, 2]
    assert_close(torch.cat([part.scene_pc for part in parts]), batch.scene_pc, rtol=0, atol=0)
    assert sum((part.item_index for part in parts), ()) == batch.item_index


def test_a_term_of_the_whole_batch_and_a_batch_norm_divide_nothing() -> None:
    objective = small_objective(terms={"kl": TooLarge(most=9)})
    assert indivisible(objective, torch.nn.Identity()) is None
    assert Divergence(free_nats=0.0, weight=1.0).mean_of_scenes
    objective.terms["kl"].mean_of_scenes = Divergence(free_nats=0.1, weight=1.0).mean_of_scenes
    assert "terms.kl is not the mean" in (indivisible(objective, torch.nn.Identity()) or "")
    objective.terms["kl"].mean_of_scenes = True
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(3))
    assert indivisible(objective, model) == "0 normalizes over the batch"


def test_a_preset_larger_than_the_gpu_is_refused() -> None:
    check_size(8.0, int(7.6 * 2**30))  # what a card of 8 GB shows
    with pytest.raises(
        ValueError, match=r"hardware.gpu_gib=32, but the GPU has 23.6. Pass a preset of its size"
    ):
        check_size(32.0, int(23.6 * 2**30))


class Gradients(pl.Callback):
    """Keeps those of the first step: an optimizer makes much of their rounding."""

    first: dict[str, Tensor] | None = None

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object
    ) -> None:
        if self.first is None:
            named = pl_module.named_parameters()
            self.first = {name: p.grad.clone() for name, p in named if p.grad is not None}


def train(rank: int, world: int, port: int, most: int, out: Path) -> None:
    if world > 1:
        become_rank(rank, world, port)
    term = TooLarge(most=most, rank=1)
    module = with_term(large=term)
    module.passes = Passes(1, 8) if world > 1 else None
    batch = scene_batch(8)
    mine: Sequence[GraspBatch] = [batch] if world == 1 else [batch.scenes(4 * rank, 4 * rank + 4)]
    kept = Gradients()
    trainer = pl.Trainer(
        max_steps=2,
        callbacks=[kept],
        accelerator="cpu",
        devices=world,
        strategy="ddp" if world > 1 else "auto",
        use_distributed_sampler=False,
        limit_val_batches=0,
        log_every_n_steps=1,
        **dict.fromkeys(
            ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
        ),
    )
    trainer.fit(module, DataLoader(mine * 2, batch_size=None))
    number = 1 if module.passes is None else module.passes.number
    torch.save(
        {"gradients": kept.first, "number": number, "sizes": term.sizes},
        out / f"{world}_{rank}.pt",
    )


@pytest.mark.ddp
@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_two_processes_agree_where_one_has_no_room(tmp_path: Path) -> None:
    """Only the second has no room for four scenes, nor for two: both take one at a time, and train what one trains."""
    port = free_port()
    context = multiprocessing.get_context("spawn")
    ranks = [context.Process(target=train, args=(rank, 2, port, 1, tmp_path)) for rank in range(2)]
    for process in ranks:
        process.start()
    train(0, 1, port, 1, tmp_path)
    for process in ranks:
        process.join(PATIENCE_S)
        assert process.exitcode == 0
    one, first, second = (torch.load(tmp_path / name) for name in ("1_0.pt", "2_0.pt", "2_1.pt"))
    assert first["number"] == second["number"] == 4
    assert first["sizes"] == [4, 2, 2, *[1] * 4, *[1] * 4], (
        "the first repeated what it had finished, in as many passes"
    )
    assert second["sizes"] == [4, 2, *[1] * 4, *[1] * 4]
    for name, value in one["gradients"].items():
        assert_close(first["gradients"][name], value, **CLOSE)
        assert torch.equal(first["gradients"][name], second["gradients"][name])


class Norms(pl.Callback):
    """Keeps the norms of the steps' gradients, whole and clipped, and the clipped gradients of the first step."""

    def __init__(self) -> None:
        self.found: list[float] = []
        self.clipped: list[float] = []
        self.first: list[Tensor] = []

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        def clip(
            optimizer: torch.optim.Optimizer, gradient_clip_val: float, gradient_clip_algorithm: str
        ) -> None:
            self.found.append(float(get_total_norm(self._gradients(pl_module))))
            pl_module.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            self.clipped.append(float(get_total_norm(self._gradients(pl_module))))
            self.first = self.first or [g.clone() for g in self._gradients(pl_module)]

        pl_module.configure_gradient_clipping = clip  # type: ignore[method-assign, assignment]

    def _gradients(self, module: pl.LightningModule) -> list[Tensor]:
        return [p.grad for p in module.parameters() if p.grad is not None]


class Gradient(pl.Callback):
    """The gradient of a step, as the optimizer gets it."""

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: object
    ) -> None:
        self.found = torch.cat([p.grad.flatten() for p in pl_module.parameters() if p.grad is not None])


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`", "ignore:Detected call of")
def test_small_gradients_in_half_precision_are_scaled_while_they_are_computed() -> None:
    """Under 6e-8 they are zero in float16, and a scale that comes after them brings none back."""
    small, found = 1e-5, []
    terms = {"translation": StateError(group="translation", weight=small)}
    for half, passes in ((False, None), (True, None), (True, Passes(2, 2))):
        module = small_module(objective=small_objective(terms=terms)).train()
        module.passes, gradient = passes, Gradient()
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24)
        pl.Trainer(
            max_steps=1,
            callbacks=[gradient],
            accelerator="cpu",
            plugins=[MixedPrecision("16-mixed", "cpu", scaler=scaler)] if half else None,
            limit_val_batches=0,
            **dict.fromkeys(
                ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
            ),
        ).fit(module, DataLoader([scene_batch(4)], batch_size=None))
        found.append(gradient.found)
    exact, at_once, divided = found
    assert (at_once - exact).norm() < 0.01 * exact.norm(), "what a scaler is for"
    assert (divided - exact).norm() < 0.01 * exact.norm()


NORM, SHARES = (
    0.5,
    ("at once", "accumulated", "out of memory"),
)  # the largest norm; how a rank computes its scenes


def train_clipped(rank: int, world: int, port: int, out: Path) -> None:
    """Two steps of eight scenes, which ranks and their batches share, with clipped gradients."""
    if world > 1:
        become_rank(rank, world, port)
    for share in SHARES:
        module = with_term(large=TooLarge(most=1, rank=1) if share == "out of memory" else TooLarge(most=99))
        module.passes = Passes(1, 8) if share == "out of memory" and world > 1 else None
        pieces = 2 if share == "accumulated" and world > 1 else 1
        size = 8 // (world * pieces)
        # A step's batches are of the same step: the first of all ranks, then the second.
        starts = [8 * rank // world + size * piece for piece in range(pieces)]
        batches = [scene_batch(8).scenes(start, start + size) for start in starts] * 2
        norms = Norms()
        trainer = pl.Trainer(
            max_steps=2,
            callbacks=[norms],
            accelerator="cpu",
            devices=world,
            strategy="ddp" if world > 1 else "auto",
            accumulate_grad_batches=pieces,
            gradient_clip_val=NORM,
            use_distributed_sampler=False,
            limit_val_batches=0,
            log_every_n_steps=1,
            **dict.fromkeys(
                ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
            ),
        )
        trainer.fit(module, DataLoader(batches, batch_size=None))
        number = 1 if module.passes is None else module.passes.number
        kept = {"found": norms.found, "clipped": norms.clipped, "first": norms.first, "passes": number}
        torch.save(kept, out / f"{share}_{world}_{rank}.pt")


@pytest.mark.ddp
@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_a_clipped_norm_is_that_of_the_whole_batch(tmp_path: Path) -> None:
    """However ranks, accumulated batches and passes that did not fit share it; else each would clip by its own norm."""
    port = free_port()
    context = multiprocessing.get_context("spawn")
    ranks = [context.Process(target=train_clipped, args=(rank, 2, port, tmp_path)) for rank in range(2)]
    for process in ranks:
        process.start()
    train_clipped(0, 1, port, tmp_path)
    for process in ranks:
        process.join(PATIENCE_S)
        assert process.exitcode == 0
    for share in SHARES:
        one, first, second = (torch.load(tmp_path / f"{share}_{name}.pt") for name in ("1_0", "2_0", "2_1"))
        assert first["passes"] == second["passes"] == (4 if share == "out of memory" else 1)
        assert first["found"] == second["found"] and len(first["found"]) == 2
        assert first["found"][0] > NORM and first["clipped"] == pytest.approx([NORM] * 2, rel=1e-5)
        assert first["found"][0] == pytest.approx(one["found"][0], rel=1e-5)
        assert first["clipped"] == pytest.approx(one["clipped"], rel=1e-5)
        for ours, theirs in zip(first["first"], one["first"], strict=True):
            assert_close(ours, theirs, **CLOSE)
