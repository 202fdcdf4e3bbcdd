"""Does ``hardware=auto`` take what fits the free memory, say why, and change nothing of the training?"""

import hydra
import pytest
import torch
from omegaconf import DictConfig

from factories.models import small_module
from sceneleapultra.models.assembly import assemble
from sceneleapultra.models.memory.choice import Choice, choose, fewest_passes, preset_for
from sceneleapultra.models.memory.plan import Planned
from sceneleapultra.utils.core.config import CONFIG_DIR
from sceneleapultra.utils.training.validate import validate

GIB = 1 << 30
TINY = [
    *("experiment=quickstart", "hardware=auto", "data.batch_size=8", "data.cloud.num_points=256"),
    *("model.generator.decoder.depth=1", "model.generator.decoder.dim=32", "run_dir=nowhere"),
]


def compose(*overrides: str) -> DictConfig:
    with hydra.initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return hydra.compose("config", overrides=[*TINY, *overrides])


@pytest.mark.parametrize(
    ("free_gib", "name"),
    [(3, "low"), (7.5, "low"), (15, "medium"), (23, "medium"), (31, "high"), (79, "high"), (139, "h200")],
)
def test_a_preset_is_no_larger_than_what_is_free(free_gib: float, name: str) -> None:
    found, settings = preset_for(int(free_gib * GIB), "cuda")
    assert found == name and settings.passes == "plan"
    assert settings.recompute == (["encoder", "decoder"] if name == "low" else [])


@pytest.mark.slow
def test_few_scenes_foretell_many_and_what_comes_near_is_traced() -> None:
    planned = Planned.of(compose(), "cpu")
    passes, need = fewest_passes(planned, 20 * GIB, [])
    assert passes == 1 and {scenes for scenes, _ in planned._traced} == {2, 4}
    whole = planned.trace(8).peak
    assert need == pytest.approx(whole, rel=0.15)
    assert fewest_passes(planned, whole, []) == (1, whole)
    passes, need = fewest_passes(planned, whole - 1, [])
    assert passes == 2 and need == planned.need(planned.trace(4), 2)
    with pytest.raises(ValueError, match=r"A single scene needs"):
        fewest_passes(planned, 1 << 20, [])


@pytest.mark.slow
def test_a_run_on_a_cpu_says_what_it_needs_and_draws_the_same_numbers() -> None:
    cfg = compose()
    validate(cfg)
    _, plain, _ = assemble(compose("hardware=cpu"))
    after = torch.get_rng_state()
    _, model, _ = assemble(cfg)
    assert torch.equal(torch.get_rng_state(), after)
    assert "GiB free, hardware=cpu; a step needs about 0." in model.memory_note
    assert model.passes is None and plain.memory_note == ""
    for mine, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def chosen(monkeypatch: pytest.MonkeyPatch, free: int, *overrides: str) -> Choice:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 139 * GIB))
    return choose(compose(*overrides), small_module(), torch.device("cuda"))


@pytest.mark.slow
def test_a_small_gpu_recomputes(monkeypatch: pytest.MonkeyPatch) -> None:
    made = chosen(monkeypatch, 6 * GIB)
    assert (made.passes, made.max_passes, made.recompute) == (1, 64, ["encoder", "decoder"])
    assert made.reason.startswith("6.0 GiB free, hardware=low; a step needs about ")
    assert "in 1 pass, recomputing encoder and decoder" in made.reason


def test_what_looks_at_whole_batches_is_computed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = chosen(monkeypatch, 6 * GIB, "+callbacks.term_gradients={}")
    assert (made.passes, made.max_passes) == (1, 1)
    assert "not planned: callbacks.term_gradients needs steps computed at once" in made.reason


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([], "a step needs about "),  # of a completion
        (
            ["~data", "+data={_target_: builtins.dict, batch_size: 4}"],
            "not planned: these data are not known",
        ),
    ],
)
def test_data_of_another_kind(data: list[str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = ["experiment=completion", "hardware=auto", "run_dir=nowhere", *data]
    with hydra.initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = hydra.compose("config", overrides=overrides)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (40 * GIB, 139 * GIB))
    made = choose(cfg, small_module(), torch.device("cuda"))
    assert "40.0 GiB free, hardware=high; " + said in made.reason


def test_a_word_that_is_no_way_is_a_sentence() -> None:
    with pytest.raises(
        ValueError, match=r"hardware.passes=automatic: expected a whole number .* plan or auto"
    ):
        validate(compose("hardware.passes=automatic"))
