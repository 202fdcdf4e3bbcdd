"""A model's own grasps for the objects of a store, as a pool: proposed once, labeled one by one, scored at any time."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sceneleapultra.evaluation.self_training import (
    SelfTrainingSettings,
    chosen_views,
    propose_grasps,
    request_of,
    run_trials,
)
from sceneleapultra.hands import GraspPose, Hand
from sceneleapultra.models import GraspModel
from sceneleapultra.models.inference import as_batch
from sceneleapultra.models.network.context import DecodedGrasps, SceneContext
from sceneleapultra.models.network.tokens import Cloud
from sceneleapultra.simulation.protocols import Protocol
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.core.compare import differences
from sceneleapultra.utils.core.files import make_folder, read_json_object, write_atomically, write_json
from sceneleapultra.utils.core.npz import read_npz
from sceneleapultra.utils.core.parallel import Executor
from sceneleapultra.utils.records import GRASP_COLUMNS, VERDICT_COLUMNS, Grasps, LabeledGrasps, SceneRecord

_REMEDY = "Remove it; the same command makes it again."


@dataclass(frozen=True)
class PoolItem:
    """An object of a scene under a view, and the grasps that the model proposes for it, best first."""

    record: SceneRecord
    target: int
    view: int
    grasps: Grasps


def propose_pool(
    records: Iterable[SceneRecord], model: GraspModel, settings: SelfTrainingSettings, path: Path
) -> list[PoolItem]:
    """Return the pool of a model, read from ``path`` where it was proposed before.

    Raises:
        ValueError: no object is visible enough.
    """
    views = [(record, *chosen) for record in records for chosen in chosen_views(record, settings)]
    if not views:
        raise ValueError(
            f"Expected objects of the splits {', '.join(settings.splits)} that show {settings.min_points} points, "
            "found none. Name other splits, or lower min_points."
        )
    if not path.is_file():
        made = Grasps.concatenate([propose_grasps(*view, model, settings).grasps for view in views])
        _save(path, {name: getattr(made, name) for name in GRASP_COLUMNS})
    grasps, c = Grasps(**read_npz(path, _REMEDY)), settings.candidates
    return [PoolItem(*view, grasps[i * c : (i + 1) * c]) for i, view in enumerate(views)]


class Oracle:
    """Labels grasps of a pool by simulation, each once; kept in a file, with what it cost.

    Args:
        items: the pool; row ``i c + j`` is grasp j of item i, of c each.
        path: of the labels.
        hand: executes the grasps.
        protocol: tests them.
        executor: where physics runs.

    Attributes:
        cpu_s: processor seconds of each label, alike for those made together; 0 where there is none yet.
    """

    def __init__(
        self, items: Sequence[PoolItem], path: Path, *, hand: Hand, protocol: Protocol, executor: Executor
    ) -> None:
        self.items, self.path, self.hand = items, path, hand
        self.protocol, self.executor = protocol, executor
        grasps = Grasps.concatenate([item.grasps for item in items])
        count, directions = len(grasps), protocol.trial.num_directions
        empty = LabeledGrasps.none(hand.num_joints, directions)
        columns = {
            name: np.zeros((count, *getattr(empty, name).shape[1:]), getattr(empty, name).dtype)
            for name in VERDICT_COLUMNS
        }
        self.cpu_s = np.zeros(count)
        if path.is_file():
            kept = read_npz(path, _REMEDY)
            self.cpu_s = kept.pop("cpu_s")
            columns = kept
        self.labeled = LabeledGrasps(grasps, **columns)

    def label(self, rows: Int[np.ndarray, "c"]) -> None:
        """Simulate those of the rows that have no label yet; what was done when it is stopped stays done."""
        size = len(self.items[0].grasps)
        wanted = np.sort(rows[self.cpu_s[rows] == 0.0])
        numbers, at_once = np.unique(wanted // size).tolist(), self.executor.in_flight
        for some in (numbers[i : i + at_once] for i in range(0, len(numbers), at_once)):
            own = wanted[np.isin(wanted // size, some)]
            items = [(self.items[number], wanted[wanted // size == number] % size) for number in some]
            jobs = [(item.record.scene, item.target, item.grasps[rows]) for item, rows in items]
            before = _cpu_seconds()
            found = LabeledGrasps.concatenate(run_trials(self.hand, jobs, self.protocol, self.executor))
            self.cpu_s[own] = max(1e-6, _cpu_seconds() - before) / len(own)
            for name in VERDICT_COLUMNS:
                getattr(self.labeled, name)[own] = getattr(found, name)
            _save(self.path, {"cpu_s": self.cpu_s, **{n: getattr(self.labeled, n) for n in VERDICT_COLUMNS}})

    def records(self, rows: Int[np.ndarray, "c"]) -> list[SceneRecord]:
        """Return the scenes with the labels of these rows, and no others."""
        size = len(self.items[0].grasps)
        found: dict[int, SceneRecord] = {}
        for number, item in enumerate(self.items):
            bare = LabeledGrasps.none(self.hand.num_joints, self.protocol.trial.num_directions)
            empty = replace(item.record, labeled=(bare,) * len(item.record.scene.objects))
            record = found.setdefault(item.record.index, empty)
            labeled = list(record.labeled)
            labeled[item.target] = self.labeled[np.sort(rows[rows // size == number])]
            found[item.record.index] = replace(record, labeled=tuple(labeled))
        return list(found.values())


@dataclass(frozen=True)
class EncodedPool:
    """A pool as a score head reads it: scenes of all items, and their grasps in the frames of the clouds."""

    scene: SceneContext
    grasps: DecodedGrasps  # (i c)

    @property
    def embedding(self) -> Float[np.ndarray, "n d"]:
        """Normalized states of the grasps, each relative to the surface next to it."""
        return self.grasps.states.flatten(0, 1).cpu().numpy().astype(np.float64)

    def select(self, item: Int[Tensor, "b"], grasp: Int[Tensor, "b k"]) -> "EncodedPool":
        """Return some grasps of some items."""

        def chosen(x: Tensor) -> Tensor:
            return x[item[:, None], grasp]

        g = self.grasps
        pose = GraspPose(*map(chosen, (g.pose.translation, g.pose.rotation, g.pose.qpos)))
        rest = (chosen(g.states), pose, chosen(g.squeeze_qpos), chosen(g.point), chosen(g.index))
        code = None if g.code is None else chosen(g.code)
        return EncodedPool(self.scene.select(item), DecodedGrasps(*rest, code))


@torch.no_grad()
def encode_pool(items: Sequence[PoolItem], model: GraspModel) -> EncodedPool:
    """Return what the model's encoder makes of the items, and their grasps in its terms."""
    generator, batches, poses = model.generator, [], []
    for item in items:
        request = request_of(item.record.views[item.view], item.target, colors=model.uses_color)
        prepared = model.prepare(request, len(item.grasps), seed=0, T_cloud_object=None)
        batches.append(as_batch(prepared, None, ()))
        back = replace(prepared, T_cloud_frame=np.linalg.inv(prepared.T_cloud_frame))
        poses.append(back.restore(item.grasps.hand_pose))
    scene = generator.encode(Cloud.of(GraspBatch.join(batches).to(generator.device)))

    def tensor(rows: list[np.ndarray]) -> Tensor:
        return torch.tensor(np.stack(rows), dtype=torch.float32, device=generator.device)

    pose, squeeze = GraspPose.from_hand_pose(tensor(poses)), tensor([i.grasps.squeeze_qpos for i in items])
    point = generator.codec.reference_point(pose)
    apart = torch.cdist(point, scene.tokens.xyz).masked_fill(~scene.tokens.target[:, None], float("inf"))
    index = apart.argmin(-1)
    return EncodedPool(scene, generator.anchored_grasps(pose, squeeze, scene.tokens, index))


@dataclass(frozen=True)
class LabeledPool:
    """A pool, what simulates it, and what a score head reads of it."""

    oracle: Oracle
    encoded: EncodedPool

    @property
    def size(self) -> int:
        """Number of grasps."""
        return len(self.oracle.labeled)

    def truth(self, rows: Int[np.ndarray, "c"]) -> Float[Tensor, "i k 2"]:
        """Return whether grasps are stable and collision-free; NaN for all but these rows."""
        labeled = self.oracle.labeled[rows]
        values = np.full((self.size, 2), np.nan, np.float32)
        values[rows] = np.stack([labeled.stable, labeled.collision_free], axis=-1)
        states = self.encoded.grasps.states
        return torch.from_numpy(values).view(*states.shape[:2], 2).to(states.device)


def open_pool(
    folder: Path,
    records: Iterable[SceneRecord],
    model: GraspModel,
    settings: SelfTrainingSettings,
    *,
    facts: Mapping[str, Any],
    hand: Hand,
    protocol: Protocol,
    executor: Executor,
) -> LabeledPool:
    """Make a pool in a folder, or find the one that is there.

    Args:
        folder: of the proposed grasps, their labels, and what both depend on.
        records: scenes.
        model: proposes grasps.
        settings: how.
        facts: what the records and the model are, as plain values.
        hand: executes the grasps.
        protocol: tests them.
        executor: where physics runs.

    Raises:
        ValueError: the folder is of other settings, or no object is visible enough.
    """
    plain = json.loads(json.dumps({**asdict(settings), **facts, "protocol": protocol.hash}))
    begun = folder / "pool.json"
    if begun.is_file() and (differing := differences(read_json_object(begun, _REMEDY), plain)):
        raise ValueError(
            f"{folder} was begun with other settings ({'; '.join(differing)}). Name another folder."
        )
    make_folder(folder)
    write_json(begun, plain)
    items = propose_pool(records, model, settings, folder / "grasps.npz")
    oracle = Oracle(items, folder / "labels.npz", hand=hand, protocol=protocol, executor=executor)
    return LabeledPool(oracle, encode_pool(items, model))


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    def write(temporary: Path) -> None:
        with temporary.open("wb") as handle:
            np.savez(handle, allow_pickle=False, **arrays)

    write_atomically(path, write)


def _cpu_seconds() -> float:
    """Return what this process and those it has waited for have used."""
    return sum(os.times()[:4])
