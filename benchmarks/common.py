"""What every benchmark needs: its command line, how its numbers came about, tables, and a place for results."""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def command_line(text: str | None) -> argparse.ArgumentParser:
    """Return a parser whose help is a module's docstring."""
    return argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)


def machine(device: str) -> str:
    """Name the processor or the GPU that networks run on."""
    if device != "cpu":
        import torch

        return torch.cuda.get_device_name()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return f"{line.split(':', 1)[1].strip()} {os.cpu_count()} cores"
    return platform.processor()


def command() -> str:
    """Name the command that runs, as it is typed in the root of the checkout."""
    words = [word.replace(f"{ROOT}/", "") for word in sys.argv[1:]]
    return shlex.join(["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *words])


def commit() -> str:
    """Name the commit that was measured, with a plus where files differ from it."""
    command = ["git", "describe", "--always", "--dirty=+"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def table(header: list[str], rows: list[list[str]]) -> str:
    """Write a table as Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write(
    document: Mapping[str, Any],
    path: Path | None,
    *,
    seed: int | Sequence[int] | None,
    device: str = "cpu",
    show: bool = False,
) -> None:
    """Write results as JSON where asked to, and print them with ``show``; how they came about stands first.

    Args:
        document: the results.
        path: where to write them.
        seed: what everything was drawn from, or the seeds in turn; None where nothing is drawn.
        device: where networks ran.
        show: print, too.
    """
    facts = {"command": command(), "seed": seed, "commit": commit(), "machine": machine(device)}
    facts["torch"] = version("torch")
    text = json.dumps({**facts, **document, **facts}, indent=1)
    if show:
        print(text)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def put_into_pages(stem: str, made_by: str, text: str) -> None:
    """Write tables into a page of docs/ in both languages, between the comments that name what made them.

    Raises:
        ValueError: a page has no such comments.
    """
    begin, end = f"<!-- {made_by} -->", f"<!-- end of {made_by.split()[-1]} -->"
    for path in (ROOT / "docs" / f"{stem}.md", ROOT / "docs" / f"{stem}.zh.md"):
        before, _, rest = path.read_text().partition(begin)
        if end not in rest:
            raise ValueError(
                f"{path} has no {begin} and {end}, between which the tables belong. Write them there."
            )
        path.write_text(f"{before}{begin}\n\n{text}\n\n{end}{rest.partition(end)[2]}")
