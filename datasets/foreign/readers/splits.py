"""Which scene of a foreign set belongs to which split: by object, by category or by scene; the same in every run."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from sceneleapultra.datasets.foreign.readers.base import SourceScene

SplitBy = Literal["object", "category", "scene"]
# A scene of several objects belongs to the first of these that one of its objects belongs to.
_PRIORITY = ("test_family", "test", "val", "train")


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Shares of what is split; ``config/conversion`` says what each number means.

    ``object``: no object is in two splits. ``category``: moreover the split test_family holds whole categories that no
    other split has. ``scene``: only scenes are kept apart.
    """

    by: SplitBy
    val: float
    test: float
    test_family: float
    seed: int

    def __post_init__(self) -> None:
        shares = {"val": self.val, "test": self.test, "test_family": self.test_family}
        for name, share in shares.items():
            if not 0.0 <= share < 1.0:
                raise ValueError(f"conversion.splits.{name}: expected 0 to less than 1, got {share}.")
        if sum(shares.values()) >= 1.0:
            raise ValueError(f"conversion.splits: shares {shares} leave nothing for training.")

    def assign(self, entries: Sequence[SourceScene]) -> tuple[list[str], dict[str, str]]:
        """Return the split of each scene, and of each object (empty where split by scene).

        A scene that holds an object of a held-out split is of that split; its other objects are neighbors there,
        whose grasps must be dropped.

        Raises:
            ValueError: too few categories to hold any out.
        """
        if self.by == "scene":
            of_scene = self._deal((e.key for e in entries), {"test": self.test, "val": self.val})
            return [of_scene[e.key] for e in entries], {}
        families = {name: family for e in entries for name, family in e.objects}
        of_object: dict[str, str] = {}
        if self.by == "category" and self.test_family > 0:
            if len(set(families.values())) < 2:
                raise ValueError(
                    f"conversion.splits.by=category: all {len(families)} objects are of one category "
                    f"('{next(iter(families.values()))}'), so none can be held out. Pass conversion.splits.by=object."
                )
            held = self._deal(families.values(), {"test_family": self.test_family})
            of_object = {name: "test_family" for name, f in families.items() if held[f] == "test_family"}
        rest = [name for name in families if name not in of_object]
        of_object |= self._deal(rest, {"test": self.test, "val": self.val})
        return [_most_held_out(of_object[name] for name, _ in e.objects) for e in entries], of_object

    def _deal(self, names: Iterable[str], shares: dict[str, float]) -> dict[str, str]:
        """Deal names to splits by a hash; every share above zero gets at least one, training the rest."""
        ordered = sorted(set(names), key=lambda n: hashlib.sha256(f"{self.seed} {n}".encode()).digest())
        found, start = dict.fromkeys(ordered, "train"), 0
        for split, share in shares.items():
            count = max(1, round(share * len(ordered))) if share > 0 and len(ordered) > len(shares) else 0
            found.update(dict.fromkeys(ordered[start : start + count], split))
            start += count
        return found


def _most_held_out(splits: Iterable[str]) -> str:
    present = set(splits)
    return next((split for split in _PRIORITY if split in present), "train")
