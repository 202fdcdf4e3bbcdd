"""Do the lock files say all that is installed, once, by hash, and nothing that only one index has?

What make installs is what they say: that is looked at in an environment that make set up.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
RUNTIME = [Requirement(text) for text in PROJECT["dependencies"] + EXTRAS["train"]]
DOCS = [Requirement(text) for text in EXTRAS["docs"]]
DEV = [Requirement(text) for text in EXTRAS["dev"]]
SERVE = [r for text in EXTRAS["serve"] if (r := Requirement(text)).name != PROJECT["name"]]
LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-docs.lock", "docker/requirements.lock")
# torch, and what only its CUDA build needs: other files for each way of computing.
UNLOCKED = re.compile(r"torch|triton|cuda-\w+|nvidia-[\w-]+")


class Entry(NamedTuple):
    """A line of a lock file."""

    requirement: Requirement
    version: Version
    hashes: tuple[str, ...]

    @property
    def here(self) -> bool:
        """Whether it is for this interpreter and machine."""
        return self.requirement.marker is None or self.requirement.marker.evaluate()


def entries(lock: str) -> list[Entry]:
    found = []
    for line in (ROOT / lock).read_text().replace("\\\n", " ").splitlines():
        text, *hashes = line.split("--hash=")
        requirement = Requirement(text)
        (only,) = requirement.specifier
        assert only.operator == "==" and requirement.url is None, line
        found.append(Entry(requirement, Version(only.version), tuple(h.strip() for h in hashes)))
    return found


def needed(requirements: list[Requirement]) -> Iterator[str]:
    """Return the names of everything that requirements need here, by what installed packages say of themselves."""
    seen: set[tuple[str, frozenset[str]]] = set()
    todo = [(r, frozenset(r.extras)) for r in requirements]
    while todo:
        requirement, extras = todo.pop()
        name = canonicalize_name(requirement.name)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        yield name
        if UNLOCKED.fullmatch(name) and name != "torch":
            continue
        for text in distribution(name).requires or []:
            inner = Requirement(text)
            if inner.marker is None or any(inner.marker.evaluate({"extra": e}) for e in extras or {""}):
                todo.append((inner, frozenset(inner.extras)))


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [
        ("requirements.lock", RUNTIME),
        ("requirements-dev.lock", RUNTIME + DEV),
        ("docker/requirements.lock", RUNTIME + SERVE),
        ("requirements-docs.lock", RUNTIME + DOCS),
    ],
)
def test_a_lock_covers_what_the_project_asks_for(lock: str, wanted: list[Requirement]) -> None:
    locked: dict[str, list[Entry]] = {}
    for entry in entries(lock):
        locked.setdefault(canonicalize_name(entry.requirement.name), []).append(entry)
    assert not [name for name in locked if UNLOCKED.fullmatch(name)]
    for name, several in locked.items():
        # One version for each interpreter: where there are several, their markers tell them apart.
        assert len([entry for entry in several if entry.here]) <= 1, name
        for entry in several:
            assert entry.hashes and all(re.fullmatch(r"sha256:[0-9a-f]{64}", h) for h in entry.hashes), name
    for requirement in wanted:
        if requirement.name != "torch":
            several = locked[canonicalize_name(requirement.name)]
            assert all(requirement.specifier.contains(entry.version) for entry in several), requirement


def test_the_locks_agree_and_keep_the_constraints() -> None:
    runtime, docker, dev = (
        {str(e.requirement): e.hashes for e in entries(f"{name}.lock")}
        for name in ("requirements", "docker/requirements", "requirements-dev")
    )
    assert runtime.items() <= docker.items() <= dev.items()
    pinned = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line[0] != "#"]
    (torch,) = (line for line in pinned if line.startswith("torch=="))  # what the Makefile looks for
    assert {line for line in pinned if line != torch} <= set(runtime)


def test_the_site_is_built_with_the_same_versions() -> None:
    # Where a package is needed may differ: the marker is left aside.
    runtime, dev, docs = (
        {
            canonicalize_name(e.requirement.name): e.hashes
            for e in entries(f"requirements{name}.lock")
            if e.here
        }
        for name in ("", "-dev", "-docs")
    )
    assert runtime.items() <= docs.items()
    assert {name: docs[name] for name in dev.keys() & docs.keys()} == {
        n: dev[n] for n in dev.keys() & docs.keys()
    }


def test_no_lock_names_an_index() -> None:
    for lock in (*LOCKS, "constraints.txt"):
        text = (ROOT / lock).read_text()
        assert not re.search(r"://|--(extra-)?index|--find-links", text)


@pytest.mark.skipif(
    not (Path(sys.prefix) / "installed").is_file(), reason="an environment that make did not set up"
)
def test_what_is_installed_is_what_is_locked() -> None:
    locked = {canonicalize_name(e.requirement.name): e for e in entries("requirements-dev.lock") if e.here}
    wanted = {name for name in needed(RUNTIME + DEV) if not UNLOCKED.fullmatch(name)}
    assert wanted == set(locked)  # nothing is missing, nothing is there for nothing
    assert {name: Version(distribution(name).version) for name in locked} == {
        n: e.version for n, e in locked.items()
    }
