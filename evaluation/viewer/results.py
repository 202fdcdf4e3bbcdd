"""The results of a test to look at: each item with the grasps that every method made for it, and how they ended."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from sceneleapultra.datasets import GraspStore
from sceneleapultra.datasets.store.missing import check_there
from sceneleapultra.evaluation.folders import METHODS, RESULTS
from sceneleapultra.evaluation.items import Item, subsample_points
from sceneleapultra.evaluation.requests import request_of_item
from sceneleapultra.evaluation.viewer.subject import Candidates, Catalog, Rules, Subject
from sceneleapultra.hands import load_hand
from sceneleapultra.reporting.results import Role
from sceneleapultra.simulation.protocols import Protocol
from sceneleapultra.utils.core.config import build
from sceneleapultra.utils.core.npz import read_npz
from sceneleapultra.utils.core.plugins import check_targets, targets_of
from sceneleapultra.utils.records import Grasps

_NOT_SHOWN = ("object_name", "family", "item", "outcome", "direction_success", "approach_m")
_STAGES = ("hand_pose", "pregrasp_qpos", "squeeze_qpos", "approach")


class ResultsCatalog(Catalog):
    """The items of a test.

    Args:
        folder: of results.json and grasps.npz.
        store: the data set they were measured on; None for the one they name.
        hand: of the test; None for the one they name.
        checkpoint: of the model that samples; None for the one under test.
    """

    def __init__(self, folder: Path, store: str | None, hand: str | None, checkpoint: str | None) -> None:
        self.path = folder / RESULTS
        document = read_results(self.path)
        facts = document["provenance"]
        self.title = str(facts["title"])
        self.hand = load_hand(hand or str(facts["model hand"]).partition(", served by ")[0])
        self._store = _open_store(store or facts["data store"], facts["data hash"], self.path, self.hand)
        self._config = facts["config"]
        protocol, why_not = _protocol(facts, self.path)
        temperature = float(str(facts["model temperature"]).partition(",")[0])
        sampling = {**self._config["sampling"], "temperature": temperature}
        own = checkpoint is None
        self.rules = Rules(
            protocol, why_not, checkpoint or self._config["checkpoint"], sampling if own else {}
        )
        self._methods = document["methods"]
        self._grasps = _read_grasps(folder, self._methods)
        shown = [method for number, method in enumerate(self._methods) if number in self._grasps]
        pairs = [(m["split"], item) for m in shown for item in m["rows"]["item"]]
        self._pairs = list(dict.fromkeys(pairs))

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._pairs)

    def read(self, number: int) -> Subject:
        """Read an item with the grasps of every method."""
        split, index = self._pairs[number]
        item = self._item(split, index)
        candidates = {
            method["method"]: _candidates(method["rows"], self._grasps[i], index)
            for i, method in enumerate(self._methods)
            if i in self._grasps and method["split"] == split and index in method["rows"]["item"]
        }
        return Subject(
            f"{split}, item {index}: **{item.object.name}**", request_of_item(item), item, candidates
        )

    def _item(self, split: str, index: int) -> Item:
        store, share = self._store, self._config["points_share"]
        for found in store.items(split, min_points=1, require_success=False):
            if found.index == index:
                scene, view = store.scene(found.scene), store.view(found.view)
                item = Item(index, split, scene, found.target, view)
                return item if share == 1.0 else subsample_points(item, share, self._config["seed"])
        raise ValueError(f"{self.path}: {store.path} has no item {index} in split {split}.")


def read_results(path: Path) -> dict[str, Any]:
    """Read the results of a test.

    Raises:
        ValueError: not what test_lightning.py writes.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        facts = document["provenance"]
        needed = {"data store", "data hash", "model hand", "model temperature", "protocol", "config", "title"}
        complete = needed <= set(facts) and all({"rows", "split"} <= set(m) for m in document["methods"])
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        complete = False
    if not complete:
        raise ValueError(f"{path} holds no results of a test. Expected what test_lightning.py writes.")
    return document  # type: ignore[no-any-return]


def _open_store(name: str, content_hash: str, source: Path, hand: Any) -> GraspStore:
    try:
        check_there(name)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{source} was measured on {name}, which is not here. Pass --store <file>, or go to the folder where the "
            "test ran."
        ) from error
    store = GraspStore(name, hand)
    if store.content_hash != content_hash:
        raise ValueError(
            f"{source} was measured on a data set of the hash {content_hash[:16]}, {name} has "
            f"{store.content_hash[:16]}. "
            "Pass --store <the file it was measured on>."
        )
    return store


def _protocol(facts: dict[str, Any], source: Path) -> tuple[Protocol | None, str]:
    """Return the protocol of a test; None and the reason where this version would judge otherwise."""
    entry = facts["config"]["protocol"]
    check_targets(entry, source, targets_of("protocol"))
    protocol = build(entry)
    if (now := f"{protocol.name} ({protocol.hash})") != facts["protocol"]:
        return None, f"It was measured by {facts['protocol']}, and here that protocol is {now}: no replay."
    return protocol, ""


def _read_grasps(folder: Path, methods: list[dict[str, Any]]) -> dict[int, Grasps]:
    """Return the grasps of each method by its number in results.json; earlier tests kept those of the model alone."""
    arrays = read_npz(folder / "grasps.npz")
    others = read_npz(folder / METHODS) if (folder / METHODS).is_file() else {}
    found = {}
    for number, method in enumerate(methods):
        of_model = method["role"] == Role.MODEL
        source, prefix = (arrays, method["split"]) if of_model else (others, str(number))
        if f"{prefix}/hand_pose" in source:
            columns = {name: source.get(f"{prefix}/{name}") for name in _STAGES}
            grasps = Grasps(**columns)  # type: ignore[arg-type]
            if len(grasps) != len(method["rows"]["item"]):
                raise ValueError(f"{folder}: grasps and results.json are of different tests. Test again.")
            found[number] = grasps
    if not found:
        raise ValueError(f"{folder} has no grasps beside its results.json. Test again.")
    return found


def _candidates(rows: dict[str, list[Any]], grasps: Grasps, item: int) -> Candidates:
    """Return the grasps for one item, by descending score."""
    chosen = [row for row, number in enumerate(rows["item"]) if number == item]
    chosen.sort(key=lambda row: -(rows["score"][row] if rows["score"][row] is not None else -np.inf))
    names = [name for name in rows if name not in _NOT_SHOWN]
    return Candidates.of_verdicts(
        grasps[np.array(chosen)],
        [rows["outcome"][row] for row in chosen],
        [rows["collision_free"][row] for row in chosen],
        [{name: _shown(rows[name][row]) for name in names if rows[name][row] is not None} for row in chosen],
    )


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
