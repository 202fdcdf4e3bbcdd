"""Keep models by name and version, with what they come from and how they were tested; one of them is the champion.

python scripts/registry.py register table runs/table/checkpoints/best.ckpt --alias candidate
python test_lightning.py checkpoint=registry:table@candidate
python scripts/registry.py promote table candidate
python scripts/registry.py show table champion

A checkpoint of the registry stands wherever a checkpoint is named: registry:table@champion. The registry is the folder
runs/registry, or what the environment's SCENELEAPULTRA_REGISTRY names: another folder, or MLflow's, sqlite:///<file> or
the address of a server (pip install 'sceneleapultra[mlflow]').
"""

from __future__ import annotations

import sceneleapultra.utils.core.environment  # noqa: F401

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sceneleapultra.utils.core import cli
from sceneleapultra.utils.core.console import card, say

if TYPE_CHECKING:
    from sceneleapultra.models.registry import ModelVersion, Registry


def register(name: str, checkpoint: str, *, alias: str | None = None) -> None:
    """Keep a checkpoint as the next version of a model, with what it comes from and its tests.

    Args:
        name: of the model
        checkpoint: file of a run folder, or the name of a shipped model
        alias: that points at the version from now on, such as candidate
    """
    from sceneleapultra.evaluation.folders import run_folder
    from sceneleapultra.models import load_grasp_model
    from sceneleapultra.models.checkpoints.zoo import find_checkpoint
    from sceneleapultra.models.registry import open_registry
    from sceneleapultra.models.registry.signature import signature_of
    from sceneleapultra.utils.training.run_record import UNKNOWN, RunRecord

    opened, path = open_registry(), find_checkpoint(checkpoint)
    model = load_grasp_model(path)
    config = run_folder(path) / "config.yaml"
    lineage = {"config_hash": UNKNOWN, "data_hash": model.data_hash, "code": UNKNOWN, "run": ""}
    if config.is_file():
        lineage = {**RunRecord(config.parent).lineage(), "run": str(config.parent.resolve())}
    version = opened.register(
        name,
        path,
        config=config if config.is_file() else None,
        lineage=lineage,
        signature=signature_of(model),
    )
    if alias is not None:
        opened.alias(version, alias)
    print_version(collect(opened, version))


def point(name: str, which: str, alias: str) -> None:
    """Point an alias at a version; the champion is made by promote.

    Args:
        name: of the model
        which: number of the version, or an alias
        alias: that points at it from now on
    """
    from sceneleapultra.models.registry import open_registry

    opened = open_registry()
    version = opened.find(name, which)
    opened.alias(version, alias)
    say(f"{name}@{alias} is version {version.number} now")


def promote(name: str, which: str, *, evaluation: Path | None = None) -> None:
    """Make a version the champion, if a test of its very file is on record.

    Args:
        name: of the model
        which: number of the version, or an alias
        evaluation: results.json of a test that lies neither in the run's folder nor in the version's
    """
    from sceneleapultra.evaluation.records import evaluation_record
    from sceneleapultra.models.registry import open_registry

    opened = open_registry()
    version = opened.find(name, which)
    if evaluation is not None:
        opened.evaluate(version, evaluation_record(evaluation))
    version = collect(opened, version)
    opened.promote(version)
    print_version(opened.find(name, str(version.number)))


def show_all() -> None:
    """List the models, their versions and aliases."""
    from sceneleapultra.models.registry import open_registry

    opened = open_registry()
    for name in opened.names():
        for version in opened.versions(name):
            tested = f"tests: {len(version.evaluations)}" if version.evaluations else "not tested"
            aliases = f", {', '.join(version.aliases)}" if version.aliases else ""
            say(f"{name} {version.number}: {version.created}, {tested}{aliases}")
    if not opened.names():
        say(f"{opened.place} holds no model yet: sceneleap registry register <name> <checkpoint>")


def show(name: str, which: str) -> None:
    """Show what a version comes from, what it reads and returns, and its tests.

    Args:
        name: of the model
        which: number of the version, or an alias
    """
    from sceneleapultra.models.registry import open_registry

    opened = open_registry()
    print_version(collect(opened, opened.find(name, which)))


def collect(registry: Registry, version: ModelVersion) -> ModelVersion:
    """Put the tests on record that lie in the folder of the run, or of the version."""
    from sceneleapultra.evaluation.folders import home_of
    from sceneleapultra.evaluation.records import evaluation_record, results_below

    homes = {home_of(registry.file(version))}
    if version.lineage["run"]:
        homes.add(Path(version.lineage["run"]))
    for path in (path for home in homes for path in results_below(home)):
        record = evaluation_record(path)
        if version.fits(record):
            registry.evaluate(version, record)
    return registry.find(version.name, str(version.number))


def print_version(version: ModelVersion) -> None:
    """Print everything about a version."""
    signature = version.signature
    rows = {
        "checkpoint": f"SHA-256 {version.checkpoint_hash[:16]}, registered {version.created} UTC",
        "aliases": ", ".join(version.aliases) or "none",
        **{key.replace("_", " "): value or "none" for key, value in version.lineage.items()},
        "reads": _tensors(signature["inputs"]),
        "returns": f"{_tensors(signature['outputs'])}, for {signature['hand']}",
        **dict(_tests(version)),
    }
    card(f"{version.name} {version.number}", rows)


def _tensors(entries: dict[str, Any]) -> str:
    return ", ".join(f"{name} ({' '.join(map(str, entry['shape']))})" for name, entry in entries.items())


def _tests(version: ModelVersion) -> Iterator[tuple[str, str]]:
    from sceneleapultra.reporting.charts import percent

    if not version.evaluations:
        yield "tests", "none"
    for i, record in enumerate(version.evaluations, 1):
        rates = [
            f"{split}: {key.replace('_', ' ')} {percent(rate)}"
            for split, measured in record["rates"].items()
            for key, rate in measured.items()
        ]
        yield f"test {i}", f"{record['date']}, {record['protocol']}: {'; '.join(rates)}"


def main() -> None:
    """Do what the command line names."""
    verbs: dict[str, cli.Command] = {
        "register": register,
        "alias": point,
        "promote": promote,
        "list": show_all,
        "show": show,
    }
    cli.run(verbs, __doc__)


if __name__ == "__main__":
    main()
