"""A data module over a small store, and batches of it to compare."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from factories.records import CHOICE, PROCESSOR
from sceneleapultra.datasets import GraspDataModule
from sceneleapultra.utils.batch import GraspBatch


def module(store: Path | str, **changes: Any) -> GraspDataModule:
    settings = {
        "frame": PROCESSOR.frame,
        **PROCESSOR.settings,
        "points": PROCESSOR.points,
        "colors": False,
        "num_grasps": CHOICE.number,
        "num_failures": CHOICE.failures,
        "min_robustness": 0.0,
        "min_clearance_m": 0.0,
    }
    rest = {
        "store": str(store),
        "root": None,
        "conversion": None,
        "hand": "leap_right",
        "batch_size": 4,
        "min_points": 20,
        "grasp_strategy": CHOICE.strategy,
        "grasp_chunks": None,
        "grasp_shares": CHOICE.shares,
        "grasp_distance": CHOICE.distance,
        "augment": {
            "yaw": {"probability": 1.0, "max_deg": 180.0},
            "jitter": {"probability": 1.0, "sigma_m": 1e-3},
        },
        "augment_on": "workers",
        "prompt": "none",
        "staging": None,
        "num_workers": 0,
        "prefetch": "auto",
        "cache_mb": 16,
        "max_bad_fraction": 0.0,
        "quarantine": str(Path(store).parent / "quarantine.jsonl"),
        "seed": 0,
    }
    return GraspDataModule(**{**settings, **rest, **changes})


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
