"""Pages of every configuration key, from the YAML files under ``config/`` and their comments."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml
from markup import cell, code, table
from meanings import arguments

ROOT = Path(__file__).resolve().parent.parent.parent
CONFIG = ROOT / "config"
_SHOWN = 90  # characters of a default


class Key(NamedTuple):
    """A key of a configuration file.

    Attributes:
        name: full name within the file.
        default: as the file writes it; the class that is built where the value is a section.
        meaning: the comment beside the key, or above it, or what the docstring of the class says of it.
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
    """Return what the first lines of a file say of it."""
    lines = text.splitlines()
    count = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return " ".join(_comment(line) for line in lines[:count] if "@package" not in line)


def keys(text: str) -> Iterator[Key]:
    """Yield every key of a configuration file with its default and its comment."""
    lines = text.splitlines()
    header = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))

    def walk(node: yaml.MappingNode, prefix: str) -> Iterator[Key]:
        documented = arguments(_target(node))
        for key, value in node.value:
            name = f"{prefix}{key.value}"
            if key.value in ("_target_", "_partial_") or name == "defaults" or name.startswith("hydra."):
                continue
            row = key.start_mark.line
            meaning = _beside(lines, key, value)
            if not meaning and lines[row][: key.start_mark.column].strip() == "":
                meaning = _above(lines, row, header)
            meaning = meaning or documented.get(key.value, "")
            section = isinstance(value, yaml.MappingNode) and not value.flow_style
            if section:
                default = _target(value).rpartition(".")[2]
            else:
                mark = value.end_mark
                same = value.start_mark.line == mark.line
                default = lines[mark.line][value.start_mark.column : mark.column] if same else "..."
            yield Key(name, default if len(default) <= _SHOWN else f"{default[: _SHOWN - 3]}...", meaning)
            if section:
                yield from walk(value, f"{name}.")

    root = yaml.compose(text)
    if isinstance(root, yaml.MappingNode):
        yield from walk(root, "")


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
    rows = [(code(k.name), code(k.default) if k.default else "", cell(k.meaning)) for k in keys(text)]
    if rows:
        parts.append(table(["key", "default", "what it is"], rows))
    return "\n\n".join(part for part in parts if part)


def configuration_pages() -> dict[str, str]:
    """Return the text of each page by its address: the programs' own files, and one page for each group."""
    files = sorted(path for path in CONFIG.rglob("*.yaml") if path.relative_to(CONFIG).parts[0] != "local")
    grouped: dict[str, list[Path]] = {}
    for path in files:
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
