"""What the pages show, as programs of bash at the size of a rehearsal.

A page's commands are those of its ``bash`` and ``sh`` blocks and those in backticks in its tables. Each is made small
by ``WORDS`` and by ``<!-- rehearsal: ... -->``: as many of these lines as stand before a block hold words for as many
of its last commands, which are added to them; the last word of a kind counts. A Python block with ``> file`` there is
written to that file; others run, and know the names of factories/reader.py.
"""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from factories.ranks import free_port

SERVICE = "127.0.0.1:8090"  # $PORT in a rehearsal, where others may serve
_MARK = "\x1e"
_HERE = Path(__file__).parent
_PART = re.compile(
    r"(?P<notes>(?:^<!-- rehearsal:[^\n]* -->\n)*)"
    r"(?:^```(?P<kind>bash|sh|python|text)\n(?P<text>.*?)^```$|(?P<table>(?:^\|[^\n]*\n)+))",
    re.MULTILINE | re.DOTALL,
)
_NOTE = re.compile(r"^<!-- rehearsal: ?(.*) -->$", re.MULTILINE)
# In tables a program that is only named is no command.
_IN_TABLE = re.compile(r"`((?:python|torchrun|make) [^`]+|sceneleap (?:info|[\w-]+ [^`]+))`")

# {what is found in a command: words that make it small enough for a test}
WORDS = {
    r"generate_dataset(?!.*max_attempts=0)": "grasps.successes=1 grasps.max_attempts=8 grasps.batch=8",
    r"generate_dataset(?!.*per_scene)": "'objects.per_scene=[0,1]'",
    r"generate_dataset(?!.*splits)": "'splits={train: 0.5, val: 0.17, test: 0.17, test_family: 0.16}'",
    r"generate_dataset": "scenes=6 views=1 workers=1",
    r"train_lightning": "trainer.max_steps=2 trainer.val_check_interval=2 scheduler.warmup_steps=1 data.batch_size=2"
    " hardware=cpu",
    r"train_lightning(?!.*experiment=completion)": "data.loading.workers=0",
    r"train_lightning.*experiment=completion": "data.cloud.size=16 'data.cloud.voxel_m=[0.014]'"
    " 'data.cloud.extent_m=[]' data.min_points=20 data.truth_step_m=0.008",
    r"test_lightning": "max_items=1 samples_per_item=2 top=null baselines=null pictures=0 splits=[test] min_points=20"
    " workers=1 tuning.max_items=1 tuning.temperatures=[0.3] tuning.samples_per_item=1",
    r"test_lightning.*checkpoint=(leap_table|model_zoo)": "sampling.steps=2",
    r"scripts/predict\.py": "--num-grasps 2 --sampling.steps 2",
    r"train_lightning.*encoder=ptv3.*model_best": "'model.generator.encoder.architecture={order: [z, hilbert-trans],"
    " stride: [2, 2], enc_depths: [1, 2, 1], enc_channels: [8, 12, 16], enc_heads: [2, 2, 4], dec_depths: [2, 1],"
    " dec_channels: [8, 12], dec_heads: [2, 2], patch_size: [16, 16, 16], mlp_ratio: 2.0}'",
}


class Step(NamedTuple):
    """A command, or a block of Python or text: as it is shown, and the words that a page adds to it."""

    kind: str
    shown: str
    words: str = ""

    def lines(self, small: bool) -> str:
        """Return what bash runs: with ``WORDS``, and the names of a reader, where ``small``."""
        if self.kind == "python":
            names = "from factories.reader import *\n" if small else ""
            start = f"cat {self.words}" if self.words.startswith(">") else "python -"
            return f"{start} <<'END_OF_BLOCK'\n{'' if self.words else names}{self.shown}END_OF_BLOCK"
        usual = [words for found, words in WORDS.items() if small and re.search(found, self.shown)]
        return " ".join(filter(None, (self.shown, *usual, self.words)))


def steps(page: Path, tables: bool = True) -> list[Step]:
    """Return what a page shows, in its order."""
    found = _PART.finditer(page.read_text())
    return [step for part in found if tables or not part["table"] for step in _steps(part)]


def _steps(part: re.Match[str]) -> Iterator[Step]:
    notes = _NOTE.findall(part["notes"])
    if part["kind"] in ("python", "text"):
        yield Step(part["kind"], part["text"], *notes)
        return
    if part["table"]:
        shown = _IN_TABLE.findall(part["table"])
    else:
        lines = re.sub(r"\s*\\\n\s*", " ", part["text"]).splitlines()
        shown = [line for line in (re.sub(r"(^|\s+)#.*", "", line) for line in lines) if line]
    assert len(notes) <= len(shown), f"{notes} belong to no command"
    for command, words in zip(shown, [""] * (len(shown) - len(notes)) + notes, strict=True):
        yield Step("bash", command, words)


def run(
    found: list[Step],
    folder: Path,
    environ: dict[str, str],
    *,
    small: bool,
    timeout: float,
    named: Mapping[str, str] | None = None,
) -> tuple[int, list[str]]:
    """Run steps in a folder up to the first that fails; return the status and what each of them printed.

    ``named``: what stands here for something that the pages name.
    """
    lines = ["set -eu", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"]
    for number, step in enumerate(found):
        lines.append(f"printf '\\n{_MARK}{number}\\n'")
        if step.kind != "text":
            lines.append(step.lines(small))
    port, program = str(free_port()), "\n".join(lines)
    for name, here in {SERVICE: f"127.0.0.1:{port}", **(named or {})}.items():
        program = program.replace(name, here)
    done = subprocess.run(
        ["bash", "-c", program],
        cwd=folder,
        env=environ | {"PORT": port},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )
    return done.returncode, re.split(rf"{_MARK}\d+\n", done.stdout)[1:]


class WarmPython:
    """A ``python`` and a ``sceneleap`` of this project in a folder, without the seconds of imports."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        place, program = folder / "socket", _HERE / "warm_python.py"
        self.process = subprocess.Popen(
            [sys.executable, str(program), "serve", str(place)],
            env=environ,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None and self.process.stdout.readline() == "ready\n"
        call = f"exec {sys.executable} -S -E {program} call {place}"
        for name, words in (("python", ""), ("sceneleap", " -m sceneleapultra")):
            (folder / name).write_text(f'#!/bin/sh\n{call}{words} "$@"\n')
            (folder / name).chmod(0o755)

    def end(self) -> None:
        self.process.send_signal(signal.SIGKILL)  # its own end would take seconds
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
