"""What a sweep may vary: a tree of settings in YAML, whose leaves are ranges and choices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from sceneleapultra.utils.core.config import CONFIG_DIR
from sceneleapultra.utils.core.overrides import explain, override_hints, word
from sceneleapultra.utils.training.validate import validate

if TYPE_CHECKING:
    from optuna import Trial

_KINDS = ("float", "int", "choice")
_EXPECTED = (
    "expected {float: [low, high]}, {int: [low, high]}, both with log: true if wanted, or {choice: [a, b]}"
)


@dataclass(frozen=True)
class Setting:
    """One setting that varies.

    Attributes:
        key: in the configuration of a training; of a group where it holds a slash or names one.
        kind: float, int or choice.
        values: the lowest and the highest, or all that may be chosen.
        log: whether a factor, not a difference, is what counts.
    """

    key: str
    kind: str
    values: tuple[Any, ...]
    log: bool

    def suggest(self, trial: Trial) -> Any:
        """Return the value of a trial, drawn if it has none yet."""
        if self.kind == "choice":
            return trial.suggest_categorical(self.key, self.values)
        if self.kind == "int":
            return trial.suggest_int(self.key, *self.values, log=self.log)
        return trial.suggest_float(self.key, *self.values, log=self.log)


def read_space(node: Mapping[str, Any]) -> list[Setting]:
    """Read a space.

    Args:
        node: nested settings as in a configuration; where a value would stand, a range or a choice; null for
            what keeps its value.

    Raises:
        ValueError: one is none, by its full key; or there is nothing to vary.
    """
    if not isinstance(node, Mapping) or not (found := list(_read(node, ""))):
        raise ValueError(f"sweep.space: expected settings to vary, {_EXPECTED}.")
    return found


def _read(node: Mapping[str, Any], prefix: str) -> Iterator[Setting]:
    for name, child in node.items():
        key = f"{prefix}{name}"
        if child is None:  # taken out of a space by the command line
            continue
        if isinstance(child, Mapping) and child and not any(kind in child for kind in _KINDS):
            yield from _read(child, f"{key}.")
        else:
            yield _setting(key, child)


def _setting(key: str, node: Any) -> Setting:
    where = f"sweep.space.{key}"
    if not isinstance(node, Mapping):
        raise ValueError(f"{where}={node}: {_EXPECTED}.")
    kinds = [kind for kind in _KINDS if kind in node]
    if len(kinds) != 1 or node.keys() - {*kinds, *(() if kinds == ["choice"] else ("log",))}:
        raise ValueError(f"{where}={dict(node)}: {_EXPECTED}.")
    kind, values, log = kinds[0], node[kinds[0]], node.get("log", False)
    if not isinstance(values, Sequence) or isinstance(values, str) or not isinstance(log, bool):
        raise ValueError(f"{where}={dict(node)}: {_EXPECTED}.")
    if kind == "choice":
        if len(values) < 2 or not all(
            value is None or isinstance(value, bool | int | float | str) for value in values
        ):
            raise ValueError(
                f"{where}.choice={list(values)}: expected two values or more, each a number or a word."
            )
        return Setting(key, kind, tuple(values), False)
    wanted = int if kind == "int" else (int, float)
    numbers = all(isinstance(value, wanted) and not isinstance(value, bool) for value in values)
    if len(values) != 2 or not numbers or not values[0] < values[1] or (log and values[0] <= 0):
        above = " above 0" if log else ""
        raise ValueError(f"{where}.{kind}={list(values)}: expected [low, high]{above}, the lower one first.")
    return Setting(key, kind, tuple(values), log)


def check_space(space: Sequence[Setting], train: Sequence[str], monitor: str) -> DictConfig:
    """Make sure that trainings of this space would start: keys exist, and the ends of every range make sense.

    Args:
        space: what varies.
        train: overrides that all trainings have.
        monitor: the number that is compared.

    Returns:
        the configuration of one of them.

    Raises:
        ValueError: a key that no training has (with the nearest one), one that the number depends on by itself, or
            values that a training refuses.
    """
    fixed = {one.partition("=")[0] for one in train}
    if clash := [setting.key for setting in space if setting.key in fixed]:
        raise ValueError(
            f"train.{clash[0]} is what the sweep varies. Remove it, or remove it from sweep.space."
        )
    weights = [setting.key for setting in space if setting.key.startswith("model.objective")]
    if weights and monitor == "val/loss":
        raise ValueError(
            f"sweep.space varies {weights[0]}, by which val/loss itself changes, so that trials cannot be compared. "
            "Pass sweep.monitor=val/stable sweep.mode=max, with callbacks=default, or another number."
        )
    probes = [[word(setting.key, setting.values[0]) for setting in space]]
    for setting in space:
        others = setting.values[1:]
        probes += [[*train_without(probes[0], setting.key), word(setting.key, value)] for value in others]
    with _free_hydra():
        if hints := override_hints([*train, *probes[0]], "config"):
            raise ValueError("\n".join(hints))
        composed = [_composed([*train, *probe]) for probe in probes]
    return composed[0]


def train_without(words: Sequence[str], key: str) -> list[str]:
    """Return the overrides but for one key's."""
    return [one for one in words if one.partition("=")[0] != key]


@contextmanager
def _free_hydra() -> Iterator[None]:
    """Let configurations be composed while a program of Hydra's runs, which is one itself."""
    running = GlobalHydra.instance()
    own = running.hydra
    running.clear()
    try:
        yield
    finally:
        running.hydra = own


def _composed(words: list[str]) -> DictConfig:
    try:
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            cfg = compose("config", overrides=words)
        validate(cfg)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        sentence = explain(error, words, "config") if not isinstance(error, ValueError) else str(error)
        raise ValueError(f"No training would start with {' '.join(words)}: {sentence}") from error
    return cfg
