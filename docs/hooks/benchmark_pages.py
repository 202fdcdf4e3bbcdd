"""Pages of ``benchmarks/results/*.json``: all numbers of each file in tables, and the command that measures them."""

import ast
import json
import re
from pathlib import Path
from typing import Any

from markup import cell, code, table

ROOT = Path(__file__).resolve().parent.parent.parent
BENCHMARKS = ROOT / "benchmarks"
# Results whose program is not the one whose name theirs begins with.
_MADE_BY = {"encoder_lite": "encoder_quality", "export": "export_parity"}
_ROWS, _COLUMNS, _LETTERS = 200, 16, 120  # of a table, and of a cell; the file has the rest
_SIDES = 8  # sections that may stand side by side
_PROVENANCE = ("command", "seed", "commit", "machine", "torch")
_MISSING = "not recorded"
Record = dict[str, Any]


def program(stem: str) -> Path:
    """Return the benchmark that wrote a file of results.

    Raises:
        ValueError: there is none of a fitting name.
    """
    names = sorted((p.stem for p in BENCHMARKS.glob("*.py")), key=len, reverse=True)
    for name in names:
        if name == _MADE_BY.get(stem, "") or (stem not in _MADE_BY and stem.startswith(name)):
            return BENCHMARKS / f"{name}.py"
    raise ValueError(
        f"benchmarks/results/{stem}.json: no program in benchmarks/ has a name it begins with. Name it in _MADE_BY."
    )


def _docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text())) or ""


def _title(path: Path) -> str:
    return path.stem[0].upper() + path.stem[1:].replace("_", " ")


def _question(path: Path) -> str:
    return _docstring(path).split("\n\n")[0]


def _measures(path: Path) -> str:
    """Return the first command of a program's docstring."""
    start = rf"^( *)(?:``)?(python (?:-m benchmarks[.]|benchmarks/){path.stem}\b.*\n(?:\1 +\S.*\n)*)"
    found = re.search(start, _docstring(path), re.MULTILINE)
    shown = found[2] if found else f"python -m benchmarks.{path.stem}"
    return re.sub(r"\s*\\?\n\s*", " ", shown).split("``")[0].split("  #")[0].strip()


def _find(node: Any, name: str) -> list[str]:
    """Return every value that a key has anywhere in the results."""
    if isinstance(node, dict):
        here = [str(node[name])] if name in node and not isinstance(node[name], dict | list) else []
        return here + [v for child in node.values() for v in _find(child, name)]
    return [v for child in node for v in _find(child, name)] if isinstance(node, list) else []


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, float):
        text = "" if value is None else str(value)
        return cell(text if len(text) <= _LETTERS else f"{text[:_LETTERS]}...")
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"


def _plain(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) <= 8 and not any(isinstance(v, dict | list) for v in value)
    return not isinstance(value, dict)


def _shown(value: Any) -> str:
    return f"[{', '.join(map(_number, value))}]" if isinstance(value, list) else _number(value)


def _rate(value: Any) -> str | None:
    """Return a share with its interval and what it was counted of, in one cell; None for anything else."""
    if not isinstance(value, dict) or not {"successes", "trials", "wilson95"} <= value.keys():
        return None
    share = value.get("percent", value.get("value"))
    return f"{_number(share)} {_shown(value['wilson95'])}, {value['successes']} of {value['trials']}"


def _flat(record: Record, prefix: str = "") -> dict[str, str]:
    """Return the plain values of a record, sections within it included."""
    flat = {}
    for key, value in record.items():
        name = f"{prefix}{key}"
        if (rate := _rate(value)) is not None:
            flat[name] = rate
        elif isinstance(value, dict):
            flat |= _flat(value, f"{name}: ")
        elif _plain(value):
            flat[name] = _shown(value)
    return flat


def _lists(node: Any) -> bool:
    """Say whether a list of records is hidden somewhere within."""
    if isinstance(node, dict):
        return any(map(_lists, node.values()))
    return isinstance(node, list) and any(isinstance(v, dict) for v in node)


def _table(rows: list[dict[str, str]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = table(list(map(cell, names)), [[row.get(n, "") for n in names] for row in rows[:_ROWS]])
    return text + (f"\n\n{len(rows) - _ROWS} more rows are in the file." if len(rows) > _ROWS else "")


def _alike(rows: list[dict[str, str]]) -> bool:
    """Say whether at least half of the names stand in all rows."""
    names = [set(row) for row in rows]
    return 2 * len(set.intersection(*names)) >= len(set.union(*names)) > 0


def _tables(node: Record, title: str, level: int = 3) -> list[str]:
    """Return headings and tables of everything in a section of results; alike sections share one."""
    parts = [f"{'#' * min(level, 6)} {cell(title)}"] if title else []
    sections = {k: v for k, v in node.items() if isinstance(v, dict) and v}
    small = {k: v for k, v in node.items() if k not in sections and _plain(v)}
    if small:
        parts.append(_pairs(small))
    flat = {name: _flat(section) for name, section in sections.items()}
    if (
        len(flat) > 1
        and len(flat) == len(node) - len(small)
        and not _lists(node)
        and _alike(list(flat.values()))
    ):
        names = list(dict.fromkeys(name for row in flat.values() for name in row))
        if len(names) < _COLUMNS:
            return [*parts, _table([{"": cell(name)} | row for name, row in flat.items()])]
        if len(flat) <= _SIDES:
            sides = [{"": cell(n)} | {side: row.get(n, "") for side, row in flat.items()} for n in names]
            return [*parts, _table(sides)]
    for key, value in node.items():
        name = f"{title}: {key}" if title else key
        if isinstance(value, dict) and len(value) == 1 and isinstance(next(iter(value.values())), dict):
            (inner,) = value
            parts += _tables(value[inner], f"{name}: {inner}", level)
        elif isinstance(value, dict) and value:
            parts += _tables(value, name, level + 1 if title else level)
        elif isinstance(value, list) and not _plain(value):
            records = [v for v in value if isinstance(v, dict)]
            if records and any(map(_lists, records)):
                for record in records:
                    label = next((str(v) for v in record.values() if isinstance(v, str)), "")
                    parts += _tables(record, f"{name}: {label}", level + 1)
            elif records:
                parts += [f"{'#' * min(level, 6)} {cell(name)}", _table([_flat(v) for v in records])]
    return parts


def _pairs(values: Record) -> str:
    return table(["what", "value"], [(cell(k), _shown(v)) for k, v in values.items()])


def _fact(document: Any, name: str) -> str:
    """Return how a result came about, as its page says it."""
    if isinstance(document, dict) and name in document and not isinstance(document[name], dict):
        value = document[name]
        if value is None:
            return "none: nothing is drawn at random"
        return (
            code(value)
            if name == "command"
            else cell(", ".join(map(str, value if isinstance(value, list) else [value])))
        )
    values = list(dict.fromkeys(_find(document, name)))
    return cell(", ".join(values)) if values and name != "command" else _MISSING


def result_page(path: Path) -> str:
    """Return the page of one file of results."""
    document = json.loads(path.read_text())
    made_by = program(path.stem)
    facts = {name: _fact(document, name) for name in _PROVENANCE}
    if facts["command"] == _MISSING:
        facts["measured like it"] = code(_measures(made_by))
    provenance = table(["what", "value"], facts.items())
    rest = document if isinstance(document, dict) else {"rows": document}
    rest = {k: v for k, v in rest.items() if k not in _PROVENANCE or isinstance(v, dict)}
    return "\n\n".join([f"# {_title(path)}", cell(_question(made_by)), provenance, *_tables(rest, "")]) + "\n"


def benchmark_pages() -> dict[str, str]:
    """Return the text of each page by its address."""
    files = sorted((BENCHMARKS / "results").glob("*.json"))
    pages = {f"benchmarks/{path.stem}.md": result_page(path) for path in files}
    rows = [(f"[{_title(p)}]({p.stem}.md)", cell(_question(program(p.stem)))) for p in files]
    pages["benchmarks/index.md"] = (
        "# Benchmarks\n\nEvery number here is read from a file in `benchmarks/results/` when the site is built; each "
        "page begins with what made it: command, seed, commit and machine. *Not recorded*: the file was written before "
        "its program noted that; its page then names a command that measures the like.\n\n"
        f"{table(['results', 'question'], rows)}\n"
    )
    return pages
