"""Is every configuration one can ask for complete, and is one that makes no sense answered by a sentence?"""

import inspect
from copy import deepcopy
from dataclasses import fields
from pathlib import Path

import hydra
import pytest
from hydra import initialize_config_dir
from hydra.errors import HydraException
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from sceneleapultra.models.assembly import assemble
from sceneleapultra.models.checks import check_data
from sceneleapultra.models.sampling_config import SamplingConfig
from sceneleapultra.utils.core.config import CONFIG_DIR, all_keys, build, load_group, nearest_key, try_partial
from sceneleapultra.utils.core.overrides import override_hints
from sceneleapultra.utils.core.renamed import RENAMED_KEYS
from sceneleapultra.utils.training.validate import validate

ROOT = CONFIG_DIR.parent
OURS = "sceneleapultra."
GROUPS = [
    "model",
    *(f"model/generator/{part}" for part in ("encoder", "decoder", "process", "conditions", "autoencoder")),
    *("model/generator/heads/anchors", "model/generator/heads/score"),
    *(f"model/objective/{part}" for part in ("weighting", "matching", "terms")),
    *("learning_rates", "sampling", "sampling/solver", "sampling/guidance", "sampling/rank"),
    *("data", "hand", "optimizer", "scheduler", "hardware", "trainer", "callbacks", "logger", "paths"),
]
OPTIONS = [(g, p.stem) for g in GROUPS for p in sorted((CONFIG_DIR / g).glob("*.yaml"))]
RECIPES = [
    (g, p.stem)
    for g in ("experiment", "experimental", "debug")
    for p in sorted((CONFIG_DIR / g).glob("*.yaml"))
]

SHORT = sorted({group: (group, option) for group, option in reversed(OPTIONS + RECIPES)}.values())
LONG = [o for o in OPTIONS + RECIPES if o not in SHORT]
FOREIGN = sorted({p.stem for p in (CONFIG_DIR / "conversion").glob("*.yaml")} - {"common"})
GRIDS = ["data=completion", "callbacks=no_simulation"]
# Options that make sense only beside others.
NEEDS = {
    **{condition: ["data.prompt=category"] for condition in ("category", "text")},
    "part": ["data.prompt=part"],
    "prompted": ["data.prompt=part", "model/generator/conditions=part"],
    "file": ["hand.name=hands/mine/hand.yaml"],
    "pretrain": ["callbacks=no_simulation"],
    "completion": ["model=completion", *GRIDS],
    "completion_vae": GRIDS,
    "completion_latent": [*GRIDS, "model.objective.vae=vae.ckpt"],
    "completion_consistency": [*GRIDS, "model.objective.teacher=teacher.ckpt"],
    "grasp_latent": ["model.objective.vae=vae.ckpt"],
    "simulation": ["callbacks=default"],
    **{head: [f"+model/generator/heads/{head}=tokens"] for head in ("contact", "segmentation", "graspness")},
}
TEACHER = ["model.generator.teacher=teacher.ckpt"]


def nodes_with_target(node: object, key: str = "") -> list[tuple[str, DictConfig]]:
    if not isinstance(node, DictConfig):
        return []
    found = [(key, node)] if "_target_" in node else []
    for name in node:
        child = node._get_node(name)
        found += nodes_with_target(child, f"{key}.{name}".lstrip("."))
    return found


@pytest.mark.parametrize(
    ("group", "option"), SHORT + [pytest.param(*o, marks=pytest.mark.slow) for o in LONG]
)
def test_every_option_composes_validates_and_gives_the_constructors_parameters(
    compose, group: str, option: str
) -> None:
    """Every default stands in YAML and nowhere else; foreign constructors keep the defaults they come with."""
    distilled = option in ("consistency", "distill") and group in ("model", "experimental")
    cfg = compose(f"{group}={option}", *(TEACHER if distilled else NEEDS.get(option, [])))
    validate(cfg)
    check_keys(cfg, "")


@pytest.mark.parametrize("root", sorted(p.stem for p in CONFIG_DIR.glob("*.yaml")))
def test_every_root_composes(root: str) -> None:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        assert "_target_" not in hydra.compose(root), "a root is a command's settings, not an object"


@pytest.mark.parametrize(
    ("root", "overrides"),
    [
        ("generate", []),
        ("generate", ["synthesis=optimize"]),
        ("generate", ["dataset=leap_pick"]),
        ("convert", []),
        ("test", ["baselines=null"]),  # baselines get the training objects from the program
    ],
)
def test_yaml_keys_of_other_roots_are_the_constructors_parameters(root: str, overrides: list[str]) -> None:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        check_keys(hydra.compose(root, overrides=overrides), "")


def check_keys(cfg: DictConfig, name: str) -> None:
    for key, node in nodes_with_target(cfg, name):
        target = str(node._get_node("_target_"))
        parameters = inspect.signature(get_object(target)).parameters.values()
        named = {p.name for p in parameters if p.kind == p.KEYWORD_ONLY}
        given = {str(k) for k in node} - {"_target_", "_partial_", "_convert_", "_recursive_"}
        if target.startswith(OURS):
            assert given == named, f"{key} ({target})"
            defaults = {p.name for p in parameters if p.kind == p.KEYWORD_ONLY and p.default is not p.empty}
            assert not defaults, f"{target} has defaults for {defaults}, which belong in YAML"


@pytest.mark.parametrize(("group", "option"), RECIPES)
def test_recipes_are_short_and_say_their_command(group: str, option: str) -> None:
    lines = (CONFIG_DIR / group / f"{option}.yaml").read_text().splitlines()
    assert len(lines) <= 25
    assert lines[0] == "# @package _global_"
    assert any(f"python train_lightning.py {group}={option}" in line for line in lines[:4])


@pytest.mark.parametrize(
    ("experiment", "data"),
    [
        *((o, "sceneleapplus") for group, o in RECIPES if group == "experiment" and "completion" not in o),
        *(("leap_table_cpu", name) for name in FOREIGN if name != "sceneleapplus"),
    ],
)
def test_an_experiment_trains_on_foreign_data(compose, experiment: str, data: str) -> None:
    """A data set that was chosen keeps its store, whatever store the experiment is for."""
    words = [f"experiment={experiment}", *NEEDS.get(experiment, [])]
    cfg = compose(*words, f"data={data}", "data.root=/there")
    validate(cfg)
    assert Path(cfg.data.store).name.startswith(f"{data}-") and cfg.data.conversion.reader.name == data
    assert cfg.data.batch_size == compose(*words).data.batch_size


def test_renamed_keys_exist_and_their_old_names_do_not(compose) -> None:
    models = sorted(p.stem for p in (CONFIG_DIR / "model").glob("*.yaml"))
    choices = [*([f"model={name}"] for name in models), ["data=sceneleapplus"], ["experimental=sparse_view"]]
    known = {key for choice in choices for key in all_keys(compose(*choice))}
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        for root in ("convert", "generate", "test"):
            known |= set(all_keys(hydra.compose(root)))
    for protocol in (CONFIG_DIR / "protocol").glob("*.yaml"):
        known |= {f"protocol.{key}" for key in all_keys(OmegaConf.load(protocol))}
    known |= {str(p.parent.relative_to(CONFIG_DIR)) for p in CONFIG_DIR.rglob("*.yaml")}
    assert set(RENAMED_KEYS.values()) <= known
    assert not set(RENAMED_KEYS) & known


def test_an_experiment_names_its_store_by_a_data_group(compose) -> None:
    assert compose("experiment=leap_table_cpu").data.store == "data/leap_table.h5"
    assert compose("experiment=leap_table", "data.store=x.h5").data.store == "x.h5"


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ["model.generator=null"],
            "model.generator: expected settings with _target_, which a run cannot do without.",
        ),
        (["trainer.max_steps=0"], "trainer.max_steps=0: expected a whole number of at least 1."),
        (["data.batch_size=0"], "data.batch_size=0: expected a whole number of at least 1."),
        (["callbacks.last.every_n_steps=0"], "callbacks.last.every_n_steps=0: expected a whole number"),
        (["seed=-1"], "seed=-1: expected a whole number of at least 0."),
        (["seed=one"], "seed=one: expected a whole number of at least 0."),
        (
            ["trainer.max_steps=100", "scheduler.warmup_steps=100"],
            "scheduler.warmup_steps=100 does not end before trainer.max_steps=100",
        ),
        (
            ["callbacks=no_simulation", "callbacks.best.monitor=val/stable"],
            "callbacks.best.monitor=val/stable is logged by callbacks.simulation, which is off",
        ),
        (
            ["model=pretrain"],
            "but sceneleapultra.models.objectives.pretraining.EncoderOnly makes none",
        ),
        (["callbacks.ema.decay=1.0"], "callbacks.ema.decay=1.0: expected 0 <= decay < 1"),
        (["trainer.use_distributed_sampler=true"], "would deal the items to ranks a second time"),
        (["hardware=cpu", "trainer.precision=16-mixed"], "trainer.precision=16-mixed needs a GPU"),
        (
            ["hardware.precision=bf16-mixed", "optimizer.fused=true"],
            "optimizer.fused=true: Lightning clips no gradients of a fused optimizer at trainer.precision=bf16-mixed.",
        ),
        (["model.objective.seed=${nowhere}"], "model.objective.seed: "),
        (["run_dir=???"], "run_dir: a value is required"),
        (
            ["callbacks=no_simulation", "trainer.val_check_interval=0"],
            "trainer.val_check_interval=0: expected at least 1",
        ),
    ],
)
def test_rules_answer_with_a_sentence(compose, overrides: list[str], sentence: str) -> None:
    cfg = compose(*overrides)
    with pytest.raises(ValueError) as caught:
        validate(cfg)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["model.objective.num_grasps=3"], "Set the number of the data only."),
        (
            ["model.generator.process.prediction=eps"],
            "model.generator.process: prediction=eps cannot recover x0 at t = 1 on a path with zero terminal",
        ),
        (
            ["model/generator/process=ddpm", "model.generator.process.prediction=eps"],
            "model.generator.process: prediction=eps cannot recover x0 at t = 1",
        ),
        (
            ["model/generator/process=vp_linear", "model.generator.process.prediction=u"],
            "model.generator.process: prediction=u is infinite at t = 0 on process=vp_linear",
        ),
        (
            ["model/generator/process=edm", "model.generator.process.prediction=v"],
            "model.generator.process: prediction=v grows with sigma without bound on process=edm",
        ),
        (
            ["model/generator/process=edm", "sampling/solver=ddpm"],
            "solver=ddpm steps through a variance-pres",
        ),
        (["model/generator/process=ddpm", "sampling/solver=heun"], "solver=heun integrates a flow in contin"),
        (
            ["sampling/solver=prior"],
            "solver=prior draws the codes of a CVAE; this model was trained on process=",
        ),
        (["sampling/solver=consistency"], "solver=consistency needs a distilled model"),
        (
            ["model=grasp_cvae", "sampling/solver=ddim"],
            "solver=ddim follows a diffusion; this model is a CVAE",
        ),
        (
            ["model=grasp_cvae", "model.generator.decoder.hand_geometry=true"],
            "model.generator.decoder.hand_geometry=true reads the hand of a noised grasp",
        ),
        (
            ["model/generator/process=ddpm", "model/objective/weighting=velocity"],
            "weighting=velocity weighs the error of u",
        ),
        (["model/generator=latent", "sampling/solver=prior"], "model.objective=denoising trains a diffusion"),
        (["model/objective=latent"], "model.objective=latent trains a CVAE; model.generator is another kind"),
        (["data.cloud.num_points=100"], "data.cloud.num_points=100 is fewer than the 256 centers"),
        (
            ["data.cloud.num_points=256", "model.generator.encoder.levels.fine.neighbors=[300]"],
            "data.cloud.num_points=256 is fewer than the 300 neighbors that a patch",
        ),
        (["data.min_points=8"], "data.min_points=8 lets in clouds of fewer points than the 16 neighbors"),
        (["model/generator/encoder=fpn", "data.min_points=15"], "Pass data.min_points=16"),
        (["model/generator/encoder=ptv3", "data.min_points=15"], "(ptv3: frame_neighbors)"),
        (
            ["model/generator/conditions=category"],
            "data.prompt=none gives no prompts to model.generator.conditions.",
        ),
        (["data.prompt=category"], "data.prompt=category, but the model reads no prompts."),
        (["data.colors=true"], "data.colors=true, but model.generator.encoder does not use colors."),
        (
            ["model.generator.encoder.use_color=true"],
            "data.colors=false, but model.generator.encoder uses colors. Pass data.colors=true",
        ),
        (
            ["model/generator/encoder=ptv3", "model.generator.encoder.inputs=[xyz,color]"],
            "data.colors=false, but model.generator.encoder uses",
        ),
        (
            ["model/generator/heads/score=tokens", "model.generator.heads.score.heads=5"],
            "must be even and divisible by heads=5",
        ),
        (["model.objective.terms.translation.weight=-1"], "terms.translation: weight: expected at least 0"),
        (
            ["experimental=sparse_view", "model.objective.sparse_view=null"],
            "model.objective.terms.sparse_prediction compares with a sparse view",
        ),
    ],
)
def test_built_objects_answer_with_a_sentence(compose, overrides: list[str], sentence: str) -> None:
    """What a rule over keys cannot know is asked of the objects, before any data is read."""
    cfg = compose("hardware=cpu", *overrides)
    validate(cfg)
    with pytest.raises(ValueError) as caught:
        assemble(cfg)
    assert sentence in str(caught.value)


def test_a_model_of_another_hand_than_the_datas_is_refused(compose) -> None:
    _, module, data = assemble(compose("hardware=cpu"))
    module.generator.hand = deepcopy(module.generator.hand)
    module.generator.hand.name = "other_right"
    with pytest.raises(
        ValueError, match=r"hand=other_right and data.hand=leap_right differ: .* Pass hand=leap"
    ):
        check_data(module, data)


def test_problems_of_data_and_model_are_reported_at_once(compose) -> None:
    with pytest.raises(ValueError) as caught:
        assemble(compose("hardware=cpu", "data.colors=true", "data.prompt=category", "data.min_points=8"))
    assert len(str(caught.value).splitlines()) == 3


def test_a_test_can_change_every_setting_of_sampling() -> None:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        settings = hydra.compose("test").sampling
    assert set(settings) == {f.name for f in fields(SamplingConfig)} | {"steps", "temperature", "cfg_scale"}
    changes = {name: None if value == "tuned" else value for name, value in settings.items()}
    default = build(load_group("sampling", "default"))
    assert default.changed(**changes) == default, "null leaves a setting as it is in the checkpoint"


def test_all_broken_rules_are_reported_at_once(compose) -> None:
    with pytest.raises(ValueError) as caught:
        validate(compose("seed=-1", "callbacks.ema.decay=2"))
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("trainer.max_steps=abc", "trainer.max_steps: Input should be a valid integer"),
        (
            "model.generator.process.prediction=velocity",
            "model.generator.process.prediction: Input should be 'x0', 'eps', 'v' or 'u'; got 'velocity'",
        ),
        (
            "model.objective.anchors.reach=far",
            "model.objective.anchors.reach: Input should be a valid number",
        ),
        (
            "model.generator.encoder.levels.fine.centers=many",
            "model.generator.encoder.levels.fine.centers: Input should be a valid",
        ),
        ("+model.generator.encoder.color=red", "model.generator.encoder.color: unexpected keyword argument"),
    ],
)
def test_wrong_type_is_named_with_its_full_key(compose, override: str, sentence: str) -> None:
    cfg = compose(override)
    with pytest.raises(ValueError) as caught:
        build(cfg[override.lstrip("+").split(".")[0]])
    assert sentence in str(caught.value)


def test_partial_arguments_are_checked_before_training(compose) -> None:
    import torch

    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))]}]
    with pytest.raises(ValueError, match=r"optimizer\.lr: Input should be a valid number"):
        try_partial("optimizer", compose("optimizer.lr=fast").optimizer, groups)
    with pytest.raises(ValueError, match=r"optimizer: Invalid learning rate: -1\.0"):
        try_partial("optimizer", compose("optimizer.lr=-1").optimizer, groups)


def test_misspelt_override_raises_and_is_answered_with_the_nearest_key(compose) -> None:
    with pytest.raises(HydraException):
        compose("trainer.max_stepz=5")
    assert override_hints(["trainer.max_stepz=5", "seed=3", "model=grasp_dit"], "config") == [
        "Unknown key 'trainer.max_stepz'. Did you mean 'trainer.max_steps'?"
    ]
    assert override_hints(["data.num_points=96", "data.points.sampler=voxel"], "config") == [
        "data.num_points is called data.cloud.num_points since 0.2.",
        "data.points.sampler is called data.cloud.points.sampler since 0.2.",
    ]
    assert override_hints(["model.encoder.levels.fine.centers=48", "model/encoder=fpn"], "config") == [
        "model.encoder.levels.fine.centers is called model.generator.encoder.levels.fine.centers since 0.2.",
        "model/encoder is called model/generator/encoder since 0.2.",
    ]
    assert override_hints(["propagate=1"], "config") == [
        "Unknown key 'propagate'. Did you mean 'model.generator.encoder.propagate'?"
    ]


def test_misspelt_experiment_is_an_error(compose) -> None:
    with pytest.raises(HydraException, match="experiment/quickstrat"):
        compose("experiment=quickstrat")


def test_nearest_key_keeps_quiet_when_nothing_is_near() -> None:
    assert nearest_key("color", ["trainer.max_steps", "seed"]) is None


def test_auto_precision_without_a_gpu_is_float32(compose) -> None:
    assert compose("hardware=cpu").trainer.precision == "32-true"


@pytest.mark.parametrize(
    ("precision", "fused"),
    [("32-true", True), ("32", True), ("bf16-mixed", False), ("bf16", False), ("16", False)],
)
def test_an_optimizer_is_fused_but_in_mixed_precision(compose, precision: str, fused: bool) -> None:
    assert compose(f"hardware.precision={precision}").optimizer.fused is fused
