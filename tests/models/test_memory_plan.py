"""Does a plan know what a step holds: to the byte where it can be added up, to 15 % where a process is measured?"""

from pathlib import Path

import hydra
import pytest
import torch
from omegaconf import DictConfig
from torch import nn
from torch.testing import assert_close

from benchmarks import plan as benchmark
from factories.models import scene_batch, small_decoder, small_generator, small_module
from sceneleapultra.models.memory.plan import Planned
from sceneleapultra.models.memory.step import trace_step
from sceneleapultra.models.recomputing import recompute
from sceneleapultra.scripts.plan import plan, target_of
from sceneleapultra.utils.core.config import CONFIG_DIR
from sceneleapultra.utils.training.memory_trace import MemoryTrace, fake_weights

MIB = 1 << 20


def test_a_trace_adds_up() -> None:
    """A tensor of 4096 rows of 256 floats is 4 MiB."""
    first, second = nn.Linear(256, 256, bias=False), nn.Linear(256, 512, bias=False)
    model = nn.Sequential(first, nn.ReLU(), second)
    x = torch.ones(4096, 256)
    fake_weights(model)
    with MemoryTrace({"first": first, "second": second}, "outside") as trace:
        y = model(x)
        assert trace.live == (4 + 8) * MIB, "the first layer's output is gone: the ReLU keeps its own"
        assert trace.at_peak == {"first": 0, "outside": 4 * MIB, "second": 8 * MIB}
        y.view(-1)[:5].add_(1.0)
        assert trace.live == trace.peak == 12 * MIB, "views and changes in place make nothing"
        loss = y.sum()
        del y
        trace.outside = "back"
        loss.backward()
        # The ReLU's output, the gradients by the second layer's output, weights and input; the loss and its gradient.
        assert trace.peak == 4 * MIB + (8 * MIB + MIB // 2 + 4 * MIB) + 8
        assert trace.at_peak["outside"] == 4 * MIB + 4
        kept = trace.live
    assert kept == 4 * (256 * 256 + 256 * 512) + 4, "the gradients, and the loss"
    del loss
    assert trace.live == kept - 4, "what is freed later is subtracted, too"


def test_nothing_is_computed_of_weights_and_all_else_is() -> None:
    model = nn.Linear(3, 3)
    fake_weights(model)
    cloud = torch.rand(100, 3)
    cells = torch.unique((cloud * 4).long(), dim=0)  # as many as there are, known to nobody before
    out = model(cells.float())
    assert out.shape == (len(cells), 3)
    assert torch.equal(cloud, cloud.clone())
    out.sum().backward()
    assert model.weight.grad is not None


@pytest.mark.slow
def test_recomputing_needs_less_and_gives_the_same_gradients() -> None:
    batch, found = scene_batch(4), {}
    for parts in ((), ("encoder", "decoder")):
        module = small_module().train()
        recompute(module.generator, parts)
        context = module.objective.context(module.generator, batch, step=0, training=True)
        module.objective.total(module.objective.losses(context, training=True), 0).backward()
        found[parts] = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    for name, gradient in found[()].items():
        assert_close(found["encoder", "decoder"][name], gradient, rtol=0, atol=0)

    def traced(*parts: str) -> int:
        def make():
            module = small_module(small_generator(decoder=small_decoder(depth=12)))
            recompute(module.generator, parts)
            return module

        return trace_step(make, batch, precision="32-true", device="cpu", averaged=True).computing

    assert traced("decoder") < 0.8 * traced()


def test_what_a_model_cannot_recompute_is_a_sentence() -> None:
    generator = small_module().generator
    with pytest.raises(ValueError, match=r"Unknown hardware.recompute 'encodr'. Did you mean 'encoder'\?"):
        recompute(generator, ["encodr"])
    del generator.decoder
    with pytest.raises(ValueError, match=r"this model's decoder cannot recompute"):
        recompute(generator, ["decoder"])


TINY = [
    *("experiment=quickstart", "data.batch_size=8", "data.cloud.num_points=256", "hardware=auto"),
    *("model.generator.decoder.depth=1", "model.generator.decoder.dim=32"),
]


def compose(*overrides: str) -> DictConfig:
    with hydra.initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return hydra.compose("plan", overrides=["run_dir=nowhere", *overrides])


def planned(*overrides: str) -> Planned:
    return plan(compose(*TINY, *overrides))[0]


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["gpu=h20"], r"Unknown gpu 'h20'. Did you mean 'h200'\? .* Or pass gpu_gib=<its memory in GiB>."),
        (["gpu_gib=-1"], r"gpu_gib=-1: expected the memory of a GPU in GiB"),
        (
            ["gpu_gib=8", "hardware.passes=3"],
            r"hardware.passes=3 does not divide data.batch_size=8. Pass .*passes=2",
        ),
        (["gpu_gib=8", "hardware.passes=plan"], "hardware.passes=plan needs the memory of the GPU"),
    ],
)
def test_what_cannot_be_planned_is_a_sentence(overrides: list[str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        planned(*overrides)


def test_a_completion_is_planned_by_its_grids() -> None:
    small, large = (
        plan(compose("experiment=completion", "hardware=low", f"data.cloud.size={size}"))[0].trace(2)
        for size in (16, 32)
    )
    assert small.weights == large.weights
    assert 7 < large.batch / small.batch < 9 and 6 < large.computing / small.computing < 9


def test_presets_are_planned_for_their_gpu() -> None:
    batches = set()
    for name, gib in {"low": 8, "medium": 16, "high": 32, "h200": 139}.items():
        cfg = compose("experiment=leap_table", f"hardware={name}")
        target = target_of(cfg)
        assert (target.kind, target.memory) == ("cuda", gib << 30)
        batches.add((cfg.data.batch_size, cfg.trainer.accumulate_grad_batches, cfg.optimizer.lr))
    assert len(batches) == 1, "a preset changes how a step is computed, and not the step"


@pytest.mark.slow
def test_a_plan_takes_as_many_passes_as_fit() -> None:
    """Four scenes in two passes: less than one, more than half of it, and with sums of gradients."""
    made = planned("hardware=cpu", "data.batch_size=4")
    whole, half = made.trace(4), made.trace(2)
    assert half.weights == whole.weights
    assert whole.computing / 2 < half.computing < whole.computing
    need = made.need(half, 2)
    assert need == half.peak + half.gradients
    assert made.way(whole.peak, ()).passes == 1
    assert made.way(need, ()).passes == 2
    with pytest.raises(ValueError, match=r"A single scene needs .* Lower data.cloud.num_points"):
        made.way(whole.weights, ())


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        *("pointnet2, dit", "pointnet2, unet", "pointnet2, dit, sets, 24 grasps", "pointnet_lite, dit"),
        *("ptv3_light, dit", "ptv3, unet, recomputed"),
    ],
)
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="resident memory is read in /proc")
def test_a_plan_is_within_15_percent_of_what_a_process_holds(case: str) -> None:
    overrides, scenes = benchmark.CASES[case]
    measured = benchmark.measure(overrides, scenes)
    assert benchmark.foretell(overrides, scenes).peak == pytest.approx(measured, rel=0.15)
