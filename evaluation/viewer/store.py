"""A data set to look at: its items, with the grasps that were tried when it was made."""

from pathlib import Path

import numpy as np

from sceneleapultra.datasets import SPLITS, GraspStore
from sceneleapultra.evaluation.items import Item
from sceneleapultra.evaluation.requests import request_of_item
from sceneleapultra.evaluation.viewer.subject import Candidates, Catalog, Rules, Subject
from sceneleapultra.hands import Hand, load_hand
from sceneleapultra.simulation.protocols import get_protocol
from sceneleapultra.utils.records import LabeledGrasps

_COLUMNS = ("penetration_m", "self_penetration_m", "clearance_m", "robustness", "disturbance")


class StoreCatalog(Catalog):
    """The items of a store.

    Args:
        path: of the data set.
        hand: its hand; None for the one it names.
        checkpoint: of the model that samples.
        protocol: by which grasps are tried again; None for the store's own.
    """

    def __init__(self, path: str, hand: str | None, checkpoint: str, protocol: str | None) -> None:
        self.hand: Hand = load_hand(hand or str(GraspStore(path).attributes["hand_name"]))
        self._store = GraspStore(path, self.hand)
        self.path = Path(path)
        self.title = f"Data set {self._store.path.name}"
        self._items = [
            item for split in SPLITS for item in self._store.items(split, min_points=1, require_success=False)
        ]
        if not self._items:
            raise ValueError(f"{path} has no object that a view shows: there is nothing to look at.")
        self.rules = self._rules(checkpoint, protocol)

    def _rules(self, checkpoint: str, protocol: str | None) -> Rules:
        name = protocol or str(self._store.attributes["protocol"])
        try:
            return Rules(get_protocol(name), "", checkpoint)
        except ValueError as error:
            if protocol is not None:
                raise
            return Rules(None, f"{error} Pass --protocol to try its grasps by another.", checkpoint)

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._items)

    def read(self, number: int) -> Subject:
        """Read an item with its grasps: those that held first, the most robust of them before others."""
        found, store = self._items[number], self._store
        split, scene = store.split_of(found.scene), store.scene(found.scene)
        item = Item(found.index, split, scene, found.target, store.view(found.view))
        labeled = store.labeled(found.scene, found.target)
        held = int(labeled.success.sum())
        return Subject(
            caption=f"{split}, scene {found.scene}: **{item.object.name}**, {held} of {len(labeled)} grasps held",
            request=request_of_item(item),
            item=item,
            candidates={"stored": _candidates(labeled)} if len(labeled) else {},
        )


def _candidates(labeled: LabeledGrasps) -> Candidates:
    robustness = np.nan_to_num(labeled.robustness, nan=0.0)
    ordered = labeled[np.lexsort((labeled.penetration_m, -robustness, ~labeled.success))]
    columns = {name: getattr(ordered, name) for name in _COLUMNS}
    details = [
        {name: f"{values[i]:.4g}" for name, values in columns.items() if np.isfinite(values[i])}
        for i in range(len(ordered))
    ]
    return Candidates.of_verdicts(
        ordered.grasps, ordered.outcome.tolist(), (ordered.collision_free != 0.0).tolist(), details
    )
