"""Does the documentation's site hold what the project is: sentences, results, keys, commands, in both languages?"""

import ast
import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from sceneleapultra.utils.core.config import CONFIG_DIR

ROOT = CONFIG_DIR.parent
DOCS = ROOT / "docs"
CODE = ("utils", "hands", "simulation", "datasets", "models", "reporting", "evaluation", "serving", "scripts")
LAB = {
    "results.md",
    "results.zh.md",
}  # the history of the models names commits, and so do benchmarks' results

# Results that were written before benchmarks/common.py noted how they came about; what is known stands in each of them.
UNRECORDED = set(
    [
        "diffusion_grid",
        "encoder_quality",
        "encoders_AMD_EPYC_2_cores",
        "encoders_NVIDIA_H200",
        "heads",
        "loader",
        "loader_10000_points",
        "picking",
        "pretraining",
    ]
)


@pytest.fixture(autouse=True)
def hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Import the site's generators as MkDocs does: by their folder."""
    monkeypatch.syspath_prepend(str(DOCS / "hooks"))


def texts(tree: ast.AST) -> Iterator[str]:
    """Yield every text of a module, with an ellipsis where a value is filled in."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(v.value) if isinstance(v, ast.Constant) else "…" for v in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@functools.cache
def sentences() -> list[str]:
    files = [path for folder in CODE for path in (ROOT / folder).rglob("*.py")]
    return [text for path in files for text in texts(ast.parse(path.read_text()))]


def quoted() -> list[str]:
    return re.findall(r"^> (.+)$", (DOCS / "faq.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("sentence", quoted())
def test_a_sentence_of_the_faq_is_one_of_the_code(sentence: str) -> None:
    parts = [re.escape(part) for part in sentence.split("…")]
    pattern = re.compile(".*".join(parts), re.DOTALL)
    assert any(pattern.search(text) for text in sentences()), sentence


def test_every_result_has_a_page_with_its_numbers_and_command() -> None:
    from benchmark_pages import benchmark_pages  # type: ignore[import-not-found]

    pages = benchmark_pages()
    for path in (ROOT / "benchmarks" / "results").glob("*.json"):
        page = pages[f"benchmarks/{path.stem}.md"]
        assert re.search(
            r"^\| (command|measured like it) \| `python (-m )?benchmarks[./]\w+", page, re.MULTILINE
        ), path.name
        document = json.loads(path.read_text())
        if isinstance(document, dict):
            for name in {"commit", "machine", "protocol"} & {
                k for k, v in document.items() if isinstance(v, str)
            }:
                assert document[name][:40].replace("_", r"\_") in page, f"{path.name}: {name}"


def test_results_say_how_they_came_about() -> None:
    facts = {"command", "seed", "commit", "machine"}
    lacking = set()
    for path in (ROOT / "benchmarks" / "results").glob("*.json"):
        document = json.loads(path.read_text())
        if not facts <= document.keys() or not isinstance(document["machine"], str):
            lacking.add(path.stem)
        elif path.stem not in UNRECORDED:
            assert document["command"].startswith("python -m benchmarks."), path.name
    assert lacking == UNRECORDED, (
        "benchmarks/common.py writes all of it; a file that is measured again leaves UNRECORDED."
    )


def test_a_benchmark_writes_how_its_results_came_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import common

    monkeypatch.setattr("sys.argv", [f"{ROOT}/benchmarks/loader.py", f"{ROOT}/data/a b.h5", "--rounds", "2"])
    path = tmp_path / "new" / "loader.json"
    common.write({"seed": 5, "rows": [1]}, path, seed=[0, 1], show=True)
    written = json.loads(path.read_text())
    assert written == json.loads(capsys.readouterr().out)
    assert list(written) == ["command", "seed", "commit", "machine", "torch", "rows"]
    assert written["command"] == "python -m benchmarks.loader 'data/a b.h5' --rounds 2"
    assert written["seed"] == [0, 1] and re.match(r"[0-9a-f]{7,}|v\d", written["commit"])


def test_the_page_of_a_result_says_what_is_not_recorded(tmp_path: Path) -> None:
    from benchmark_pages import result_page

    path = tmp_path / "plan_x.json"
    path.write_text(json.dumps({"command": "python -m benchmarks.plan --case a", "seed": None}))
    page = result_page(path)
    assert "| command | `python -m benchmarks.plan --case a` |" in page and "measured like it" not in page
    assert "| seed | none: nothing is drawn at random |" in page and "| commit | not recorded |" in page
    path.write_text(json.dumps({"seed": [3, 4]}))
    page = result_page(path)
    assert "| command | not recorded |" in page and "| measured like it | `python -m benchmarks.plan" in page
    assert "| seed | 3, 4 |" in page


def test_tables_of_results_hold_every_row(tmp_path: Path) -> None:
    from benchmark_pages import result_page  # type: ignore[import-not-found]

    rows = [{"model": f"m{i}", "rate": {"value": i / 8}} for i in range(3)]
    path = tmp_path / "plan_x.json"
    path.write_text(json.dumps({"commit": "abc", "rows": rows}))
    page = result_page(path)
    assert "| model | rate: value |" in page
    assert [line for line in page.splitlines() if re.match(r"\| m\d", line)] == [
        "| m0 | 0 |",
        "| m1 | 0.125 |",
        "| m2 | 0.25 |",
    ]
    assert "| seed | not recorded |" in page


def test_every_key_of_the_configuration_has_a_row() -> None:
    from configuration_pages import configuration_pages  # type: ignore[import-not-found]

    text = "\n".join(configuration_pages().values())
    for path in CONFIG_DIR.rglob("*.yaml"):
        for key in yaml.safe_load(path.read_text()) or {}:
            if key not in {"defaults", "_target_", "_partial_", "hydra"} and "local" not in path.parts:
                assert re.search(rf"\| `{key}[`.]", text), f"{path.name}: {key}"


def test_every_key_of_the_configuration_says_what_it_is() -> None:
    from configuration_pages import file_keys, files  # type: ignore[import-not-found]

    silent = [f"{path.name}: {key.name}" for path in files() for key in file_keys(path) if not key.meaning]
    assert not silent, f"Write a comment beside {silent}."


def test_a_recipe_takes_the_meaning_of_a_key_from_its_group() -> None:
    from configuration_pages import file_keys  # type: ignore[import-not-found]

    said = {key.name: key.meaning for key in file_keys(CONFIG_DIR / "trainer" / "default.yaml")}
    recipe = {key.name: key for key in file_keys(CONFIG_DIR / "experiment" / "quickstart.yaml")}
    assert recipe["trainer.max_steps"].meaning == said["max_steps"] != ""
    assert recipe["trainer.max_steps"].default == "1500"
    dataset = {key.name: key.meaning for key in file_keys(CONFIG_DIR / "dataset" / "quick.yaml")}
    assert dataset["views"] == "depth images of each scene"  # of generate.py, not of another program


def test_what_yaml_does_not_say_is_said_by_the_docstring_or_the_dictionary() -> None:
    from configuration_pages import keys  # type: ignore[import-not-found]
    from meanings import arguments, summary  # type: ignore[import-not-found]

    target = "sceneleapultra.models.network.encoder.ptv3.Architecture"
    name, meaning = next(iter(arguments(target).items()))
    text = f"net:\n  _target_: {target}\n  {name}: 1\ncards: # GiB\n  a: 1\n  b: 2\nsaid: {{c: 1}}\n"
    assert [(key.name, key.meaning) for key in keys(text, {"said.c": "elsewhere"})] == [
        ("net", summary(target)),
        (f"net.{name}", meaning),
        ("cards", "GiB"),
        ("cards.a", "GiB"),
        ("cards.b", "GiB"),
        ("said.c", "elsewhere"),
    ]


def test_comments_beside_and_above_keys_are_their_meaning() -> None:
    from configuration_pages import head, keys  # type: ignore[import-not-found]

    text = "# What.\n# @package _global_\na: 1 # one\nb:\n  # above,\n  # in two lines\n  c: [1, 2]\n  d: '#no' # yes\n"
    assert head(text) == "What."
    assert head("# Why.  python x.py a=1\n# python y.py b=<2>\n# Then.\na: 1") == (
        "Why. `python x.py a=1` `python y.py b=<2>` Then."
    )
    assert [tuple(key) for key in keys(text)] == [
        ("a", "1", "one"),
        ("b.c", "[1, 2]", "above, in two lines"),
        ("b.d", "'#no'", "yes"),
    ]


@pytest.mark.parametrize(
    "page", sorted(p for p in DOCS.rglob("*.md") if p.name not in LAB), ids=lambda p: p.name
)
def test_pages_name_no_commits(page: Path) -> None:
    found = re.findall(r"(?<![\w-])(?=[0-9a-f]*\d)(?=\d*[a-f])[0-9a-f]{7}(?![\w-])", page.read_text())
    assert not found, f"{page.name} names {found}: commits stand in benchmarks/results and docs/results.md."


def shape(page: Path) -> tuple[list[int], list[str], list[tuple[list[str], list[str]]]]:
    """Return what a page and its translation share: levels of headings, fenced blocks, numbers and code in tables."""
    text = page.read_text()
    fenced = re.compile(r"^```\w*\n.*?^```$", re.MULTILINE | re.DOTALL)
    prose = fenced.sub("", text)
    levels = [len(marks) for marks in re.findall(r"^(#+) ", prose, re.MULTILINE)]
    rows = []
    for row in re.findall(r"^\|.*$", prose, re.MULTILINE):
        row = re.sub(r"\]\([^)]*\)", "]", row)
        code = sorted(re.findall(r"`[^`]+`", row))
        rows.append((sorted(re.findall(r"\d+(?:\.\d+)?", re.sub(r"`[^`]+`", "", row))), code))
    return levels, fenced.findall(text), rows


def test_every_page_is_there_in_chinese() -> None:
    english = {page.relative_to(DOCS) for page in DOCS.rglob("*.md") if not page.name.endswith(".zh.md")}
    missing = {page for page in english if not (DOCS / page).with_suffix(".zh.md").is_file()}
    assert missing == {Path("reference/python.md")}  # names and docstrings of code have one home


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.zh.md")), ids=lambda p: p.name)
def test_a_page_in_chinese_says_what_the_page_in_english_says(page: Path) -> None:
    english = page.with_name(page.name.replace(".zh.md", ".md"))
    levels, fenced, rows = shape(english)
    chinese = shape(page)
    assert chinese[0] == levels, "headings"
    assert chinese[1] == fenced, "commands"
    assert [b for a, b in zip(rows, chinese[2], strict=True) if a != b] == [], "tables"
    quotes = [re.findall(r"^> .*$", p.read_text(), re.MULTILINE) for p in (english, page)]
    assert quotes[0] == quotes[1], "quoted messages"


def test_no_sitemap_is_looked_for() -> None:
    """As the theme's program would for each language that a page's head names; the menu of languages stays."""
    from markup import without_alternates  # type: ignore[import-not-found]

    menu = '<a href="zh/a.html" hreflang="zh">中文</a>'
    head = '<link rel="alternate" href="a.html" hreflang="en">\n<link rel=alternate href=zh/a.html hreflang=zh>\n<b>'
    assert without_alternates(head + menu) == "<b>" + menu


def test_what_a_page_would_fetch_is_found() -> None:
    from markup import fetched

    assert fetched('<a href="https://a.org/x.js"><script src="x.js"></script>') is None
    assert fetched('<script defer src="https://a.org/x.js">') == "https://a.org/x.js"
    assert fetched("<link rel=stylesheet href=//a.org/x.css>") == "//a.org/x.css"


def test_nothing_of_the_site_is_fetched() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    assert "font: false" in text and "- offline" in text and "use_directory_urls: false" in text
    assert "://" not in text
