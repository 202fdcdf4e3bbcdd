"""Whether a command of the pages would start, looked at by what would run it: its parser, Hydra, make, torchrun, Ray.

Nothing of a command's work is done. A word that its program does not know is an AssertionError, or what the program's
own reader raises.
"""

import argparse
import functools
import importlib
import io
import re
import runpy
import shlex
import subprocess
import tomllib
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import patch

import hydra
import pytest
import torch
import yaml
from hydra import initialize_config_dir
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sceneleapultra.models.assembly import assemble
from sceneleapultra.utils.core import typed
from sceneleapultra.utils.core.config import CONFIG_DIR, require_values
from sceneleapultra.utils.core.hand_files import name_hand_files
from sceneleapultra.utils.training.validate import validate

ROOT = CONFIG_DIR.parent
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-docs.lock", "docker/requirements.lock")
UNLOCKED = {"viser", "onnxruntime-gpu"}  # what only an extra needs that neither a test nor the image does


def check(text: str) -> str:
    """Return in which way a command was looked at.

    Raises:
        ValueError: nothing here knows the program; add a case.
    """
    text = re.sub(r"<[^<>]+>", "machine", text.replace("$SLURM_ARRAY_TASK_ID", "0"))
    words = [word for word in shlex.split(text) if word != "…"]
    match words:
        case ["make", *targets]:
            return _plan(targets)
        case ["bash", script, *_]:
            return _printed("bash", "-n", script) and "read by bash"
        case ["torchrun", *rest]:
            return _torchrun(rest)
        case ["srun", *rest]:
            return check(shlex.join(rest))
        case ["sbatch", *_, "--wrap", inner]:
            return check(inner)
        case ["ray", verb, *rest]:
            return _ray(verb, rest)
        case ["python" | ".venv/bin/python", "-m", module, *rest]:
            return _parse(module, rest)
        case ["python" | ".venv/bin/python", script, *rest]:
            if root := re.search(r'@hydra_program\("(\w+)"', (ROOT / script).read_text()):
                return _compose(root[1], rest)
            return _parse(script, rest)
        case ["sceneleap", *rest]:
            return _parse("sceneleapultra.__main__", rest if len(rest) > 2 else [*rest, "--help"])
        case ["pip", "install", what] if what.startswith("sceneleapultra["):
            return _extra(Requirement(what))
        case ["docker", verb, *rest]:
            return _docker(verb, rest)
        case ["source", ".venv/bin/activate"]:
            assert "-m venv .venv\n" in _printed(
                "make", "-n", "-W", "requirements.lock", "VENV=.venv", "setup"
            )
            return "made by make setup"
        case ["curl" | "git" | "cd" | "[" | "export" | "pip", *_]:
            return "the shell's"
        case _:
            raise ValueError(f"tests/factories/page_checks.py does not know {words}; add a case.")


@functools.cache
def _printed(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-1000:]}{done.stderr[-2000:]}"
    return done.stdout or "nothing\n"


def _plan(targets: list[str]) -> str:
    named = re.findall(
        r"(?<![\w./-])(?:[\w-]+/)*[\w-]+\.(?:py|lock|txt|toml)\b", _printed("make", "-n", *targets)
    )
    lacking = [name for name in named if not (ROOT / name).is_file()]
    assert not lacking, f"make {' '.join(targets)} would use {lacking}, which are not there"
    return "planned by make"


class _Parsed(BaseException):
    """The command line was understood; nothing more is to be done."""


def _parse(program: str, words: list[str]) -> str:
    """Start a program, and end it where its own parser has read the words."""
    parse = argparse.ArgumentParser.parse_args

    def only(self: argparse.ArgumentParser, args: Any = None, namespace: Any = None) -> NoReturn:
        parse(self, args, namespace)
        raise _Parsed

    def start() -> None:
        if program.endswith(".py"):
            runpy.run_path(str(ROOT / program), run_name="__main__")
        else:
            importlib.import_module(program).main()

    said = io.StringIO()
    try:
        with (
            patch.object(argparse.ArgumentParser, "parse_args", only),
            patch("sys.argv", [program, *words]),
            patch("sys.dont_write_bytecode", True),  # runpy would keep checked code under the plain name
            patch.dict(typed._verbs),  # a verb shows verbs from then on
            patch.object(typed, "_started", []),
            warnings.catch_warnings(action="ignore", category=RuntimeWarning),  # run again, though imported
            redirect_stdout(said),
            redirect_stderr(said),
        ):
            start()
    except _Parsed:
        return "parsed by its program"
    except SystemExit as stop:
        assert stop.code in (0, None) and "--help" in words, (
            f"{program} {shlex.join(words)}: {said.getvalue()}"
        )
        return "parsed by its program"
    raise AssertionError(f"{program} parsed no command line")


def _compose(name: str, words: list[str]) -> str:
    """Compose a configuration; of a training, check its rules, and build it as far as a device that is missing."""
    words = [word for word in words if word not in {"-m", "--multirun", "--help"}]
    # Where a page names a hand's file, its reader has one.
    words = ["hand=leap_right" if word.startswith("hand=hands/") else word for word in words]
    if "--config-dir" in words:
        at = words.index("--config-dir")
        words[at : at + 2] = [f"hydra.searchpath=[file://{ROOT / words[at + 1]}]"]
    words = name_hand_files(words, name)
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = hydra.compose(name, words)
    require_values(cfg)
    if name == "config":
        validate(cfg)
    if "hardware=gpu" not in words or torch.cuda.is_available():
        return "composed by Hydra"
    with pytest.raises(ValueError, match=r"trainer.accelerator=gpu: .* sees no CUDA device here"):
        assemble(cfg)
    return "composed by Hydra, and the GPU that is not there refused"


def _torchrun(words: list[str]) -> str:
    from torch.distributed.run import get_args_parser

    parsed = get_args_parser().parse_args(words)
    return check(shlex.join(["python", parsed.training_script, *parsed.training_script_args]))


def _ray(verb: str, words: list[str]) -> str:
    scripts = pytest.importorskip("ray.scripts.scripts", reason="the extra 'ray' is not installed")
    scripts.cli.commands[verb].make_context(verb, list(words))
    return "parsed by Ray"


def _extra(asked: Requirement) -> str:
    """Check that an extra is there, and that every package it names is locked in a version that it takes."""
    locked = {}
    for lock in LOCKS:
        for line in re.findall(r"^[\w.\[\]-]+==[^\s;\\]+", (ROOT / lock).read_text(), re.MULTILINE):
            requirement = Requirement(line)
            (only,) = requirement.specifier
            locked[canonicalize_name(requirement.name)] = only.version
    for extra in asked.extras:
        assert extra in EXTRAS, f"pyproject.toml has no extra {extra}"
        for requirement in map(Requirement, EXTRAS[extra]):
            name = canonicalize_name(requirement.name)
            if name not in UNLOCKED | {"sceneleapultra"}:
                assert requirement.specifier.contains(locked[name]), (
                    f"{requirement} is locked as {locked[name]}"
                )
    return "an extra of pyproject.toml, its packages locked"


def _docker(verb: str, words: list[str]) -> str:
    """Check that an image's or a service's file has all that a command names."""

    def after(flag: str) -> str | None:
        return words[words.index(flag) + 1] if flag in words else None

    file = ROOT / str(after("-f"))
    if verb == "build":
        _check_image(file, after("--target"), (after("--build-arg") or "").partition("=")[0])
        return "named in docker/"
    assert verb == "compose" and words[-1] == "up", words
    services = yaml.safe_load(file.read_text())["services"].values()
    chosen = [service for service in services if after("--profile") in service["profiles"]]
    assert chosen, f"{file} has no service of the profile {after('--profile')}"
    for service in chosen:
        build = service["build"]
        for argument in build.get("args", [""]):
            _check_image(file.parent / build["context"] / build["dockerfile"], build["target"], argument)
    return "named in docker/"


def _check_image(file: Path, target: str | None, argument: str) -> None:
    text = file.read_text()
    assert re.search(rf"^FROM \S+ AS {target}$", text, re.MULTILINE), f"{file} has no target {target}"
    assert re.search(rf"^ARG {argument}=?$", text, re.MULTILINE) or not argument, f"{file} has no {argument}"
