"""What a test's results.json says in short: of which file, on which data, by which protocol, with what success."""

import re
from pathlib import Path
from typing import Any

from sceneleapultra.evaluation.folders import RESULTS
from sceneleapultra.models.bundle.manifest import digest
from sceneleapultra.reporting.results import ResultTable, Role
from sceneleapultra.utils.core.files import read_json_object

_REMEDY = "Run the test again, or name another results.json."
_HASH = re.compile(r"\(([0-9a-f]{16})\)$")


def read_results(path: Path) -> dict[str, Any]:
    """Read a results.json.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or another program's.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file. Name the {RESULTS} of a test.")
    document = read_json_object(path, _REMEDY)
    provenance = document.get("provenance")
    if not isinstance(provenance, dict) or not isinstance(document.get("methods"), list):
        raise ValueError(
            f"{path}: expected the results of test_lightning.py, got another JSON object. {_REMEDY}"
        )
    return document


def checkpoint_hash(document: dict[str, Any], path: Path) -> str:
    """Return the first digits of the SHA-256 of the file that was tested.

    Raises:
        ValueError: the results do not say.
    """
    found = _HASH.search(str(document["provenance"].get("model checkpoint", "")))
    if found is None:
        raise ValueError(f"{path} does not say which file was tested, by its hash. {_REMEDY}")
    return found[1]


def evaluation_record(path: Path) -> dict[str, Any]:
    """Return the record of a test that a registry keeps.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no record of a test.
    """
    document = read_results(path)
    facts, table = document["provenance"], ResultTable.from_document(document)
    tested = [entry for entry in table.entries if Role(entry["role"]) is Role.MODEL]
    keys = [rate.key for rate in table.headline]
    kept = ("value", "trials", "wilson95", "by_object95")
    return {
        "file": str(path),
        "digest": digest(path)[:16],
        "checkpoint_hash": checkpoint_hash(document, path),
        "protocol": str(facts["protocol"]),
        "data_hash": str(facts["data hash"]),
        "code": str(facts["commit"]),
        "date": str(facts["date"]),
        "rates": {
            entry["split"]: {key: {name: entry["summary"][key][name] for name in kept} for key in keys}
            for entry in tested
        },
    }


def results_below(home: Path) -> list[Path]:
    """List the results of the finished tests of a run, oldest first."""
    return sorted((home / "tests").glob(f"*/{RESULTS}"), key=lambda path: path.stat().st_mtime)
