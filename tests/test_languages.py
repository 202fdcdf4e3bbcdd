"""A page in two languages is one page: the same headings, commands, code, links and numbers."""

import re

import pytest

from sceneleapultra.utils.core.config import CONFIG_DIR

ROOT = CONFIG_DIR.parent
PAIRS = sorted(page.name for page in ROOT.glob("*.zh.md"))  # tests/test_site.py looks at those of the site
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def structure(text: str) -> dict[str, list[str]]:
    """Return what must not depend on the language, in the order of the page."""
    prose = _FENCE.sub("", text)
    fences = [(language, re.sub(r"\s*#.*", "", f"\n{body}")) for language, body in _FENCE.findall(text)]
    spans = re.findall(r"`([^`]+)`", prose)
    links = [
        link for link in re.findall(r"\]\(([^)]+)\)", prose) if not re.fullmatch(r"README(\.zh)?\.md", link)
    ]
    plain = re.sub(r"`[^`]+`|\]\([^)]+\)", "", prose)
    return {
        "levels of headings": [found.rstrip() for found in re.findall(r"^#+ ", prose, re.MULTILINE)],
        "fenced blocks": [f"{language}\n{body}" for language, body in fences],
        "code": sorted(spans),
        "links": sorted(links),
        "numbers": sorted(re.findall(r"\d+(?:\.\d+)?", plain)),
        "rows of tables": [str(line.count("|")) for line in plain.splitlines() if line.startswith("|")],
    }


def english(page: str) -> str:
    return page.replace(".zh.md", ".md")


@pytest.mark.parametrize("page", PAIRS)
def test_both_languages_say_the_same(page: str) -> None:
    ours, theirs = (structure((ROOT / name).read_text()) for name in (english(page), page))
    for what, expected in ours.items():
        assert theirs[what] == expected, f"{page}: {what} differ from {english(page)}"


@pytest.mark.parametrize("page", PAIRS)
def test_each_links_to_the_other_at_its_top(page: str) -> None:
    for here, there in ((english(page), page), (page, english(page))):
        top = (ROOT / here).read_text().split("\n## ")[0]
        assert f"]({there.rpartition('/')[2]})" in top, f"{here} does not link to {there}"


def test_the_readme_is_there_in_chinese() -> None:
    assert "README.zh.md" in PAIRS


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (("make demo ", "make demos "), "fenced blocks"),
        (("best of 64", "best of 65"), "numbers"),
        (("## ", "### "), "levels of headings"),
        (("docs/camera.md", "docs/cameras.md"), "links"),
    ],
)
def test_a_difference_is_found(change: tuple[str, str], what: str) -> None:
    text = (ROOT / "README.md").read_text()
    assert structure(text)[what] != structure(text.replace(*change))[what]
