"""Pages of every configuration key, from the YAML files under ``config/`` and their comments.

What a key means is the first of: the comment beside it, the comment above it, what the docstring of the class says of
its argument or, for a section, of the class, and what another file says of the same key (an experiment sets keys that
the groups explain). Entries of a dictionary, none of which is explained, mean what the dictionary means.
"""

import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import yaml
from markup import cell, code, table
from meanings import arguments, summary

ROOT = Path(__file__).resolve().parent.parent.parent
CONFIG = ROOT / "config"
_SHOWN = 90  # characters of a default
_COMMAND = re.compile(r"(?:^|  )(python \S+\.py .*)$")
_PROGRAMS = {
    "dataset": "generate.yaml",
    "evaluation": "test.yaml",
}  # of which groups set keys; others: config.yaml


class Key(NamedTuple):
    """A key of a configuration file.

    Attributes:
        name: full name within the file.
        default: as the file writes it; the class that is built where the value is a section.
        meaning: see above; empty where nothing says it.
    """

    name: str
    default: str
    meaning: str


def _comment(line: str) -> str:
    return line.strip().removeprefix("#").strip()


def _above(lines: list[str], row: int, first: int) -> str:
    """Return the comment lines that end above a row, down from row ``first``."""
    found: list[str] = []
    while row > first and lines[row - 1].lstrip().startswith("#"):
        row -= 1
        found.insert(0, _comment(lines[row]))
    return " ".join(found)


def _beside(lines: list[str], key: yaml.Node, value: yaml.Node) -> str:
    """Return the comment behind a value, or behind the colon of a section."""
    block = isinstance(value, yaml.CollectionNode) and not value.flow_style
    mark = key.end_mark if block else value.end_mark
    rest = lines[mark.line][mark.column :].lstrip(" :") if mark.line < len(lines) else ""
    return _comment(rest) if rest.startswith("#") else ""


def _target(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == "_target_":
                return value.value
    return ""


def head(text: str) -> str:
    """Return what the first lines of a file say of it, with commands as code."""
    lines = text.splitlines()
    count = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    comments = [_comment(line) for line in lines[:count] if "@package" not in line]
    return " ".join(_COMMAND.sub(r" `\1`", comment).strip() for comment in comments)


def keys(text: str, elsewhere: Mapping[str, str] = MappingProxyType({})) -> Iterator[Key]:
    """Yield every key of a configuration file with its default and its meaning.

    A section without a meaning of its own is named by its keys only.

    Args:
        text: the file.
        elsewhere: {full name within the file: meaning} for keys of which the file itself says nothing.
    """
    lines = text.splitlines()
    header = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))

    def walk(node: yaml.MappingNode, prefix: str) -> Iterator[Key]:
        documented = arguments(_target(node))
        for key, value in node.value:
            name = f"{prefix}{key.value}"
            if key.value in ("_target_", "_partial_") or name == "defaults" or name == "hydra":
                continue
            row = key.start_mark.line
            meaning = _beside(lines, key, value)
            if not meaning and lines[row][: key.start_mark.column].strip() == "":
                meaning = _above(lines, row, header)
            meaning = meaning or documented.get(key.value, "") or summary(_target(value))
            mapping = isinstance(value, yaml.MappingNode) and value.value
            if mapping and (not value.flow_style or not meaning):
                if meaning or _target(value):
                    yield Key(name, _target(value).rpartition(".")[2], meaning)
                inner = list(walk(value, f"{name}."))
                alike = not _target(value) and not any(each.meaning for each in inner)
                yield from (each._replace(meaning=meaning) if alike else each for each in inner)
                continue
            mark = value.end_mark
            same = value.start_mark.line == mark.line
            default = lines[mark.line][value.start_mark.column : mark.column] if same else "..."
            shown = default if len(default) <= _SHOWN else f"{default[: _SHOWN - 3]}..."
            yield Key(name, shown, meaning or elsewhere.get(name, ""))

    root = yaml.compose(text)
    if isinstance(root, yaml.MappingNode):
        yield from walk(root, "")


def _recipe(path: Path) -> bool:
    """Say whether a file sets keys of other groups; its comments are about its own values."""
    return "# @package _global_" in path.read_text()


def package(path: Path) -> str:
    """Return where the keys of a file stand in the whole configuration, with a dot at the end."""
    words = path.parent.relative_to(CONFIG).parts
    return "" if _recipe(path) else "".join(f"{word}." for word in words)


@functools.cache
def _said() -> dict[str, dict[str, list[Path]]]:
    """Return {full name: {meaning: files that say so}}."""
    said: dict[str, dict[str, list[Path]]] = {}
    for path in files():
        for key in () if _recipe(path) else keys(path.read_text()):
            if key.meaning:
                said.setdefault(package(path) + key.name, {}).setdefault(key.meaning, []).append(path)
    return said


def _defaults(path: Path) -> list[Path]:
    """Return the files of its own folder that a file is composed of."""
    entries = (yaml.safe_load(path.read_text()) or {}).get("defaults", [])
    return [path.with_name(f"{entry}.yaml") for entry in entries if isinstance(entry, str)]


def elsewhere(path: Path) -> dict[str, str]:
    """Return {name within a file: meaning} of what other files say of its keys.

    Nearest first: the files that it is composed of, its group's default, its folder, the program, all. Where files at
    one distance say different things, nothing is taken from them. Recipes explain nothing to others.
    """
    prefix, folder = package(path), set(path.parent.glob("*.yaml"))
    program = CONFIG / _PROGRAMS.get(path.parent.name, "config.yaml")
    distances = ({*_defaults(path)}, {path.with_name("default.yaml")}, folder, {program}, set(files()))
    found: dict[str, str] = {}
    for name, meanings in _said().items():
        for at in distances if name.startswith(prefix) else ():
            texts = [text for text, by in meanings.items() if not at.isdisjoint(by)]
            if len(texts) == 1:
                found.setdefault(name.removeprefix(prefix), texts[0])
    return found


def file_keys(path: Path) -> list[Key]:
    """Return the keys of a file with all that is said of them."""
    return list(keys(path.read_text(), elsewhere(path)))


@functools.cache
def files() -> list[Path]:
    """Return all configuration files of the project."""
    return sorted(path for path in CONFIG.rglob("*.yaml") if path.relative_to(CONFIG).parts[0] != "local")


def _choices(text: str) -> str:
    """Return what a file is composed of."""
    entries = (yaml.safe_load(text) or {}).get("defaults", [])
    shown = [f"`{k}={v}`" for e in entries if isinstance(e, dict) for k, v in e.items() if "hydra" not in k]
    return ", ".join(shown)


def file_section(path: Path) -> str:
    """Return the section of one file: what it is, what it is composed of, its keys."""
    text = path.read_text()
    group = path.parent.relative_to(CONFIG).as_posix()
    title = f"`{path.name}`" if group == "." else f"`{group}={path.stem}`"
    parts = [f"## {title}", cell(head(text))]
    if chosen := _choices(text):
        parts.append(f"Composed of {chosen}.")
    rows = [(code(k.name), code(k.default) if k.default else "", cell(k.meaning)) for k in file_keys(path)]
    if rows:
        parts.append(table(["key", "default", "what it is"], rows))
    return "\n\n".join(part for part in parts if part)


def configuration_pages() -> dict[str, str]:
    """Return the text of each page by its address: the programs' own files, and one page for each group."""
    grouped: dict[str, list[Path]] = {}
    for path in files():
        parts = path.relative_to(CONFIG).parts
        grouped.setdefault(parts[0] if len(parts) > 1 else "programs", []).append(path)
    pages = {}
    for name, members in grouped.items():
        source = "config/*.yaml" if name == "programs" else f"config/{name}/"
        intro = f"Made of the comments in `{source}`. On the command line a key stands below the name of its group."
        body = "\n\n".join(file_section(path) for path in members)
        pages[f"reference/configuration/{name}.md"] = f"# Configuration: {name}\n\n{intro}\n\n{body}\n"
    listed = table(["group", "files"], [(f"[{name}]({name}.md)", str(len(m))) for name, m in grouped.items()])
    pages["reference/configuration/index.md"] = (
        "# Every configuration key\n\nOne page for each group; search finds a key by its name. Values are changed "
        "on the command line, `key=value`; `group=option` chooses a file of a group.\n\n"
        f"{listed}\n"
    )
    return pages
