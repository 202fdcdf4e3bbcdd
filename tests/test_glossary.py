"""Does the house use one word for one thing: the field's, in identifiers, keys, flags and file names?

The words that are out, and what to say instead, are data here. A rule is one of four kinds:

* a word: no identifier may hold it (``seen`` also finds ``seen_points`` and ``SeenCloud``);
* a phrase with an underscore: no identifier may hold these words in a row (``own_grasps``);
* ``=name``: no identifier may be exactly this (``=Rows`` leaves ``TableRows``);
* ``name()``: no function may be called this (``fit()`` leaves ``fit_plane()`` and a variable ``fit``).

A rule that starts with ``folder:`` holds below that folder alone, where the word means something else elsewhere.
Only names that the project binds are looked at, never what a library calls its own: ``trainer.fit``, ``set.clear``.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import pytest
from omegaconf import OmegaConf

from sceneleapultra.utils.core.config import CONFIG_DIR

ROOT = CONFIG_DIR.parent
CODE = (
    "utils",
    "hands",
    "simulation",
    "datasets",
    "models",
    "reporting",
    "evaluation",
    "serving",
    "scripts",
    "benchmarks",
)

# {what is said: what is not}
WORDS = {
    "self_attn, cross_attn, prompt_attn": "among across told",
    "prompts, encode_prompts, drop_conditions, condition_dropout": "said tell forget heard spoken forgotten",
    "null_scene, null_color, scene_kept, color_dropped": "unseen no_color seen blind colorless",
    "StepNoise": "models:=draws",
    "energy, reweight_anchors": "doubt doubted doubts",
    "build_guide, independent, anchor_nfe": "steer steered alone tried",
    "decode, DecodedGrasps": "finished",
    "add_noise, sample_t, set_sigma_data, pair_noise": "noised training_time models:fit() coupled",
    "sparse_view": "thin thinned student",
    "set_id": "together",
    "CloudProcessor, ItemCloud, preprocess": "see sees sight arrange arranged",
    "GraspRequest": "question asked",
    "evaluate, Verdict, GraspResults": "judge judged judges judging =Rows =MethodResult",
    "stable, collision_free": "hold clear",
    "self-training": "own_grasps",
    "privileged_inputs, subsample_points, attempts": "given closings",
    "SceneRenderer, MeshProvider, render_views": "studio workshop look",
    "distractor": "newcomer newcomers lent",
    "round_robin, partition": "dealt grasp_chunks",
    "init_weights, set_statistics, compute_statistics": (
        "models:begin() adopt models/statistics:measure() models/module:measure()"
    ),
    "check_same_data, print_start_card, print_end_card, exit_on_user_error": (
        "same_data utils/training/run:opening() utils/training/run:closing() sentences()"
    ),
}
RULES = {rule: instead for instead, rules in WORDS.items() for rule in rules.split()}
# A hand that holds an object for so many blocks of steps; what a camera looks at; who learns from a teacher.
ALLOWED = {
    "hold_blocks": "hold",
    "hold_steps_per_block": "hold",
    "look_at": "look",
    "check_same_data": "same_data",
    "look_at_jitter_m": "look",
}
DISTILLATION = ("distill", "benchmarks/diffusion_grid", "config/model/generator/student.yaml")
# A noise process is no path; a path is pathlib's. Only the definition can tell.
PROCESS_CLASS = "NoiseProcess"
# Files that have to name what things were called before.
HISTORY = (
    "models/checkpoints/migrate.py",
    "models/checkpoints/from_0_1.py",
    "datasets/store/migration.py",
    "utils/core/renamed.py",
)


class Use(NamedTuple):
    """A name of the project's own, and where it is bound."""

    name: str
    kind: str
    file: str
    line: int


def words(name: str) -> list[str]:
    """Split an identifier, a key or a flag into lower-case words."""
    return re.findall(
        r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
    )


def broken(name: str, kind: str = "variable", file: str = "") -> list[str]:
    """Return the rules that a name breaks."""
    parts = words(name)
    found = []
    for rule in RULES:
        folder, _, pattern = rule.rpartition(":")
        if not file.startswith(folder):
            continue
        if pattern.endswith("()"):
            hit = kind == "function" and name.strip("_") == pattern[:-2]
        elif pattern.startswith("="):
            hit = name.strip("_") == pattern[1:]
        else:
            phrase = pattern.split("_")
            hit = any(parts[i : i + len(phrase)] == phrase for i in range(len(parts)))
        if pattern == "student":
            hit = hit and not any(place in file for place in DISTILLATION)
        if hit and ALLOWED.get(name) != pattern:
            found.append(rule)
    return found


def bound(tree: ast.AST) -> Iterator[tuple[str, str, int]]:
    """Yield every name that a module binds, every string used as a key, and every flag."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield node.name, "function", node.lineno
                arguments = node.args
                for argument in (
                    *arguments.posonlyargs,
                    *arguments.args,
                    *arguments.kwonlyargs,
                    arguments.vararg,
                    arguments.kwarg,
                ):
                    if argument is not None:
                        yield argument.arg, "argument", argument.lineno
            case ast.ClassDef():
                yield node.name, "class", node.lineno
            case ast.Name(ctx=ast.Store()):
                yield node.id, "variable", node.lineno
            case ast.Attribute(ctx=ast.Store()):
                yield node.attr, "attribute", node.lineno
            case ast.Dict():
                for key in node.keys:
                    if isinstance(key, ast.Constant) and isinstance(key.value, str):
                        yield key.value, "key", key.lineno
            case ast.Subscript(slice=ast.Constant(value=str(key))):
                yield key, "key", node.lineno
            case ast.Subscript(value=ast.Name(id="Literal"), slice=ast.Tuple(elts=values)):
                for value in values:
                    if isinstance(value, ast.Constant) and isinstance(value.value, str):
                        yield value.value, "choice", node.lineno
            case ast.Call(func=ast.Attribute(attr="add_argument"), args=args):
                for flag in args:
                    if isinstance(flag, ast.Constant) and isinstance(flag.value, str):
                        yield flag.value, "flag", node.lineno


def python_uses() -> Iterator[Use]:
    """Yield what the shipped Python files bind."""
    files = [path for folder in CODE for path in sorted((ROOT / folder).rglob("*.py"))]
    for path in [*files, *sorted(ROOT.glob("*.py")), *sorted((ROOT / "sceneleapultra").glob("*.py"))]:
        file = str(path.relative_to(ROOT))
        if path.is_symlink():
            continue
        yield Use(path.stem, "file", file, 0)
        for name, kind, line in bound(ast.parse(path.read_text())):
            if kind in {"key", "choice"} and (file in HISTORY or not re.fullmatch(r"[\w./-]+", name)):
                continue
            yield Use(name, kind, file, line)


def yaml_uses() -> Iterator[Use]:
    """Yield the names of configuration files and every key in them."""

    def keys(node: object) -> Iterator[str]:
        if isinstance(node, dict):
            for key, value in node.items():
                yield str(key)
                yield from keys(value)
        elif isinstance(node, list):
            for value in node:
                yield from keys(value)

    for path in sorted(CONFIG_DIR.rglob("*.yaml")):
        file = str(path.relative_to(ROOT))
        if file.startswith("config/local"):
            continue
        yield Use(path.stem, "option", file, 0)
        for key in keys(OmegaConf.to_container(OmegaConf.load(path))):
            yield Use(key, "key", file, 0)


@cache
def offenders() -> dict[Use, list[str]]:
    """Return every name that breaks a rule, with the rules."""
    found = {use: broken(use.name, use.kind, use.file) for use in (*python_uses(), *yaml_uses())}
    return {use: rules for use, rules in found.items() if rules}


@pytest.mark.parametrize(
    ("name", "rules"),
    [
        ("seen_points", ["seen"]),
        ("SeenCloud", ["seen"]),
        ("unseen_families", ["unseen"]),
        ("ownGrasps", ["own_grasps"]),
        ("--own-grasps", ["own_grasps"]),
        ("fit_plane", []),
        ("clearance_m", []),
        ("threshold", []),
        ("_Rows", ["=Rows"]),
        ("hold_blocks", []),
        ("hold_all", ["hold"]),
    ],
)
def test_names_are_split_into_words(name: str, rules: list[str]) -> None:
    assert broken(name) == rules


def test_some_words_are_out_in_one_place_only() -> None:
    assert broken("fit", "function", "models/diffusion/flow.py") == ["models:fit()"]
    assert broken("fit", "variable", "models/diffusion/flow.py") == []
    assert broken("fit", "function", "simulation/plan.py") == []
    assert broken("student", "argument", "models/denoiser.py") == ["student"]
    assert broken("student", "argument", "models/objectives/distillation.py") == []


def test_a_binding_is_found_wherever_it_stands() -> None:
    source = (
        "def told(seen, *, look=1): self.doubt = {'hold': x['clear']}\n"
        "p.add_argument('--blind')\nA = Literal['hold', 'x']"
    )
    found = {(name, kind) for name, kind, _ in bound(ast.parse(source)) if broken(name)}
    assert found == {
        ("told", "function"),
        ("seen", "argument"),
        ("look", "argument"),
        ("doubt", "attribute"),
        ("hold", "key"),
        ("clear", "key"),
        ("--blind", "flag"),
        ("hold", "choice"),
    }


def test_only_the_fields_words_are_used() -> None:
    lines = sorted(
        f"{use.file}:{use.line}: {use.kind} {use.name}; say {RULES[rule]}"
        for use, rules in offenders().items()
        for rule in rules
    )
    assert not lines, f"{len(lines)} names:\n" + "\n".join(lines)


def test_a_noise_process_is_no_path() -> None:
    for folder in CODE:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef):
                    assert words(node.name)[-1] != "path", (
                        f"{path.name}: say {PROCESS_CLASS}, not {node.name}"
                    )
