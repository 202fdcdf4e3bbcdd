"""Do the commands of docs/serving.md do what the page says, with the shipped model?"""

import json
import re
import shlex
import subprocess

import pytest

from sceneleapultra.utils.core.config import CONFIG_DIR

pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")
pytest.importorskip("prometheus_client", reason="the extra 'serve' is not installed")

from factories.services import running
from sceneleapultra.serving.engine import Engine
from sceneleapultra.serving.schema import GraspsAnswer, Problem

ROOT = CONFIG_DIR.parent


def curls() -> list[list[str]]:
    page = (ROOT / "docs" / "serving.md").read_text()
    text = "\n".join(re.findall(r"^```bash\n(.*?)^```", page, re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
    return [words for words in map(shlex.split, text.splitlines()) if words[:1] == ["curl"]]


def test_the_commands_of_the_page_are_answered_as_it_says() -> None:
    def load() -> Engine:
        return Engine.load("leap_table", device="cpu", plugins=[], batch=1)

    with running(load) as service:
        shown = [[word.replace("http://127.0.0.1:8090", service.url) for word in words] for words in curls()]
        view, refused = (
            subprocess.run(words, cwd=ROOT, capture_output=True, check=True).stdout for words in shown
        )
    answer = GraspsAnswer.model_validate_json(view)
    assert len(answer.grasps) == 32 and answer.frame == "camera" and answer.model == "leap_table"
    scores = [grasp.score for grasp in answer.grasps]
    assert scores == sorted(scores, reverse=True)
    problem = Problem.model_validate(json.loads(refused))
    assert problem.status == 422 and "1 points" in problem.detail
