"""Command-line programs: by Hydra where there is a configuration, else by the parameters of a function.

:func:`run` makes a program of a function: a parameter that may be passed by position is an argument, a keyword-only one
a flag; annotations are the types, the function's ``Args:`` are the help. A parameter that is annotated with
``Annotated[dict[str, Any], Settings("sampling/changes")]`` gives a flag ``--<parameter>.<key>`` for each key of that
YAML file, which holds the defaults, too.
"""

import argparse
import contextlib
import difflib
import functools
import inspect
import os
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from sceneleapultra.utils.core.additions import clashes
from sceneleapultra.utils.core.config import CONFIG_DIR, require_values
from sceneleapultra.utils.core.console import exit_on_user_error, is_first_process, print_error
from sceneleapultra.utils.core.hand_files import name_hand_files
from sceneleapultra.utils.core.overrides import explain, unknown_flags
from sceneleapultra.utils.core.parallel import end_children
from sceneleapultra.utils.core.renamed import renamed_flags
from sceneleapultra.utils.core.signals import Stopped, ignore_for_good, stop_on_signals
from sceneleapultra.utils.core.typed import as_typed, help_as_typed, program_name

Command = Callable[..., int | None]
_TRACES = "HYDRA_FULL_ERROR"
_MULTIRUN = ("-m", "--multirun")


def hydra_program(config_name: str) -> Callable[[Callable[[DictConfig], None]], Callable[[], None]]:
    """Make a program of a function of the configuration ``config/<config_name>.yaml``, changed by the command line.

    Wrong input ends the program with one sentence. A renamed flag or key is answered with its new name, a misspelt key
    or option with the nearest one.
    """

    def decorate(function: Callable[[DictConfig], None]) -> Callable[[], None]:
        traces = os.environ.get(_TRACES)

        @functools.wraps(function)
        def work(cfg: DictConfig) -> None:
            with _environment(_TRACES, traces), exit_on_user_error():
                require_values(cfg)
                function(cfg)

        # The absolute folder: a relative one is looked for beside the program, or as a package where it is imported.
        main = hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name=config_name)(work)

        @functools.wraps(function)
        def program() -> None:
            # Hydra's parser takes overrides from one place only; the flag may stand behind them.
            sys.argv[1:] = sorted(sys.argv[1:], key=lambda word: word not in _MULTIRUN)
            try:
                sys.argv[1:] = name_hand_files(sys.argv[1:], config_name)
            except FileNotFoundError as error:
                print_error(str(error))
                raise SystemExit(1) from error
            words = sys.argv[1:]
            if hints := renamed_flags(config_name, words) or unknown_flags(words):
                print_error("\n".join(hints))
                raise SystemExit(2)
            if problems := clashes(config_name, words):
                print_error("\n".join(problems))
                raise SystemExit(1)
            try:
                # Hydra raises what it would print in words of its own.
                with say_what_stopped(), _environment(_TRACES, "1"), help_as_typed(words):
                    main()
            except (HydraException, OmegaConfBaseException, ValueError) as error:
                if traces == "1":
                    raise
                print_error(explain(error, words, config_name))
                raise SystemExit(1) from error

        del program.__wrapped__  # its signature is its own
        return program

    return decorate


@contextlib.contextmanager
def _environment(name: str, value: str | None) -> Iterator[None]:
    """Set a variable of the environment, or unset it, for a while."""
    before = os.environ.pop(name, None)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before


@contextlib.contextmanager
def say_what_stopped() -> Iterator[None]:
    """End by a line, and with all workers, where a signal asks the program to."""
    try:
        with stop_on_signals():
            yield
    except Stopped as stop:
        ignore_for_good()
        if is_first_process():
            print_error(str(stop))
        end_children()
        raise


@dataclass(frozen=True)
class Settings:
    """A YAML file of ``config/`` whose keys are flags of a program."""

    file: str  # without .yaml

    def read(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Return defaults and the comments behind them, by key."""
        text = (CONFIG_DIR / f"{self.file}.yaml").read_text()
        comments = dict(re.findall(r"^(\w+):.*? # (.*)$", text, re.MULTILINE))
        return dict(OmegaConf.create(text)), comments  # type: ignore[arg-type]


class Parser(argparse.ArgumentParser):
    """A parser that answers an unknown flag with the nearest one, in one sentence."""

    def format_help(self) -> str:
        """Return the help, with commands as they are typed."""
        return as_typed(super().format_help())

    def error(self, message: str) -> NoReturn:
        """Print one sentence and exit with status 2."""
        print_error(f"{message[0].upper()}{message[1:].rstrip('.')} (see {self.prog} --help).")
        raise SystemExit(2)

    def read(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse a command line."""
        flags = [flag for action in _actions(self, argv) for flag in action.option_strings]
        for word in (word.partition("=")[0] for word in argv):
            if word.startswith("--") and word not in flags:
                near = difflib.get_close_matches(word, flags, n=1)
                self.error(f"unknown flag {word}" + (f", did you mean {near[0]}?" if near else ""))
        return self.parse_args(argv)


def run(
    command: Command | Mapping[str, Command], description: str, argv: Sequence[str] | None = None
) -> NoReturn:
    """Run a function, or the one of several that the first word names, with the arguments of the command line.

    Wrong input ends the program with one sentence; the function's return value is the exit status.

    Args:
        command: the function, or functions by verb.
        description: the text of ``--help``.
        argv: the words behind the program's name; those of this process where None.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = Parser(
        prog=program_name(),
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if hints := renamed_flags(_program(command), argv):
        print_error("\n".join(hints))
        raise SystemExit(2)
    if callable(command):
        _add_parameters(parser, command)
        values = vars(parser.read(argv))
    else:
        verbs = parser.add_subparsers(dest="verb", required=True, parser_class=Parser)
        for verb, function in command.items():
            _add_parameters(verbs.add_parser(verb, help=_summary(function), allow_abbrev=False), function)
        values = vars(parser.read(argv))
        command = command[values.pop("verb")]
    with say_what_stopped(), exit_on_user_error():
        status = command(**_grouped(values))
    raise SystemExit(status or 0)


def _program(command: Command | Mapping[str, Command]) -> str:
    return command.__name__ if callable(command) else "/".join(command)


def _actions(parser: argparse.ArgumentParser, argv: Sequence[str]) -> list[argparse.Action]:
    """List the actions of a parser and of the verb that was chosen."""
    found = list(parser._actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found += [a for word in argv if word in action.choices for a in action.choices[word]._actions]
    return found


def _summary(function: Command) -> str:
    return (inspect.getdoc(function) or "").partition("\n")[0]


def _add_parameters(parser: argparse.ArgumentParser, function: Command) -> None:
    help_of = _documented(function)
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        annotation, flag = hints[name], name.replace("_", "-")
        if (settings := _settings(annotation)) is not None:
            defaults, comments = settings.read()
            for key, default in defaults.items():
                parser.add_argument(
                    f"--{flag}.{key.replace('_', '-')}",
                    dest=f"{name}.{key}",
                    type=_yaml_value,
                    default=default,
                    metavar="VALUE",
                    help=comments.get(key, "").replace("%", "%%"),
                )
            continue
        options: dict[str, Any] = {"help": help_of[name].replace("%", "%%"), **_reading(annotation)}
        required = parameter.default is inspect.Parameter.empty
        if parameter.kind is parameter.KEYWORD_ONLY:
            if not required and parameter.default not in (None, False, ()):
                shown = parameter.default
                shown = " ".join(map(str, shown)) if isinstance(shown, tuple) else shown
                options["help"] += f" (default: {shown})"
            parser.add_argument(
                f"--{flag}", dest=name, required=required, default=parameter.default, **options
            )
        else:
            optional = {} if required else {"nargs": "?", "default": parameter.default}
            parser.add_argument(name, **{**options, **optional})


def _settings(annotation: Any) -> Settings | None:
    if get_origin(annotation) is not Annotated:
        return None
    return next((extra for extra in get_args(annotation)[1:] if isinstance(extra, Settings)), None)


def _reading(annotation: Any) -> dict[str, Any]:
    """Return argparse's options for a type.

    Raises:
        TypeError: a type that no word of a command line can be read as.
    """
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        (annotation,) = (part for part in parts if part is not type(None))
        return _reading(annotation)
    if annotation is bool:
        return {"action": "store_true"}
    if origin is Literal:
        return {"choices": parts}
    if origin is list:
        return {"nargs": "+", "type": parts[0]}
    if origin is tuple:
        return {"nargs": len(parts), "type": parts[0], "metavar": tuple("XYZW"[: len(parts)])}
    if annotation in (str, int, float, Path):
        return {"type": annotation}
    raise TypeError(f"{annotation} cannot be read from a command line; see utils/core/cli.py.")


def _yaml_value(word: str) -> Any:
    """Read a word as YAML reads it: null, true, 20, 0.3, ddim."""
    try:
        return OmegaConf.create(f"value: {word}").value
    except YAMLError as error:
        raise ValueError(f"{word} is no YAML value") from error


def _documented(function: Command) -> dict[str, str]:
    """Return the help of each parameter, from the ``Args:`` of the docstring."""
    section = (inspect.getdoc(function) or "").partition("Args:\n")[2].partition("\n\n")[0]
    entries = re.split(r"\n?^    (?=\w+: )", section, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, _, text in (e.partition(":") for e in entries if e)}


def _grouped(values: Mapping[str, Any]) -> dict[str, Any]:
    """Collect the flags of each settings file into one dictionary."""
    arguments: dict[str, Any] = {}
    for name, value in values.items():
        owner, _, key = name.partition(".")
        if key:
            arguments.setdefault(owner, {})[key] = value
        else:
            arguments[name] = value
    return arguments
