"""Which configurations make no sense although every single value does: rules across keys, answered by a sentence.

Pure: reads a composed configuration, builds and opens nothing. Wrong types are answered by the constructors.
"""

from collections.abc import Callable, Iterator

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from sceneleapultra.utils.core.config import fused_step, require_values

_PARTS = (
    "model.generator",
    "model.objective",
    "data",
    "optimizer",
    "scheduler",
    "trainer",
    "callbacks",
    "logger",
)
Rule = Callable[[DictConfig], Iterator[str]]


def validate(cfg: DictConfig) -> None:
    """Check every rule and report all that are broken at once.

    Raises:
        ValueError: one sentence per broken rule, each with the key, the value and the remedy.
    """
    require_values(cfg)
    if lacking := [key for key in _PARTS if not OmegaConf.is_dict(OmegaConf.select(cfg, key))]:
        raise ValueError(
            f"{', '.join(lacking)}: expected settings with _target_, which a run cannot do without. Leave the group as "
            "it is by default, or choose another of its options."
        )
    try:
        OmegaConf.to_container(cfg, resolve=True)
    except InterpolationResolutionError as error:
        raise ValueError(f"{error.full_key}: {str(error).splitlines()[0]}.") from error
    if problems := [sentence for rule in RULES for sentence in rule(cfg)]:
        raise ValueError("\n".join(problems))


def _counts_are_positive(cfg: DictConfig) -> Iterator[str]:
    for key in (
        "trainer.max_steps",
        "trainer.accumulate_grad_batches",
        "trainer.log_every_n_steps",
        "data.batch_size",
        "callbacks.last.every_n_steps",
    ):
        value = OmegaConf.select(cfg, key)
        if value is not None and not (isinstance(value, int) and value >= 1):
            yield f"{key}={value}: expected a whole number of at least 1."


def _validation_comes(cfg: DictConfig) -> Iterator[str]:
    interval = cfg.trainer.val_check_interval
    if isinstance(interval, int | float) and interval < 1 and cfg.trainer.check_val_every_n_epoch is None:
        yield f"trainer.val_check_interval={interval}: expected at least 1 training batch between validations."


def _seed_is_a_number(cfg: DictConfig) -> Iterator[str]:
    if not isinstance(cfg.seed, int) or isinstance(cfg.seed, bool) or cfg.seed < 0:
        yield f"seed={cfg.seed}: expected a whole number of at least 0."


def _warmup_fits(cfg: DictConfig) -> Iterator[str]:
    warmup = OmegaConf.select(cfg, "scheduler.warmup_steps")
    if isinstance(warmup, int) and isinstance(cfg.trainer.max_steps, int) and warmup >= cfg.trainer.max_steps:
        yield (
            f"scheduler.warmup_steps={warmup} does not end before trainer.max_steps={cfg.trainer.max_steps}, so the "
            f"peak rate is never reached. Pass scheduler.warmup_steps={max(0, cfg.trainer.max_steps // 10)}."
        )


def _success_needs_simulation(cfg: DictConfig) -> Iterator[str]:
    best = OmegaConf.select(cfg, "callbacks.best.monitor")
    if best == "val/stable" and OmegaConf.select(cfg, "callbacks.simulation") is None:
        yield (
            "callbacks.best.monitor=val/stable is logged by callbacks.simulation, which is off. "
            "Pass callbacks=no_simulation, which keeps the best checkpoint by val/loss."
        )


def _simulation_needs_grasps(cfg: DictConfig) -> Iterator[str]:
    makes_grasps = OmegaConf.select(cfg, "model.generator.hand") is not None
    if OmegaConf.select(cfg, "callbacks.simulation") is not None and not makes_grasps:
        yield (
            f"callbacks.simulation judges grasps, but {cfg.model.generator._target_} makes none. Pass "
            "callbacks=no_simulation."
        )


def _heads_have_terms(cfg: DictConfig) -> Iterator[str]:
    heads = OmegaConf.select(cfg, "model.generator.heads")
    terms = OmegaConf.select(cfg, "model.objective.terms")
    if heads is None or terms is None:
        return
    trained = {name: term.head for name, term in terms.items() if "head" in term and term.weight != 0}
    for name, head in trained.items():
        if head not in heads:
            yield (
                f"model.objective.terms.{name} trains the head '{head}', which the model has not (it has "
                f"{', '.join(sorted(heads))}). Pass +model/generator/heads/{head}=tokens, or "
                f"model.objective.terms.{name}.weight=0."
            )
    for head in heads:
        if head not in {term.head for term in terms.values() if "head" in term}:
            yield (
                f"model.generator.heads.{head} is trained by no term. Pass model/objective/terms=[{head}], or leave "
                "the head out."
            )


def _ema_decay_is_a_share(cfg: DictConfig) -> Iterator[str]:
    decay = OmegaConf.select(cfg, "callbacks.ema.decay")
    if decay is not None and not 0 <= decay < 1:
        yield f"callbacks.ema.decay={decay}: expected 0 <= decay < 1, for example 0.999."


def _distribution_is_the_data_modules(cfg: DictConfig) -> Iterator[str]:
    if cfg.trainer.use_distributed_sampler:
        yield (
            "trainer.use_distributed_sampler=true would deal the items to ranks a second time, after the data module. "
            "Leave it false."
        )


def _precision_needs_gpu(cfg: DictConfig) -> Iterator[str]:
    if cfg.hardware.accelerator == "cpu" and str(cfg.trainer.precision).startswith("16"):
        yield f"trainer.precision={cfg.trainer.precision} needs a GPU; a CPU trains with 32-true or bf16-mixed."


def _mixed_precision_is_not_fused(cfg: DictConfig) -> Iterator[str]:
    fused = OmegaConf.select(cfg, "optimizer.fused")
    if fused and cfg.trainer.gradient_clip_val and not fused_step(cfg.trainer.precision):
        yield (
            "optimizer.fused=true: Lightning clips no gradients of a fused optimizer at trainer.precision="
            f"{cfg.trainer.precision}. Leave it out, or pass trainer.gradient_clip_val=0."
        )


def _passes_divide_the_batch(cfg: DictConfig) -> Iterator[str]:
    passes, most, scenes = cfg.hardware.passes, cfg.hardware.max_passes, cfg.data.batch_size
    if passes == "plan":
        if cfg.hardware.gpu_gib is None:
            yield "hardware.passes=plan needs the memory of the GPU. Pass hardware.gpu_gib=<GiB>, or a number."
    elif passes == "auto":
        pass
    elif not isinstance(passes, int) or isinstance(passes, bool) or passes < 1:
        yield f"hardware.passes={passes}: expected a whole number of at least 1, plan or auto."
    elif isinstance(scenes, int) and scenes % passes:
        near = max(n for n in range(1, passes) if scenes % n == 0)
        yield (
            f"hardware.passes={passes} does not divide data.batch_size={scenes}. Pass hardware.passes={near}, or "
            f"data.batch_size={scenes - scenes % passes or passes}."
        )
    if not isinstance(most, int) or isinstance(most, bool) or most < 1:
        yield f"hardware.max_passes={most}: expected a whole number of at least 1."


def _phases_take_whole_steps(cfg: DictConfig) -> Iterator[str]:
    keys = ("data.loading.progressive", "data.progressive")
    key = next((key for key in keys if OmegaConf.select(cfg, key)), None)
    if key is not None and cfg.trainer.accumulate_grad_batches != 1:
        yield (
            f"{key} changes batches between steps, and trainer.accumulate_grad_batches="
            f"{cfg.trainer.accumulate_grad_batches} makes a step of several. Pass trainer.accumulate_grad_batches=1 "
            "with hardware.passes, which needs as little memory."
        )


def _terms_keep_their_graphs(cfg: DictConfig) -> Iterator[str]:
    divided = cfg.hardware.passes not in (1, "auto") or (
        cfg.hardware.max_passes != 1 and cfg.hardware.accelerator != "cpu"
    )
    if OmegaConf.select(cfg, "callbacks.term_gradients") is not None and divided:
        yield (
            "callbacks.term_gradients needs a step computed at once. Pass hardware.passes=1 hardware.max_passes=1."
        )


def _sharded_weights_are_read_by_all(cfg: DictConfig) -> Iterator[str]:
    if cfg.hardware.strategy != "fsdp":
        return
    divided = "hardware.strategy=fsdp divides the weights among processes"
    if OmegaConf.select(cfg, "callbacks.simulation") is not None:
        yield f"{divided}, and callbacks.simulation samples in one of them. Pass callbacks=no_simulation."
    if OmegaConf.select(cfg, "callbacks.term_gradients") is not None:
        yield f"{divided}; callbacks.term_gradients needs whole ones. Leave it out, or pass hardware.strategy=auto."
    if cfg.hardware.passes not in (1, "auto") or cfg.hardware.max_passes != 1:
        yield f"{divided}; a step in passes needs whole ones. Pass hardware.passes=1 hardware.max_passes=1."
    if cfg.trainer.precision not in ("32-true", "bf16-mixed"):
        yield f"{divided}, at trainer.precision 32-true or bf16-mixed, got {cfg.trainer.precision}. Pass one of them."


RULES: tuple[Rule, ...] = (
    _counts_are_positive,
    _validation_comes,
    _seed_is_a_number,
    _warmup_fits,
    _success_needs_simulation,
    _simulation_needs_grasps,
    _heads_have_terms,
    _ema_decay_is_a_share,
    _distribution_is_the_data_modules,
    _precision_needs_gpu,
    _mixed_precision_is_not_fused,
    _passes_divide_the_batch,
    _phases_take_whole_steps,
    _terms_keep_their_graphs,
    _sharded_weights_are_read_by_all,
)
