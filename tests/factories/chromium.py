"""A real browser: the machine's Chromium, which draws WebGL without a graphics card."""

import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# As root, which has no sandbox, and in containers, whose /dev/shm is small.
_FLAGS = ("--no-sandbox", "--disable-dev-shm-usage")
_WEBGL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")


@contextmanager
def browser_page(
    width: int = 1280, height: int = 820, *, webgl: bool = True, **options: Any
) -> Iterator[Any]:
    """Open an empty page; what its scripts throw fails the test in the end."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        flags = [*_FLAGS, *(_WEBGL if webgl else ("--disable-3d-apis",))]
        browser = play.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_context(viewport={"width": width, "height": height}, **options).new_page()
        thrown: list[str] = []
        page.on("pageerror", lambda error: thrown.append(str(error)))
        page.on("console", lambda said: thrown.append(said.text) if said.type == "error" else None)
        yield page
        assert not thrown
        browser.close()


def pixels(shot: bytes) -> np.ndarray:
    """Return a screenshot as (h, w, 3) numbers in 0..255."""
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)


def share_of(image: np.ndarray, rgb: tuple[float, float, float], within: float = 0.08) -> float:
    """Return the share of pixels of about the hue of a color in 0..1, however bright they are lit."""
    light = image.sum(-1, keepdims=True).clip(1)
    hue = np.array(rgb) / sum(rgb)
    return float((np.abs(image / light - hue).max(-1) < within).mean())
