"""Makes the records beside the tests importable, and offers a small finished store."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from records_under_test import scene_record

from datasets import StoreWriter
from hands import load_hand

SPLITS = ["train"] * 6 + ["val"] * 2 + ["test"] * 2 + ["test_family"] * 2


def writer(path: Path, **changes) -> StoreWriter:
    settings = {"protocol": "dgb-fc-quick", "protocol_hash": "p", "generator": {"scenes": 12}, "seed": 0}
    return StoreWriter(path, hand=load_hand("leap_right"), **{**settings, **changes})


@pytest.fixture
def records():
    return [scene_record(i, split) for i, split in enumerate(SPLITS)]


@pytest.fixture
def store_path(tmp_path, records) -> Path:
    w = writer(tmp_path / "store.h5")
    for record in records:
        w.write(record)
    return w.finish()
