"""A section from outside the project is built from the configuration and appears in the report, at its place."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from sceneleapultra.reporting.report import ReportSection, write_report
from sceneleapultra.utils.core.config import CONFIG_DIR, build

PLUGIN = """
class Greeting:
    def __init__(self, *, title: str, words: str) -> None:
        self.title, self.words = title, words

    def render(self, results, context) -> str:
        return f"<p>{self.words} {len(results.methods)} methods; {context.provenance['commit']}</p>"
"""


def test_a_section_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_sections.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    words = [
        "+report.mine._target_=my_sections.Greeting",
        "+report.mine.title=Mine",
        "+report.mine.words=Hello",
    ]
    others = ["success", "galleries", "quality", "outcomes", "families", "tuning"]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("test", overrides=[*words, *(f"~report.{name}" for name in others)])
    sections = [build(section) for section in cfg.report.values()]
    assert all(isinstance(section, ReportSection) for section in sections)
    document = {
        "provenance": {"title": "A test", "sentence": "Of nothing.", "commit": "0123abc", "config": {}},
        "methods": [],
        "tuning": None,
    }
    page = write_report(document, [], sections, tmp_path / "report.html").read_text()
    assert "<h2>Mine</h2><p>Hello 0 methods; 0123abc</p>" in page
    assert page.index("How to get these numbers again") < page.index("<h2>Mine</h2>")
