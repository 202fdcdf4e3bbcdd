"""What the docstring of a class or a function says of it and of its arguments, read without importing it."""

import ast
import functools
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
_SECTION = re.compile(r"^(?:Args|Attributes):\n((?:[ ]{4}.*\n?|\n(?=[ ]{4}))*)", re.MULTILINE)
_ENTRY = re.compile(r"^    (\w+(?:, \w+)*):\s*(.*(?:\n {5,}.*)*)", re.MULTILINE)
_ROLE = re.compile(r":\w+:(?=`)")
_SEE = re.compile(r"see :class:`~?([\w.]+)`[.]?")
_SEE_CONFIG = re.compile(r"(?:;|, as)? ``config/[^`]*`` (?:says|explains) [^.]*")  # the reader is there


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _home(target: str) -> tuple[ast.Module, str] | None:
    """Return the module that a dotted name lies in, parsed, and the name within; imported names are followed."""
    module, _, name = target.rpartition(".")
    base = ROOT / module.replace(".", "/")
    path = next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)
    if path is None:
        return None
    tree = _tree(path)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and any(a.name == name for a in node.names):
            return _home(f"{node.module}.{name}")
    return tree, name


def _documented(target: str) -> list[str]:
    """Return the docstrings of what a dotted name names, those of its bases in the same module first."""
    found = _home(target)
    if found is None:
        return []
    tree, name = found
    texts: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            if isinstance(node, ast.ClassDef):
                for base in node.bases:
                    if isinstance(base, ast.Name):
                        texts += _documented(f"{target.rpartition('.')[0]}.{base.id}")
            inner = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
            texts += [ast.get_docstring(documented) or "" for documented in (node, *inner)]
    return texts


def _plain(text: str) -> str:
    """Return a text of a docstring without its roles."""
    return _ROLE.sub("", text).replace("``", "`")


@functools.cache
def arguments(target: str) -> dict[str, str]:
    """Return {argument: meaning} of what ``_target_`` names; empty where its docstring lists none."""
    meanings: dict[str, str] = {}
    for section in (s for text in _documented(target) for s in _SECTION.findall(text + "\n")):
        for names, text in _ENTRY.findall(section):
            text = " ".join(text.split())
            for each in names.split(", "):
                there = _SEE.fullmatch(text)
                meanings[each] = arguments(there[1]).get(each, "") if there else _plain(text)
    return meanings


@functools.cache
def summary(target: str) -> str:
    """Return the first paragraph of the docstring of what ``_target_`` names."""
    found = _home(target)
    for node in found[0].body if found else []:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == found[1]:
            text = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
            return _plain(_SEE_CONFIG.sub("", text))
    return ""
