"""What the site has beside its pages: those that are generated, the files that pages link to, the language of a page.

MkDocs calls these functions; see ``hooks`` in mkdocs.yml. The pages are built in ``build/docs``: links to those of
``docs/``, and the generated ones.
"""

import functools
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmark_pages import benchmark_pages
from column_page import column_page
from command_page import command_page
from configuration_pages import configuration_pages
from markup import fetched, without_alternates
from mkdocs.exceptions import PluginError
from mkdocs.plugins import event_priority

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS, STAGE = ROOT / "docs", ROOT / "build" / "docs"
_LEFT_OUT = ("hooks", "extending")  # below docs/, and no pages
_FOLDERS = ("reference/configuration/index.md", "benchmarks/index.md")
_LINK = re.compile(r"(?<=\]\()([^)#\s:]+)(#[^)]*)?(?=\))")
# A line that ends within a Chinese sentence: a browser would show a space there.
_BREAK = re.compile(
    r"(?<=[\u3000-\u30ff\u4e00-\u9fff\uff00-\uffef])\n *(?=[\u3000-\u30ff\u4e00-\u9fff\uff00-\uffef])"
)
_NOTE = '!!! note ""\n    本页尚未译成中文，以下为英文原文。\n\n'  # noqa: RUF001
_NOTE_GENERATED = '!!! note ""\n    本页由代码、配置文件或测量结果自动生成，内容为英文。\n\n'  # noqa: RUF001


@functools.cache
def _generated() -> dict[str, str]:
    single = {"reference/commands.md": command_page(), "reference/columns.md": column_page()}
    return {**configuration_pages(), **benchmark_pages(), **single}


def _shown_as(path: Path) -> str:
    """Return the address of a linked file in the site: results have a page, of others there is a copy as text.

    A second suffix would be taken for a language.
    """
    if path.parent == ROOT / "benchmarks" / "results" and path.suffix == ".json":
        return f"benchmarks/{path.stem}.md"
    return f"files/{path.relative_to(ROOT).as_posix().replace('.', '_')}.txt"


def _linked(page: Path, link: re.Match[str]) -> Path | None:
    """Return the file of the repository that a page links to, where it is no page of the site itself."""
    path = Path(os.path.normpath(page.parent / link[1]))
    outside = not path.is_relative_to(DOCS) or path.relative_to(DOCS).parts[:1] in [
        (name,) for name in _LEFT_OUT
    ]
    return path if outside and path.is_relative_to(ROOT) and path.is_file() else None


def _pages() -> Iterator[Path]:
    for path in sorted(DOCS.rglob("*")):
        if path.is_file() and path.relative_to(DOCS).parts[0] not in _LEFT_OUT and path.suffix != ".py":
            yield path


@functools.cache
def _stage() -> None:
    """Fill the folder that MkDocs reads."""
    shutil.rmtree(STAGE, ignore_errors=True)
    places = {path.relative_to(DOCS).as_posix(): path for path in _pages()}
    for page in [path for path in places.values() if path.suffix == ".md"]:
        found = (_linked(page, link) for link in _LINK.finditer(page.read_text()))
        places |= {_shown_as(path): path for path in found if path and not _shown_as(path).endswith(".md")}
    for name, path in places.items():
        (STAGE / name).parent.mkdir(parents=True, exist_ok=True)
        (STAGE / name).symlink_to(path)
    for name, text in _generated().items():
        (STAGE / name).parent.mkdir(parents=True, exist_ok=True)
        (STAGE / name).write_text(text)


@event_priority(100)
def on_config(config: Any) -> Any:
    """Fill the folder of pages, and name the generated ones in the navigation, behind the index of their folder."""

    def fill(node: Any) -> None:
        children = node if isinstance(node, list) else node.values() if isinstance(node, dict) else []
        for child in children:
            fill(child)
        if isinstance(node, list) and node and isinstance(node[0], str) and node[0] in _FOLDERS:
            folder = node[0].removesuffix("index.md")
            node[1:] = sorted(name for name in _generated() if name.startswith(folder) and name != node[0])

    _stage()
    config.docs_dir = str(STAGE)
    fill(config.nav)
    return config


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Refuse a page that would fetch something: the site is read without a network.

    Raises:
        PluginError: names page and address.
    """
    if address := fetched(output):
        raise PluginError(f"{page.file.src_uri} would fetch {address}. Put a copy below docs/.")
    return without_alternates(output)


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Lead links out of docs/ to copies in the site, join broken Chinese lines, name pages that are not translated."""
    name = page.file.src_uri
    up = "../" * name.count("/")

    def moved(link: re.Match[str]) -> str:
        path = _linked(DOCS / name, link)
        return link[0] if path is None else f"{up}{_shown_as(path)}"

    text = _BREAK.sub("", _LINK.sub(moved, markdown))
    foreign = page.file.locale_alternate_of == "zh" and not name.endswith(".zh.md")
    if foreign and "\n::: " in text:  # names of code have one home
        return f'# Python\n\n代码文档只有英文版:<a href="{up}../{name.removesuffix(".md")}.html">Python</a>\n'
    if not foreign:
        return text
    return (_NOTE_GENERATED if name in _generated() else _NOTE) + text
