"""Is what cannot be composed answered by a sentence, and does the help show what one needs?"""

import subprocess
import sys
from pathlib import Path

import pytest

from sceneleapultra.utils.core.config import CONFIG_DIR

ROOT = CONFIG_DIR.parent


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["trainer.max_stepz=5"], "Did you mean 'trainer.max_steps'?"),
        (["trainer.max_steps=0"], "trainer.max_steps=0: expected a whole number of at least 1."),
    ],
)
def test_command_line_answers_without_a_stack_trace(
    arguments: list[str], sentence: str, tiny_store: Path
) -> None:
    command = [sys.executable, "train_lightning.py", f"data.store={tiny_store}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert sentence in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 1


def test_help_shows_groups_overrides_and_commands() -> None:
    command = [sys.executable, "train_lightning.py", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for shown in (
        "== Groups",
        "hardware: auto, cpu, gpu",
        "trainer.devices=8",
        "== Commands ==",
        'eval "$(python',
    ):
        assert shown in done.stdout
