from pathlib import Path

import numpy as np
import pytest

from factories.records import scene_record, with_parts, writer
from sceneleapultra.datasets import GraspStore
from sceneleapultra.evaluation.items import Item, choose, subsample_points
from sceneleapultra.evaluation.stored import chosen_items
from sceneleapultra.utils.geometry.points import farthest_point_order_numpy
from sceneleapultra.utils.parts import Part
from sceneleapultra.utils.records import SceneRecord

LABELS = [("box", f"box-{i // 3}") for i in range(9)] + [("mug", "mug-0")] * 3


def test_families_and_objects_take_turns():
    chosen = choose(LABELS, max_items=4, per_object=2, seed=0)
    names = [LABELS[i] for i in chosen]
    assert [family for family, _ in names] == ["box", "mug", "box", "mug"]
    assert len({name for family, name in names if family == "box"}) == 2


def test_no_object_more_often_than_allowed():
    chosen = choose(LABELS, max_items=100, per_object=2, seed=0)
    assert len(chosen) == 8  # 3 boxes and 1 mug, two views each
    assert len(set(chosen)) == 8


def test_more_items_extend_fewer_and_seeds_differ():
    few = choose(LABELS, max_items=3, per_object=3, seed=1)
    assert choose(LABELS, max_items=9, per_object=3, seed=1)[:3] == few
    assert len({tuple(choose(LABELS, max_items=9, per_object=3, seed=s)) for s in range(5)}) > 1


def test_nothing_cannot_be_chosen():
    with pytest.raises(ValueError, match="max_items and per_object must be at least 1"):
        choose(LABELS, max_items=0, per_object=1, seed=0)


def item(record: SceneRecord) -> Item:
    return Item(index=3, split="test", scene=record.scene, target=0, view=record.views[0])


@pytest.mark.parametrize("share", [0.5, 0.25, 0.1])
def test_a_thinned_item_keeps_a_share_of_every_block(training_records, share: float):
    whole = item(training_records[0])
    thin = subsample_points(whole, share, seed=0)
    kinds, counts = np.unique(whole.view.instance, return_counts=True)
    left, kept = np.unique(thin.view.instance, return_counts=True)
    assert left.tolist() == kinds.tolist()
    assert kept.tolist() == [int(np.ceil(share * n)) for n in counts]
    there = {tuple(point) for point in whole.view.points.tolist()}
    points = [tuple(point) for point in thin.view.points.tolist()]
    assert set(points) <= there and len(set(points)) == len(points)
    order = farthest_point_order_numpy(thin.target_points, len(thin.target_points))
    assert order.tolist() == list(range(len(order))), "blocks are in farthest-point order again"


def test_thinning_depends_on_seed_and_item_alone(training_records):
    whole = item(training_records[0])
    one, again, other = (subsample_points(whole, 0.3, seed).view.points for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5])
def test_a_share_that_is_none_is_refused(training_records, share: float):
    with pytest.raises(ValueError, match="points_share: expected more than 0 and at most 1, got"):
        subsample_points(item(training_records[0]), share, 0)


def test_items_by_part_name_one_that_successes_are_on(tmp_path: Path) -> None:
    """Of the two objects of a scene only the first has grasps on named parts."""
    made = writer(tmp_path / "parts.h5")
    for i in range(6):
        made.write(with_parts(scene_record(i, "test")))
    store = GraspStore(made.finish())
    settings = {"max_items": 99, "per_object": 2, "min_points": 20}
    items = chosen_items(store, "test", seed=0, by_part=True, **settings)
    assert {item.target for item in items} == {0}
    assert {item.part for item in items} == {Part.RIM, Part.HANDLE}
    again = chosen_items(store, "test", seed=0, **settings)
    named = {item.index: item.part for item in again}
    assert all(named[item.index] == item.part for item in items) and None in named.values()
