"""What a test and a self-training can refuse before a model is loaded: a pure reading of their configuration."""

from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sceneleapultra.datasets.store.missing import check_there
from sceneleapultra.models.checkpoints.zoo import find_checkpoint
from sceneleapultra.models.sampling_changes import GROUPS, check_group_name
from sceneleapultra.utils.core.config import load_group

_COUNTS = (
    *("samples_per_item", "max_items", "per_object", "min_points", "candidates", "scenes"),
    *("top.samples", "top.keep", "top.max_items", "tuning.max_items", "tuning.samples_per_item"),
)
_NEEDED = ("samples_per_item", "max_items", "per_object", "min_points")  # the others may be null


def check_before_loading(cfg: DictConfig) -> None:
    """Refuse settings that no model could make sense of, all of them at once.

    Raises:
        ValueError: a sentence for each.
    """
    if problems := [*_nodes(cfg), *_sampling(cfg), *_counts(cfg), *_temperatures(cfg)]:
        raise ValueError("\n".join(problems))


def check_files(cfg: DictConfig) -> None:
    """Make sure that the checkpoint, and the store where one is named, exist.

    Raises:
        FileNotFoundError: one does not.
        ValueError: no model is shipped under that name.
    """
    find_checkpoint(cfg.checkpoint)
    if cfg.store is not None:
        check_there(cfg.store if isinstance(cfg.store, str) else [str(one) for one in cfg.store], "store")


def _nodes(cfg: DictConfig) -> Iterator[str]:
    """Settings that hold others may be left out only where the program can do without them."""
    for key, may_be_null in (("sampling", False), ("tuning", False), ("top", True), ("baselines", True)):
        if key not in cfg:
            continue
        node = cfg._get_node(key)
        if node is not None and node._is_none():
            if not may_be_null:
                remedy = (
                    " A test without tuning: sampling.temperature=null, or a number."
                    if key == "tuning"
                    else ""
                )
                yield f"{key}=null: its settings are needed.{remedy}"
        elif not isinstance(node, DictConfig):
            yield f"{key}={cfg[key]}: expected settings, {key}.<name>=<value>{', or null' if may_be_null else ''}."


def _sampling(cfg: DictConfig) -> Iterator[str]:
    sampling = _plain(cfg, "sampling")
    for group in GROUPS:
        name = sampling.get(group)
        if isinstance(name, str):
            yield from _option(group, name)
    steps, temperature = sampling.get("steps"), sampling.get("temperature")
    if steps is not None and not (_whole(steps) and steps >= 1):
        yield f"sampling.steps={steps}: expected a whole number of at least 1, or null for the checkpoint's own."
    tuned = "tuning" in cfg
    if temperature is not None and not (tuned and temperature == "tuned") and not _at_least(temperature, 0.0):
        yield (
            f"sampling.temperature={temperature}: expected a number of at least 0, or null for the checkpoint's own"
            f"{', or tuned' if tuned else ''}."
        )
    if not _at_least(sampling.get("cfg_scale") or 0.0, float("-inf")):
        yield f"sampling.cfg_scale={sampling['cfg_scale']}: expected a number; 1 is off."


def _option(group: str, name: str) -> Iterator[str]:
    try:
        check_group_name(f"sampling/{group}", name)
    except ValueError as error:
        yield str(error)


def _counts(cfg: DictConfig) -> Iterator[str]:
    for key in _COUNTS:
        value = OmegaConf.select(cfg, key, default=1)
        if not (_whole(value) and value >= 1) and not (value is None and key not in _NEEDED):
            yield f"{key}={value}: expected a whole number of at least 1."
    if not 0.0 < _number(OmegaConf.select(cfg, "points_share", default=1.0)) <= 1.0:
        yield f"points_share={cfg.points_share}: expected a share above 0 and at most 1."
    top = _plain(cfg, "top")
    if _whole(top.get("keep")) and _whole(top.get("samples")) and top["keep"] > top["samples"]:
        yield f"top.keep={top['keep']} is more than top.samples={top['samples']}. Pass top.samples={top['keep']}."
    for name in top.get("ranks", ()):
        yield from _option("rank", str(name))


def _temperatures(cfg: DictConfig) -> Iterator[str]:
    for key in ("tuning.temperatures", "temperatures"):
        values = OmegaConf.select(cfg, key, default=[1.0])
        listed = OmegaConf.is_list(values) or isinstance(values, list)
        if not listed or len(values) == 0 or not all(_at_least(value, 0.0) for value in values):
            yield f"{key}={values}: expected a list of numbers of at least 0, such as [0.2,0.4]."
    protocol = OmegaConf.select(cfg, "tuning.protocol", default=None)
    if protocol is not None:
        load_group("protocol", str(protocol))  # raises the sentence that names the nearest


def _plain(cfg: DictConfig, key: str) -> dict[str, Any]:
    node = cfg._get_node(key) if key in cfg else None
    return OmegaConf.to_container(node) if isinstance(node, DictConfig) and not node._is_none() else {}  # type: ignore[return-value]


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: object) -> float:
    """Return a number as it is, and what no comparison holds for where it is none."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")


def _at_least(value: object, least: float) -> bool:
    return _number(value) >= least
