"""A data module over a small store, and batches of it to compare."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from factories.records import CHOICE, PROCESSOR
from sceneleapultra.datasets import GraspDataModule
from sceneleapultra.datasets.items.loading import LoadingSettings
from sceneleapultra.utils.batch import GraspBatch

LOADING = LoadingSettings(
    workers=0,
    prefetch="auto",
    cache_mb=16,
    staging=None,
    augment_on="workers",
    max_bad_fraction=0.0,
    quarantine="",
    progressive=(),
    seed=0,
)


def module(
    store: Path | str, *, kind: type[GraspDataModule] = GraspDataModule, **changes: Any
) -> GraspDataModule:
    """Return a data module with changes of its own keys, or of its cloud's, grasps' and loading's."""
    loading = replace(LOADING, quarantine=str(Path(store).parent / "quarantine.jsonl"))
    parts = {}
    for name, part in {"cloud": PROCESSOR, "grasps": CHOICE, "loading": loading}.items():
        own = {key: changes.pop(key) for key in list(changes) if key in part.__dataclass_fields__}
        parts[name] = replace(part, **own)
    rest = {
        "store": str(store),
        "root": None,
        "conversion": None,
        "hand": "leap_right",
        "batch_size": 4,
        "min_points": 20,
        "colors": False,
        "prompt": "none",
        "augment": {
            "yaw": {"probability": 1.0, "max_deg": 180.0},
            "jitter": {"probability": 1.0, "sigma_m": 1e-3},
        },
    }
    return kind(**parts, **{**rest, **changes})


def assert_equal(first: list[GraspBatch], second: list[GraspBatch]) -> None:
    assert [b.item_index for b in first] == [b.item_index for b in second]
    for a, b in zip(first, second, strict=True):
        for name in a.__dataclass_fields__:
            x, y = getattr(a, name), getattr(b, name)
            if isinstance(x, Tensor):
                torch.testing.assert_close(x, y, rtol=0, atol=0, equal_nan=True, msg=name)
            else:
                assert x == y


def epochs(loader: Any, n: int) -> list[GraspBatch]:
    return [batch for _ in range(n) for batch in loader]
