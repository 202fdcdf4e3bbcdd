"""What is printed is what was said."""

import pytest

from sceneleapultra.utils.core import console


def test_a_card_prints_brackets_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    console.card("run", {"overrides": "data.store=[/a/one.h5,/a/two.h5] model.x=[1,2]"})
    assert "data.store=[/a/one.h5,/a/two.h5] model.x=[1,2]" in " ".join(capsys.readouterr().out.split())
