"""Which objects stand in which scene of which split: known before anything is simulated, from the seed alone.

Stores of different seeds hold different objects, and an object is of the same split in all of them.
"""

from dataclasses import dataclass

import numpy as np

from sceneleapultra.simulation.objects import FAMILIES, FLAT_FAMILIES, Progress, load_objects, make_object
from sceneleapultra.utils.core.names import unknown_name
from sceneleapultra.utils.core.parallel import Executor
from sceneleapultra.utils.core.seeding import keyed_seed
from sceneleapultra.utils.records import SPLITS, ObjectRecord

# Procedural objects of a split have seeds from here on, so no object is in two splits.
_FIRST_SEED = {"train": 0, "val": 700_000, "test": 800_000, "test_family": 900_000}
_MAX_PER_FAMILY = 100_000
# Another seed begins so many objects further on: stores of 25 seeds in a row share none, up to 30,000 scenes each with
# the shares and families of config/generate.yaml.
_OBJECTS_OF_A_SEED = 4001
_GOLDEN = 0.6180339887498949


@dataclass(frozen=True, kw_only=True)
class ObjectSettings:
    """Where objects come from; ``config/generate.yaml`` says what each setting means."""

    path: str | None
    repair: bool
    max_bad_fraction: float
    families: tuple[str, ...] | None
    held_out_families: tuple[str, ...]
    per_family: dict[str, int]
    per_scene: tuple[float, ...]


@dataclass(frozen=True)
class ScenePlan:
    """What one scene is made of; ``seed`` determines everything else about it."""

    index: int
    split: str
    seed: int
    objects: tuple[tuple[str, int], ...]  # family and seed, or name and number in the folder


class ObjectSource:
    """The objects of each split: procedural families, or a folder of meshes partitioned among the splits."""

    def __init__(
        self,
        settings: ObjectSettings,
        splits: dict[str, float],
        seed: int,
        executor: Executor,
        progress: Progress = lambda *_: None,
    ) -> None:
        """Decide which objects belong to which split.

        Args:
            settings: where objects come from.
            splits: share of each split.
            seed: of the data set.
            executor: where meshes are read and decomposed.
            progress: called after each mesh.

        Raises:
            FileNotFoundError: no meshes at ``objects.path``.
            ValueError: unknown split or family, sizes out of range, or a split in use has no object.
        """
        for name in (*splits, *settings.per_family):
            if name not in SPLITS:
                raise unknown_name("split", name, SPLITS)
        if min(splits.values(), default=0) < 0 or sum(splits.values()) <= 0:
            raise ValueError(f"splits: expected shares of at least 0, one above, got {splits}.")
        if min(settings.per_scene, default=0) < 0 or sum(settings.per_scene) <= 0:
            raise ValueError(
                "objects.per_scene: expected weights of 1, 2, … objects, at least one above 0, got "
                f"{list(settings.per_scene)}."
            )
        self.settings, self.seed = settings, seed
        self.shares = {name: splits.get(name, 0.0) / sum(splits.values()) for name in SPLITS}
        self._records = [] if settings.path is None else self._load(executor, progress)
        self.keys = self._procedural() if settings.path is None else self._partition()
        for name, share in self.shares.items():
            if share > 0 and not self.keys[name]:
                raise ValueError(
                    f"splits.{name}={share:g}: there is no object for this split. Set it to 0, or check "
                    "objects.families, objects.held_out_families and objects.path."
                )

    def _load(self, executor: Executor, progress: Progress) -> list[ObjectRecord]:
        assert self.settings.path is not None
        return load_objects(
            self.settings.path,
            repair=self.settings.repair,
            max_bad_fraction=self.settings.max_bad_fraction,
            executor=executor,
            progress=progress,
        )

    def record(self, key: tuple[str, int]) -> ObjectRecord:
        """Make, or look up, an object."""
        if self.settings.path is None:
            return make_object(*key)
        return self._records[key[1]]

    def rounds(self, split: str, number: int) -> list[tuple[str, int]]:
        """Return the objects of one round through the families (or the folder), in this round's own order."""
        rng = np.random.default_rng([self.seed, 1, SPLITS.index(split), number])
        keys = [self.keys[split][i] for i in rng.permutation(len(self.keys[split]))]
        if self.settings.path is not None:
            return keys
        first, size = _FIRST_SEED[split], self.settings.per_family[split]
        return [(family, first + (number + self.seed * _OBJECTS_OF_A_SEED) % size) for family, _ in keys]

    def _procedural(self) -> dict[str, list[tuple[str, int]]]:
        s = self.settings
        families = FAMILIES if s.families is None else s.families
        for name in (*families, *s.held_out_families):
            if name not in (*FAMILIES, *FLAT_FAMILIES):
                raise unknown_name("object family", name, (*FAMILIES, *FLAT_FAMILIES))
        for name in SPLITS:
            if self.shares[name] > 0 and not 1 <= s.per_family.get(name, 0) <= _MAX_PER_FAMILY:
                raise ValueError(
                    f"objects.per_family.{name}: expected 1 to {_MAX_PER_FAMILY} objects, got "
                    f"{s.per_family.get(name)}."
                )
        known = [(name, 0) for name in families if name not in s.held_out_families]
        held_out = [(name, 0) for name in families if name in s.held_out_families]
        return {"train": known, "val": known, "test": known, "test_family": held_out}

    def _partition(self) -> dict[str, list[tuple[str, int]]]:
        """Partition the folder's objects among the splits by their shares; held-out families go to test_family."""
        s = self.settings
        keys: dict[str, list[tuple[str, int]]] = {name: [] for name in SPLITS}
        known = []
        for i, record in enumerate(self._records):
            if s.families is not None and record.family not in s.families:
                continue
            if record.family in s.held_out_families:
                keys["test_family"].append((record.name, i))
            else:
                known.append((record.name, i))
        wanted = [name for name in SPLITS[:3] if self.shares[name] > 0]
        total = sum(self.shares[name] for name in wanted)
        order = np.random.default_rng([self.seed, 2]).permutation(len(known))
        begin, share = 0, 0.0
        for name in wanted:
            share += self.shares[name] / total
            end = round(share * len(known))
            keys[name] = [known[i] for i in order[begin:end]]
            begin = end
        return keys


def plan_scenes(source: ObjectSource, scenes: int) -> list[ScenePlan]:
    """Plan scenes 0 to ``scenes`` - 1; a longer plan begins with the shorter one.

    Splits follow their shares evenly along the way, and objects come in rounds through all families.
    """
    bounds = np.cumsum([source.shares[name] for name in SPLITS])
    waiting: dict[str, list[tuple[str, int]]] = {name: [] for name in SPLITS}
    rounds = dict.fromkeys(SPLITS, 0)
    plans = []
    for index in range(scenes):
        place = ((index + 1) * _GOLDEN) % 1.0
        split = SPLITS[min(int(np.searchsorted(bounds, place, side="right")), len(SPLITS) - 1)]
        seed = keyed_seed(source.seed, 0, index, bits=32)
        rng = np.random.default_rng([seed, 0])
        weights = np.asarray(source.settings.per_scene)
        number = 1 + int(rng.choice(len(weights), p=weights / weights.sum()))
        number = min(number, len(source.keys[split]))
        chosen: list[tuple[str, int]] = []
        while len(chosen) < number:
            if not waiting[split]:
                waiting[split] = source.rounds(split, rounds[split])
                rounds[split] += 1
            fresh = next((key for key in waiting[split] if key not in chosen), None)
            if fresh is None:
                waiting[split] = []
                continue
            waiting[split].remove(fresh)
            chosen.append(fresh)
        plans.append(ScenePlan(index, split, seed, tuple(chosen)))
    return plans
