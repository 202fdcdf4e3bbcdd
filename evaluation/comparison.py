"""How runs are compared: settings, data, code, curves, and success by object where they had the same test."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sceneleapultra.evaluation.metrics import paired_difference
from sceneleapultra.evaluation.records import read_results, results_below
from sceneleapultra.reporting.comparison import ComparedRate, ComparedTest, Comparison, Difference
from sceneleapultra.reporting.results import ResultTable, Role
from sceneleapultra.utils.core.compare import differences, leaves
from sceneleapultra.utils.core.config import short_hash
from sceneleapultra.utils.records import Outcome
from sceneleapultra.utils.training.run_record import RunRecord

_RESAMPLES = 2000
# Settings of a test by which what is asked of a model changes; its own sampling may differ.
_SETTINGS = ("prompt", "points_share", "min_clearance_m", "samples_per_item")
_CURVES = ("train/loss",)  # beside what validations log


def compare_runs(folders: Sequence[Path]) -> Comparison:
    """Compare runs with the first of them.

    Raises:
        FileNotFoundError: a folder is none of a run.
        ValueError: fewer than two, one of them twice, or their tests asked for different things.
    """
    if len({folder.resolve() for folder in folders}) < max(2, len(folders)):
        raise ValueError("A comparison needs two different runs or more: name their folders.")
    records = [RunRecord.of(folder) for folder in folders]
    names = _names(folders)
    curves = dict(zip(names, (record.curves() for record in records), strict=True))
    logged = sorted(
        {key for found in curves.values() for key in found if key in _CURVES or key.startswith("val/")}
    )
    return Comparison(
        runs=names,
        lineage={
            "data": [record.data_hash[:12] for record in records],
            "code": [record.code for record in records],
        },
        settings=_differing([leaves(record.config) for record in records]),
        curves={key: {run: found[key] for run, found in curves.items() if key in found} for key in logged},
        tests=[test for documents in _shared(folders) for test in _compared(documents)],
    )


def _names(folders: Sequence[Path]) -> tuple[str, ...]:
    short = [folder.resolve().name for folder in folders]
    return tuple(short if len(set(short)) == len(short) else map(str, folders))


def _differing(settings: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    found = {}
    for key in sorted({key for one in settings for key in one}):
        values = [str(one.get(key, "absent")) for one in settings]
        if len(set(values)) > 1:
            found[key] = values
    return found


def settings_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a test asked a model for: protocol, data, settings, and the items of every split."""
    facts = document["provenance"]
    items = {
        entry["split"]: sorted(zip(entry["rows"]["object_name"], entry["rows"]["item"], strict=True))
        for entry in _of_model(document)
    }
    return {
        "protocol": facts["protocol"],
        "data": facts["data hash"],
        **{key: facts["config"][key] for key in _SETTINGS},
        "items": {
            split: f"{len(of_split)} grasps ({short_hash(of_split)})" for split, of_split in items.items()
        },
    }


def _shared(folders: Sequence[Path]) -> list[list[dict[str, Any]]]:
    """Return the tests that all runs had, the newest of each kind: one document for each run.

    Raises:
        ValueError: all were tested, none like another.
    """
    tested: list[dict[str, tuple[dict[str, Any], dict[str, Any]]]] = []
    for folder in folders:
        documents = [read_results(path) for path in results_below(folder)]
        tested.append(
            {short_hash(settings): (settings, doc) for doc in documents for settings in [settings_of(doc)]}
        )
    if not all(tested):
        return []
    common = [key for key in tested[0] if all(key in others for others in tested)]
    if not common:
        newest = [list(found.values())[-1][0] for found in tested]
        other = next(i for i in range(1, len(newest)) if newest[i] != newest[0])
        changed = "; ".join(differences(newest[0], newest[other], "{key} is {old} and {new}"))
        raise ValueError(
            f"{folders[0]} and {folders[other]} were tested in different ways, which cannot be compared: {changed}. "
            "Test them by the same command but for checkpoint=."
        )
    return [[found[key][1] for found in tested] for key in common]


def _of_model(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    table = ResultTable.from_document(document)
    return [entry for entry in table.entries if Role(entry["role"]) is Role.MODEL]


def _compared(documents: Sequence[Mapping[str, Any]]) -> list[ComparedTest]:
    headline = ResultTable.from_document(documents[0]).headline
    found = []
    for entries in zip(*map(_of_model, documents), strict=True):
        names = entries[0]["rows"]["object_name"]
        rates = tuple(
            ComparedRate(
                label=rate.label,
                rates=tuple(entry["summary"][rate.key] for entry in entries),
                differences=tuple(_difference(entries[0], entry, rate.key) for entry in entries[1:]),
            )
            for rate in headline
        )
        protocol = documents[0]["provenance"]["protocol"]
        found.append(ComparedTest(protocol, entries[0]["split"], len(set(names)), len(names), rates))
    return found


def _difference(first: Mapping[str, Any], second: Mapping[str, Any], key: str) -> Difference:
    verdicts = [_verdicts(entry["rows"], key) for entry in (first, second)]
    (one, objects), (other, other_objects) = verdicts
    both = set(objects) & set(other_objects)  # an object of which nothing ran says nothing
    keep, other_keep = np.isin(objects, list(both)), np.isin(other_objects, list(both))
    value, interval = paired_difference(
        one[keep],
        objects[keep].tolist(),
        other[other_keep],
        other_objects[other_keep].tolist(),
        seed=0,
        resamples=_RESAMPLES,
    )
    return Difference(value, interval)


def _verdicts(rows: Mapping[str, Sequence[Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Return whether each grasp that ran succeeded, and its object."""
    ran = np.array(rows["outcome"]) != Outcome.NOT_RUN
    if key == "stable_and_collision_free":
        success = np.array(rows["stable"], dtype=bool) & np.array(rows["collision_free"], dtype=bool)
    else:
        success = np.array(rows[key], dtype=bool)
    return success[ran], np.array(rows["object_name"], dtype=str)[ran]
