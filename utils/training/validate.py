"""Which configurations make no sense although every single value does: rules across keys, answered by a sentence.

Pure: reads a composed configuration, builds and opens nothing. Wrong types are answered by the constructors.
"""

from collections.abc import Callable, Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from sceneleapultra.utils.core.config import fused_step

Rule = Callable[[DictConfig], Iterator[str]]


def validate(cfg: DictConfig) -> None:
    """Check every rule and report all that are broken at once.

    Raises:
        ValueError: one sentence per broken rule, each with the key, the value and the remedy.
    """
    if missing := sorted(_missing(OmegaConf.to_container(cfg))):
        raise ValueError(f"{', '.join(missing)}: a value is required. Pass {missing[0]}=<value>.")
    try:
        OmegaConf.to_container(cfg, resolve=True)
    except InterpolationResolutionError as error:
        raise ValueError(f"{error.full_key}: {str(error).splitlines()[0]}.") from error
    if problems := [sentence for rule in RULES for sentence in rule(cfg)]:
        raise ValueError("\n".join(problems))


def _missing(node: object, key: str = "") -> Iterator[str]:
    if node == "???":
        yield key
    for name, child in node.items() if isinstance(node, dict) else ():
        yield from _missing(child, f"{key}.{name}".lstrip("."))


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
    makes_grasps = OmegaConf.select(cfg, "model.hand") is not None
    if OmegaConf.select(cfg, "callbacks.simulation") is not None and not makes_grasps:
        yield (
            f"callbacks.simulation judges grasps, but {cfg.model._target_} makes none. Pass callbacks=no_simulation."
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


def _one_hand(cfg: DictConfig) -> Iterator[str]:
    hand = OmegaConf.select(cfg, "model.hand")
    if hand is not None and hand != cfg.data.hand:
        yield (
            f"model.hand={hand} and data.hand={cfg.data.hand} differ: a model learns one hand from its own "
            f"grasps. Pass hand={cfg.data.hand}, which sets both."
        )


def _grasps_of_the_batch(cfg: DictConfig) -> Iterator[str]:
    num_grasps = OmegaConf.select(cfg, "model.num_grasps")
    if num_grasps is not None and num_grasps != cfg.data.grasps.number:
        yield (
            f"model.num_grasps={num_grasps}, but batches hold data.grasps.number={cfg.data.grasps.number} "
            "successful grasps, then failures: the model would take one for the other. Set data.grasps.number only."
        )


def _enough_points(cfg: DictConfig) -> Iterator[str]:
    encoder, points = _encoder(cfg), cfg.data.cloud.num_points
    centers = max((*_values(encoder, "centers"), *_values(encoder, "num_tokens")), default=0)
    if isinstance(points, int) and points < centers:
        yield (
            f"data.cloud.num_points={points} is fewer than the {centers} centers that model.encoder takes from "
            "a cloud. Raise the one or lower the other."
        )
    # What an encoder calls its min_points: a patch of the cloud itself has no more neighbors than there are points.
    first = next((v for v in _all(encoder, "neighbors") if isinstance(v, list)), [])
    needed = max((v for v in (*first, *_values(encoder, "frame_neighbors")) if isinstance(v, int)), default=0)
    if isinstance(points, int) and centers <= points < needed:
        yield (
            f"data.cloud.num_points={points} is fewer than the {needed} neighbors that a patch of model.encoder takes. "
            "Raise the one or lower the other."
        )
    if isinstance(cfg.data.min_points, int) and cfg.data.min_points < needed:
        yield (
            f"data.min_points={cfg.data.min_points} lets in clouds of fewer points than the {needed} neighbors that a "
            f"patch of model.encoder takes. Pass data.min_points={needed}, or lower its neighbors (ptv3: "
            "frame_neighbors)."
        )


def _colors_meet(cfg: DictConfig) -> Iterator[str]:
    encoder = _encoder(cfg)
    wanted = any(_values(encoder, "use_color")) or "color" in (
        OmegaConf.select(cfg, "model.encoder.inputs") or []
    )
    if encoder and wanted != cfg.data.colors:
        needs = "sees colors" if wanted else "does not see colors"
        yield (
            f"data.colors={str(cfg.data.colors).lower()}, but model.encoder {needs}. Pass data.colors="
            f"{str(wanted).lower()}, or set the encoder's use_color (ptv3: color among its inputs) accordingly."
        )


def _prompts_meet(cfg: DictConfig) -> Iterator[str]:
    listens, says = bool(OmegaConf.select(cfg, "model.conditions")), cfg.data.prompt != "none"
    if listens and not says:
        yield (
            "data.prompt=none says nothing to model.conditions. Pass data.prompt=category, or model/conditions=none."
        )
    if says and not listens and OmegaConf.select(cfg, "model.encoder") is not None:
        yield (
            f"data.prompt={cfg.data.prompt}, but the model does not listen. Pass model/conditions=category, or "
            "data.prompt=none."
        )


def _encoder(cfg: DictConfig) -> dict[Any, Any]:
    """Return the encoder's settings; nothing where a model takes its encoder from a teacher."""
    encoder: Any = OmegaConf.to_container(OmegaConf.select(cfg, "model.encoder", default=OmegaConf.create()))
    return dict(encoder)


def _values(node: object, name: str) -> Iterator[int]:
    """Every whole number of that name in a configuration."""
    yield from (value for value in _all(node, name) if isinstance(value, int))


def _all(node: object, name: str) -> Iterator[object]:
    """Everything of that name in a configuration, in its order."""
    for key, child in node.items() if isinstance(node, dict) else ():
        if key == name:
            yield child
        yield from _all(child, name)


def _prediction_fits_the_path(cfg: DictConfig) -> Iterator[str]:
    name = _class_name(cfg, "model.path")
    silent = name in ("CosinePath", "FlowPath") or _ends_without_signal(cfg)
    refused = {
        "eps": silent and "x0 cannot be recovered from it where no signal is left (t = 1)",
        "v": name == "EDMPath" and "it grows with the noise without bound, which x0 on this path does not",
        "u": (name == "LinearPath" and "it is infinite at t = 0")
        or (name == "discrete_view" and "a discrete path has no velocity")
        or (name == "EDMPath" and "it grows with the noise without bound, which x0 on this path does not"),
    }
    prediction = OmegaConf.select(cfg, "model.prediction")
    if reason := refused.get(str(prediction)):
        yield f"model.prediction={prediction} on model.path={name}: {reason}. Pass model.prediction=x0."


def _sampler_fits_the_path(cfg: DictConfig) -> Iterator[str]:
    path, sampler = _class_name(cfg, "model.path"), _class_name(cfg, "model.sampler")
    if sampler == "DDPM" and path in ("EDMPath", "FlowPath"):
        yield f"model/sampler=ddpm needs a variance-preserving path, {path} is none. Pass model/sampler=ddim."
    if path == "discrete_view" and sampler not in ("", "DDPM", "DDIM", "DPMSolver"):
        yield f"model/sampler={sampler} needs a continuous path, {path} is none. Pass model/sampler=ddim."


def _ends_without_signal(cfg: DictConfig) -> bool:
    keys = ("model.path.zero_terminal_snr", "model.path.path.zero_terminal_snr")
    return any(OmegaConf.select(cfg, key) is True for key in keys)


def _class_name(cfg: DictConfig, key: str) -> str:
    return str(OmegaConf.select(cfg, f"{key}._target_") or "").rsplit(".", 1)[-1]


RULES: tuple[Rule, ...] = (
    _counts_are_positive,
    _validation_comes,
    _seed_is_a_number,
    _warmup_fits,
    _success_needs_simulation,
    _simulation_needs_grasps,
    _ema_decay_is_a_share,
    _distribution_is_the_data_modules,
    _precision_needs_gpu,
    _mixed_precision_is_not_fused,
    _one_hand,
    _grasps_of_the_batch,
    _enough_points,
    _prediction_fits_the_path,
    _sampler_fits_the_path,
    _colors_meet,
    _prompts_meet,
)
