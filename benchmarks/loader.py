"""How many samples a second the store serves, beside the predecessor's cache and beside plain arrays in memory.

    python -m benchmarks.loader data/quick.h5 --num-points 768 --output benchmarks/results/loader.json

The same items in three layouts. `store`: this project's, grasps drawn and clouds augmented anew in each pass.
`store_plain`: the same without augmentation. `predecessor`: one HDF5 group per item, gzip 9, cloud and mesh stored
again for every chunk of grasps, grasps frozen when it was written. `memory`: batches items in one array per field,
the limit of any layout under the same DataLoader. Cold: the files' pages are dropped from the page cache and nothing is
remembered; warm: the pass after. Rounds alternate between layouts; medians are reported. Wall-clock rates depend on
what else the machine does; processor time per sample, over all processes, hardly does.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from benchmarks.common import command_line, write
from sceneleapultra.datasets.grasp_data import GraspDataModule
from sceneleapultra.datasets.items.item_dataset import GraspLoader
from sceneleapultra.datasets.items.quarantine import Quarantine
from sceneleapultra.datasets.store.layout import repack
from sceneleapultra.datasets.store.store import GraspStore
from sceneleapultra.utils.core.config import build, load_group

torch.set_num_threads(1)
BATCH = 16
LAYOUTS = ("store", "store_plain", "predecessor", "memory")


class PredecessorCache(Dataset[dict[str, Any]]):
    """Reads items as the predecessor's cache holds them; each process opens the file itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with h5py.File(path) as file:
            self.num_items = len(file)
        self._open: tuple[int, h5py.File] | None = None

    def __len__(self) -> int:
        return self.num_items

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Read a group."""
        if self._open is None or self._open[0] != os.getpid():
            self._open = (os.getpid(), h5py.File(self.path))
        group = self._open[1][str(index)]
        names = ("scene_pc", "object_mask", "hand_model_pose", "se3", "obj_verts", "obj_faces")
        item: dict[str, Any] = {name: torch.from_numpy(group[name][...]) for name in names}
        item["positive_prompt"] = group["positive_prompt"][()].decode()
        item["negative_prompts"] = [text.decode() for text in group["negative_prompts"][...]]
        return item

    @staticmethod
    def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
        """Stack arrays of one size; meshes and prompts stay lists."""
        lists = ("obj_verts", "obj_faces", "positive_prompt", "negative_prompts")
        return {
            k: [i[k] for i in items] if k in lists else default_collate([i[k] for i in items])
            for k in items[0]
        }


class Arrays(Dataset[dict[str, torch.Tensor]]):
    """Finished items, one array per field."""

    def __init__(self, arrays: dict[str, torch.Tensor]) -> None:
        self.arrays = arrays

    def __len__(self) -> int:
        return len(self.arrays["scene_pc"])

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """Take a row of each."""
        return {name: array[index] for name, array in self.arrays.items()}


def data_module(store: Path, augment: dict[str, Any], num_points: int) -> GraspDataModule:
    """Return the data module with the settings of ``config/data/default.yaml``, but for the size of clouds."""
    cfg = load_group("data", "default")
    cfg.merge_with(
        {
            "store": str(store),
            "cloud": {"num_points": num_points},
            "hand": "leap_right",
            "loading": {"seed": 0, "quarantine": str(store.parent / "quarantine.jsonl")},
        }
    )
    cfg.augment = augment  # instead of what is there; given to build, it would be merged into it
    module: GraspDataModule = build(cfg)
    return module


def write_predecessor(path: Path, store: GraspStore, plain: Any, limit: int) -> None:
    """Write the items of a data set as the predecessor's cache does: a group for each chunk of grasps."""
    count = plain.settings.grasps.number
    with h5py.File(path, "w") as file:
        for position, entry in enumerate(plain.entries):
            item = entry.item
            scene = store.scene(item.scene)
            target, mesh = scene.objects[item.target], {}
            T = scene.T_world_object[item.target]
            mesh = {
                "obj_verts": target.vertices @ T[:3, :3].T + T[:3, 3],
                "obj_faces": target.faces.astype(np.int64),
            }
            others = [o.name for o in scene.objects if o.name != target.name][:4] or [""]
            for chunk in range(max(1, store.num_success(item.scene, item.target) // count)):
                if len(file) == limit:
                    return
                batch, _ = plain[chunk, position]
                pose = batch.hand_pose[0, :count].numpy()
                se3 = np.tile(np.eye(4, dtype=np.float32), (count, 1, 1))
                se3[:, :3, 3] = pose[:, :3]
                rgb = np.zeros((len(batch.scene_pc[0]), 3), np.float32)
                values = {
                    "scene_pc": np.concatenate([batch.scene_pc[0].numpy(), rgb], 1),
                    "object_mask": batch.object_mask[0].numpy(),
                    "hand_model_pose": pose,
                    "se3": se3,
                    **{k: v.astype(np.float32) if k == "obj_verts" else v for k, v in mesh.items()},
                }
                group = file.create_group(str(len(file)))
                for name, array in values.items():
                    group.create_dataset(name, data=array, compression="gzip", compression_opts=9)
                group["is_error"], group["error_msg"] = False, ""
                group["positive_prompt"] = target.name.replace("_", " ")
                group["negative_prompts"] = np.array((others * 4)[:4], dtype=object)


def drop_pages(path: Path) -> None:
    """Drop a file from the page cache."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def batches(num: int, limit: int, epoch: int) -> list[list[int]]:
    """Deal items to batches in random order, again where there are too few."""
    rng = np.random.default_rng(epoch)
    order = np.concatenate([rng.permutation(num) for _ in range(-(-limit // num))])[:limit].tolist()
    return [order[i : i + BATCH] for i in range(0, limit - BATCH + 1, BATCH)]


def cpu_s(pids: list[int]) -> float:
    """Return the processor time of processes with all their threads."""
    tasks = [task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def passes(loader: DataLoader[Any], limit: int) -> Iterator[dict[str, float]]:
    """Run through a loader twice; measured from the first batch to the last."""
    for _ in range(2):
        iterator = iter(loader)
        next(iterator)
        workers = [w.pid for w in loader._iterator._workers]  # type: ignore[union-attr]
        start, start_cpu, count = time.perf_counter(), cpu_s([os.getpid(), *workers]), 0
        for _batch in iterator:
            count += BATCH
        wall, cpu = time.perf_counter() - start, cpu_s([os.getpid(), *workers]) - start_cpu
        yield {"samples_per_s": count / wall, "cpu_us_per_sample": 1e6 * cpu / count}


def loader_of(layout: str, made: dict[str, Any], limit: int, workers: int) -> DataLoader[Any]:
    """Return a loader of a layout."""
    options: dict[str, Any] = {"num_workers": workers, "persistent_workers": True, "prefetch_factor": 2}
    if layout.startswith("store"):
        data = made[layout]
        listed = [[(0, i) for i in batch] for batch in batches(len(data), limit, 0)]
        quarantine = Quarantine(
            made["folder"] / "none.jsonl", num_items=len(data), max_fraction=0.0, holds=data.holds
        )
        return GraspLoader(data, listed, quarantine, None, **options)
    listed_plain = batches(len(made[layout]), limit, 0)
    collate = PredecessorCache.collate if layout == "predecessor" else None
    return DataLoader(made[layout], batch_sampler=listed_plain, collate_fn=collate, **options)


def main() -> None:
    """Measure and print."""
    parser = command_line(__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument(
        "--samples",
        type=int,
        default=256,
        help="of each pass; at most the items, so that a cold pass meets each for the first time",
    )
    parser.add_argument("--num-points", type=int, required=True, help="of a cloud")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument(
        "--folder", type=Path, help="where to write the layouts; a temporary folder by default"
    )
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        own, old = folder / "store.h5", folder / "predecessor.h5"
        with h5py.File(arguments.store) as source:
            repack(source, own, dict(source.attrs))
        default = load_group("data/augment", "default")
        plain_module = data_module(own, {}, arguments.num_points)
        plain: Any = plain_module.dataset("train", augment=False)
        write_predecessor(old, plain_module.store, plain, arguments.samples)
        batches = [plain[0, i][0] for i in range(min(len(plain), arguments.samples))]
        columns = {
            f: torch.cat([getattr(b, f) for b in batches])
            for f in batches[0].__dataclass_fields__
            if isinstance(getattr(batches[0], f), torch.Tensor)
        }
        made: dict[str, Any] = {
            "folder": folder,
            "predecessor": PredecessorCache(old),
            "memory": Arrays(columns),
        }
        measured: dict[str, dict[str, list[float]]] = {}
        for _ in range(arguments.rounds):
            for workers in (1, 2):
                for layout in LAYOUTS:
                    if layout.startswith("store"):  # opened anew: nothing remembered
                        augment = default if layout == "store" else {}
                        module = data_module(own, dict(augment), arguments.num_points)
                        made[layout] = module.dataset("train", augment=True)
                    drop_pages(own)
                    drop_pages(old)
                    loader = loader_of(layout, made, arguments.samples, workers)
                    for heat, found in zip(("cold", "warm"), passes(loader, arguments.samples), strict=True):
                        for key, value in found.items():
                            cell = measured.setdefault(f"{layout}, {workers} workers, {heat}", {})
                            cell.setdefault(key, []).append(value)
                    del loader
        sizes = {"store": own.stat().st_size, "predecessor": old.stat().st_size}
    medians = {
        k: {m: round(statistics.median(v), 1) for m, v in cell.items()} for k, cell in measured.items()
    }
    ratios = {}
    for workers in (1, 2):
        for heat in ("cold", "warm"):
            rate = {n: medians[f"{n}, {workers} workers, {heat}"] for n in LAYOUTS}
            for key, up in (("samples_per_s", 1), ("cpu_us_per_sample", -1)):
                for layout in ("store", "store_plain"):
                    ratios[f"{layout}, {workers} workers, {heat}, {key}"] = {
                        f"times_{other}": round((rate[layout][key] / rate[other][key]) ** up, 2)
                        for other in ("predecessor", "memory")
                    }
    result = {
        "store": arguments.store.name,
        "content_hash": plain_module.data_hash,
        "batch_size": BATCH,
        "num_points": arguments.num_points,
        "valid_points": round(float(made["memory"].arrays["point_valid"].sum(1).double().mean())),
        "samples_per_pass": arguments.samples,
        "rounds": arguments.rounds,
        "items": {"store": len(plain), "predecessor": made["predecessor"].num_items},
        "bytes": sizes,
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "median": medians,
        "ratios": ratios,
        "rounds_samples_per_s": {
            k: [round(x) for x in cell["samples_per_s"]] for k, cell in measured.items()
        },
    }
    write(result, arguments.output, seed=0, show=True)


if __name__ == "__main__":
    main()
