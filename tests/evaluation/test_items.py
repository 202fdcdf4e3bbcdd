import pytest

from evaluation.items import choose

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
