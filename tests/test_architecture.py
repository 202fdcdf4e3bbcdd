"""Is the house still built as drawn: small files, imports one way, nothing caught in bulk, no machine's own paths?"""

import ast
import importlib.util
import re
import statistics
import subprocess
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("utils", "hands", "simulation", "datasets", "models", "reporting", "evaluation", "serving")
# What each package may import; lint-imports holds the same for indirect imports.
ALLOWED = {
    "utils": (),
    "hands": ("utils",),
    "simulation": ("utils", "hands"),
    "datasets": ("utils", "hands"),
    "models": ("utils", "hands"),
    "reporting": ("utils", "hands"),
    "serving": ("utils", "hands", "models", "reporting"),
    "evaluation": ("utils", "hands", "simulation", "datasets", "models", "reporting"),
}
# The official configuration of Point Transformer V3 by its names there: one value, handed on as a whole. And the parts
# that a generator is made of, each a group of its own.
LONG_CONSTRUCTORS = {"Architecture", "GraspGenerator"}
ENTRY_POINTS = ("train_lightning.py", "test_lightning.py")


def tracked() -> list[Path]:
    """Files of the project; the working tree where there is no git."""
    try:
        listed = subprocess.run(
            ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        found = [ROOT / line for line in listed.splitlines()]
    except (subprocess.CalledProcessError, FileNotFoundError):
        found = [
            p for p in ROOT.rglob("*") if not any(part.startswith(".") for part in p.relative_to(ROOT).parts)
        ]
    return [p for p in found if p.is_file() and not p.is_symlink()]


FILES = tracked()
PYTHON = [p for p in FILES if p.suffix == ".py"]
SHIPPED = [p for p in PYTHON if p.relative_to(ROOT).parts[0] != "tests"]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def assert_none(files: Iterable[Path], breaches: Callable[[Path], Iterator[str]]) -> None:
    """Hold a rule against all files, and name every place that breaks it."""
    found = [f"{path.relative_to(ROOT)}: {breach}" for path in files for breach in breaches(path)]
    assert not found, "\n".join(found)


def test_the_list_of_files_is_not_empty() -> None:
    assert len(SHIPPED) > 20


def test_files_are_at_most_400_lines() -> None:
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in PYTHON}
    assert not {path: length for path, length in lengths.items() if length > 400}


def test_most_files_are_short() -> None:
    assert statistics.median(len(path.read_text().splitlines()) for path in SHIPPED) <= 120


def parameters_of(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> list[str]:
    """List the annotations of a constructor's parameters; a dataclass has those of its bases, too."""
    for member in node.body:
        if isinstance(member, ast.FunctionDef) and member.name == "__init__":
            arguments = [*member.args.posonlyargs, *member.args.args, *member.args.kwonlyargs][1:]
            return [ast.unparse(a.annotation) if a.annotation else "" for a in arguments]
    if not any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        return []
    bases = [classes[ast.unparse(base)] for base in node.bases if ast.unparse(base) in classes]
    own = [
        m for m in node.body if isinstance(m, ast.AnnAssign) and "ClassVar" not in ast.unparse(m.annotation)
    ]
    made = [m for m in own if m.value is None or "init=False" not in ast.unparse(m.value)]
    return [p for base in bases for p in parameters_of(base, classes)] + [
        ast.unparse(m.annotation) for m in made
    ]


def test_no_constructor_takes_more_than_12_parameters() -> None:
    """A record of columns may have more: most of what a batch or a table holds are arrays."""
    nodes = [node for path in SHIPPED for node in ast.walk(parsed(path))]
    classes = {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}
    found = {name: parameters_of(node, classes) for name, node in classes.items()}
    arrays = re.compile(r"(Float|Int|UInt8|Bool)\[")
    long = {
        name: len(kinds)
        for name, kinds in found.items()
        if len(kinds) > 12 and 2 * sum(bool(arrays.match(kind)) for kind in kinds) < len(kinds)
    }
    assert set(long) <= LONG_CONSTRUCTORS, long


@pytest.mark.parametrize("entry", ENTRY_POINTS)
def test_entry_points_are_at_most_80_lines(entry: str) -> None:
    assert len((ROOT / entry).read_text().splitlines()) <= 80


def test_files_say_which_question_they_answer() -> None:
    def breaches(path: Path) -> Iterator[str]:
        if not ast.get_docstring(parsed(path)):
            yield "needs a first line that says what the file answers"

    assert_none(SHIPPED, breaches)


def test_imports_go_one_way() -> None:
    def breaches(path: Path) -> Iterator[str]:
        package = path.relative_to(ROOT).parts[0]
        imported = set()
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                imported.add(node.module)
        imported = {module.removeprefix("sceneleapultra.").split(".")[0] for module in imported}
        foreign = (imported & {*PACKAGES, "scripts", "tests", "benchmarks"}) - {package, *ALLOWED[package]}
        if foreign:
            yield f"{package} may import {ALLOWED[package]}, not {sorted(foreign)}"

    assert_none((p for p in SHIPPED if p.relative_to(ROOT).parts[0] in PACKAGES), breaches)


def test_every_module_has_one_name() -> None:
    """A module imported by its bare name would be a second copy of each of its classes."""
    names = "|".join([*PACKAGES, "scripts", "train_lightning", "test_lightning"])

    def breaches(path: Path) -> Iterator[str]:
        for bare in re.findall(rf"^\s*(?:from|import) ({names})\b.*", path.read_text(), re.MULTILINE):
            yield f"{bare} is imported without sceneleapultra"

    assert_none(PYTHON, breaches)


def test_nothing_is_caught_in_bulk_and_no_default_hides_in_code() -> None:
    def breaches(path: Path) -> Iterator[str]:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ExceptHandler):
                caught = ast.unparse(node.type) if node.type else "everything"
                if caught in {"everything", "Exception", "BaseException"}:
                    yield f"line {node.lineno} catches {caught}"
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "get"
            ):
                owner = ast.unparse(node.func.value)
                if re.fullmatch(r"(self\.)?_?(cfg|config|conf)(\..*)?", owner):
                    yield f"line {node.lineno}: {owner}.get("

    assert_none(SHIPPED, breaches)


def test_no_machines_own_paths() -> None:
    folders = "|".join(
        ["/" + folder + "/[a-z]" for folder in ("home", "mnt", "work", "Users", "root", "scratch")]
    )
    pattern = re.compile(rf"(?<![\w.\-/}}])({folders})")

    def breaches(path: Path) -> Iterator[str]:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if pattern.search(line):
                yield f"line {number}: {line.strip()}"

    kinds = {".py", ".yaml", ".toml", ".md"}
    assert_none((p for p in FILES if p.suffix in kinds or p.name == "Makefile"), breaches)


def test_tests_mirror_the_tree() -> None:
    """tests/<package>/ exists only for packages, factories, faults and clusters, and holds no __init__.py."""
    folders = {
        p.relative_to(ROOT).parts[1]
        for p in PYTHON
        if p.relative_to(ROOT).parts[0] == "tests" and len(p.relative_to(ROOT).parts) > 2
    }
    assert folders <= {*PACKAGES, "scripts", "benchmarks", "examples", "factories", "faults", "cluster"}
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_the_picture_shows_the_packages_and_imports_there_are() -> None:
    """Their sizes change with every commit; the picture is drawn again when its boxes or arrows do."""
    spec = importlib.util.spec_from_file_location("draw_architecture", ROOT / "docs" / "draw_architecture.py")
    assert spec is not None and spec.loader is not None
    drawing = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawing)

    def structure(picture: str) -> tuple[set[str], set[tuple[str, str]]]:
        arrows = re.findall(r'data-from="([^"]+)" data-to="([^"]+)"', picture)
        return set(re.findall(r'data-package="([^"]+)"', picture)), set(arrows)

    drawn = structure(drawing.draw())
    assert set(PACKAGES) <= drawn[0] and ("models", "hands") in drawn[1]
    assert structure(drawing.PICTURE.read_text()) == drawn, "run: python docs/draw_architecture.py"
