"""Is the image made of the steps that docker/prove.sh runs in a clean root, and do they work there?"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCKER = ROOT / "docker"


def steps_in(name: str) -> list[str]:
    """List the steps that a file calls, in its order."""
    text = (DOCKER / name).read_text()
    return re.findall(r"steps\.sh\"?,? \"?(system|packages|project|user|serve|ready)\b", text)


def test_the_image_and_its_proof_take_the_same_steps() -> None:
    made = [step for step in steps_in("Dockerfile") if step not in ("serve", "ready")]
    assert made == ["system", "packages", "project", "user"]
    assert [step for step in steps_in("prove.sh") if step != "serve"] == made
    known = re.findall(r"^  (\w+)\)", (DOCKER / "steps.sh").read_text(), re.MULTILINE)
    assert known == [*made, "serve", "ready"]
    asked = (DOCKER / "ask.py").read_text()
    assert '"serve"' in asked and '"ready"' in asked


def test_the_service_is_no_root_and_its_models_are_read_only() -> None:
    final = (DOCKER / "Dockerfile").read_text().partition("AS cpu")[2]
    assert "USER sceneleap" in final and "HEALTHCHECK" in final
    compose = (DOCKER / "compose.yaml").read_text()
    assert '"./models:/models:ro"' in compose and '"127.0.0.1:8090:8090"' in compose


def test_an_unknown_step_gets_a_sentence() -> None:
    ended = subprocess.run(["sh", DOCKER / "steps.sh", "srve"], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr == (
        "steps.sh: expected system, packages, project, user, serve or ready, got 'srve'.\n"
    )


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(
    shutil.which("mmdebstrap") is None or os.geteuid() != 0 or "SCENELEAP_PROVE_DOCKER" not in os.environ,
    reason="needs mmdebstrap, root and 1 GB of wheels: SCENELEAP_PROVE_DOCKER=1",
)
def test_the_steps_work_in_a_clean_root() -> None:
    proof = subprocess.run([DOCKER / "prove.sh"], capture_output=True, text=True, check=False)
    assert proof.returncode == 0, proof.stderr[-3000:]
    for line in (
        "it runs as user 10001",
        "the health check passes",
        "without the token it answers 401",
        "4 grasps in",
    ):
        assert line in proof.stdout
