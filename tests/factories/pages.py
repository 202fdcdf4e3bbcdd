"""A text that would become markup where a page forgot to escape it, and how a page shows that it did not."""

import base64
import hashlib
import re
from html.parser import HTMLParser

# It has no slash: it is a file's name, too.
HOSTILE = "<img src=x onerror=alert(1)>\"'<script>alert(2)<!--"


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def require_inert(page: str) -> None:
    """Assert that a page shows the hostile text as text, and that a browser runs its viewer alone."""
    parser = _Tags()
    parser.feed(page)
    parser.close()
    assert HOSTILE in parser.text
    assert not [tag for tag, _ in parser.tags if tag in ("img", "iframe", "object", "link", "base", "form")]
    assert not [name for _, attributes in parser.tags for name in attributes if name.startswith("on")]
    policy = next(a["content"] for tag, a in parser.tags if tag == "meta" and "http-equiv" in a) or ""
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert [tag for tag, _ in parser.tags].count("script") == 2 * len(scripts)  # each beside its data
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none';")
