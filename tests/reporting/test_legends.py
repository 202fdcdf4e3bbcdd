"""Does a page say of the hands it shows what became of them, and nothing that did not?"""

import re
from typing import get_args

import numpy as np
import pytest

from sceneleapultra.reporting.drawing import COLLIDES, FAILURE, SUCCESS, UNTESTED, ColoredMesh, Drawing
from sceneleapultra.reporting.html import Ends, cards, legend


def keys(text: str) -> dict[str, str]:
    """Return {words: color} of a legend."""
    return {words: color for color, words in re.findall(r'background:(#\w{6})"></i>([^<]+)', text)}


def css(rgb: tuple[float, ...]) -> str:
    return "#" + "".join(f"{round(255 * c):02x}" for c in rgb)


def test_words_and_colors_are_those_of_the_protocol() -> None:
    lifted, held = keys(legend("lifted")), keys(legend("held"))
    assert lifted["picked cleanly"] == held["stable"] == css(SUCCESS)
    assert lifted["not picked, or not cleanly"] == held["lost the object"] == css(FAILURE)
    assert held["stable, but in table or neighbor"] == css(COLLIDES) and css(COLLIDES) not in lifted.values()
    assert keys(legend("untried")) == {"not tried in simulation": css(UNTESTED)}
    assert list(keys(legend("labels"))) == ["success", "failure"]


@pytest.mark.parametrize("ends", get_args(Ends))
def test_every_legend_has_the_switches_and_the_keys_of_the_keyboard(ends: Ends) -> None:
    text = legend(ends)
    assert re.findall(r'data-layer="(\w+)"', text) == ["hand", "object", "neighbor", "cloud"]
    assert "Home" in text


def test_a_view_can_be_reached_by_the_keyboard_and_has_a_name() -> None:
    mesh = ColoredMesh(np.zeros((3, 3)), np.array([[0, 1, 2]]), SUCCESS, "hand")
    drawing = Drawing((mesh,), (), 'a "mug" & <b>', "", True, 0.0, (0.0, 0.0, 0.0), 1.0)
    text = cards([drawing])
    assert 'tabindex="0"' in text and 'aria-label="a &quot;mug&quot; &amp; &lt;b&gt;"' in text
