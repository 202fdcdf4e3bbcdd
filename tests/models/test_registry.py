"""Does a registry keep what it was given, in a folder as in MLflow, and promote nothing that was not tested?"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sceneleapultra.models.bundle.manifest import digest
from sceneleapultra.models.checkpoints.zoo import find_checkpoint
from sceneleapultra.models.registry import ModelVersion, Registry, open_registry

LINEAGE = {"config_hash": "0123456789", "data_hash": "ab" * 32, "code": "v0", "run": ""}
SIGNATURE = {
    "inputs": {"points": {"dtype": "float32", "shape": ["n", 3]}},
    "outputs": {"qpos": {"dtype": "float32", "shape": ["g", 16]}},
    "hand": "leap_right",
}
Register = Callable[..., ModelVersion]


@pytest.fixture(params=["folder", pytest.param("mlflow", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SCENELEAPULTRA_RUNS", str(tmp_path / "runs"))
    where = str(tmp_path / "kept") if request.param == "folder" else request.getfixturevalue("mlflow_file")
    monkeypatch.setenv("SCENELEAPULTRA_REGISTRY", where)
    return where


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A model of this test's own: MLflow's file is shared."""
    return "".join(c if c.isalnum() else "-" for c in request.node.name)


@pytest.fixture
def register(place: str, name: str, tmp_path: Path) -> Register:
    def made(content: str, **changes: Any) -> ModelVersion:
        checkpoint = tmp_path / "run" / "last.ckpt"
        checkpoint.parent.mkdir(exist_ok=True)
        checkpoint.write_text(content)
        facts = {"config": None, "lineage": LINEAGE, "signature": SIGNATURE} | changes
        return open_registry(place).register(name, checkpoint, **facts)

    return made


def record(hash_: str, digest_: str = "d" * 16) -> dict[str, Any]:
    return {"file": "t/results.json", "digest": digest_, "checkpoint_hash": hash_, "rates": {}}


def test_versions_are_numbered_and_say_what_they_are(place: str, name: str, register: Register) -> None:
    first, second = register("one"), register("two")
    assert [v.number for v in open_registry(place).versions(name)] == [1, 2] == [first.number, second.number]
    assert name in open_registry(place).names()
    found = open_registry(place).find(name, "2")
    assert found == second and found.lineage == LINEAGE and found.signature == SIGNATURE
    kept = open_registry(place).file(found)
    assert kept.read_text() == "two" and digest(kept) == found.checkpoint_hash


def test_a_file_that_is_there_is_registered_once(place: str, name: str, register: Register) -> None:
    assert register("one") == register("one")
    assert len(open_registry(place).versions(name)) == 1


def test_the_configuration_lies_beside_the_checkpoint(
    place: str, name: str, register: Register, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text("seed: 3\n")
    version = register("one", config=tmp_path / "config.yaml")
    assert (open_registry(place).file(version).parent / "config.yaml").read_text() == "seed: 3\n"


def test_aliases_move_and_name_a_file_wherever_one_is_named(
    place: str, name: str, register: Register
) -> None:
    registry = open_registry(place)
    for content in ("one", "two"):
        registry.alias(register(content), "candidate")
    assert registry.find(name, "1").aliases == () and registry.find(name, "candidate").number == 2
    assert find_checkpoint(f"registry:{name}@candidate").read_text() == "two"
    assert find_checkpoint(f"registry:{name}@1").read_text() == "one"
    with pytest.raises(ValueError, match=r"Unknown version or alias .*'candidat'. Did you mean 'candidate'"):
        find_checkpoint(f"registry:{name}@candidat")
    with pytest.raises(ValueError, match=r"Unknown version or alias .*'champion'"):
        find_checkpoint(f"registry:{name}")
    with pytest.raises(ValueError, match="has no model 'absent'"):
        find_checkpoint("registry:absent@1")


def test_nothing_is_promoted_without_a_test_of_its_own_file(
    place: str, name: str, register: Register
) -> None:
    registry, version = open_registry(place), register("one")
    with pytest.raises(ValueError, match=r"cannot be promoted: no test of this checkpoint"):
        registry.promote(version)
    with pytest.raises(ValueError, match="champion is what a test makes"):
        registry.alias(version, "champion")
    with pytest.raises(ValueError, match=r"tested the checkpoint 0{16}.*Test this one"):
        registry.evaluate(version, record("0" * 16))
    for _ in range(2):
        registry.evaluate(registry.find(name, "1"), record(version.checkpoint_hash[:16]))
    tested = registry.find(name, "1")
    assert len(tested.evaluations) == 1
    registry.promote(tested)
    assert registry.find(name, "champion").number == 1
    assert find_checkpoint(f"registry:{name}").read_text() == "one"


def test_a_file_that_was_changed_is_refused(place: str, register: Register) -> None:
    version = register("one")
    open_registry(place).file(version).write_text("other")
    with pytest.raises(ValueError, match="is not the checkpoint that was registered as version 1"):
        open_registry(place).file(version)


@pytest.mark.parametrize("alias", ["Candidate", "3", "latest", "v2", "a b"])
def test_an_alias_that_would_be_a_number_is_refused(tmp_path: Path, alias: str) -> None:
    registry: Registry = open_registry(str(tmp_path / "kept"))
    (tmp_path / "x.ckpt").write_text("one")
    facts = {"config": None, "lineage": LINEAGE, "signature": SIGNATURE}
    version = registry.register("model", tmp_path / "x.ckpt", **facts)
    with pytest.raises(ValueError, match="expected an alias"):
        registry.alias(version, alias)
    with pytest.raises(ValueError, match="expected a name"):
        registry.register(f"{alias}/../x", tmp_path / "x.ckpt", **facts)


def test_a_place_that_is_none_is_answered() -> None:
    pytest.importorskip("mlflow")
    with pytest.raises(ValueError, match=r"paths\.registry=ftp://x: expected sqlite:///<file>"):
        open_registry("ftp://x")
    with pytest.raises(
        ValueError, match=r"paths\.registry=http://127.0.0.1:9: no MLflow server answers there"
    ):
        open_registry("http://127.0.0.1:9")
