"""What a column says of itself, and how a table of verdicts is made, joined and reduced."""

from dataclasses import fields, replace

import numpy as np
import pytest

from sceneleapultra.utils.columns import COLUMNS, STORED_COLUMNS, Column
from sceneleapultra.utils.records import LabeledGrasps, Outcome
from sceneleapultra.utils.verdicts import VerdictTable


def table(**values) -> VerdictTable:
    known = {
        "object_name": ["a", "a", "b", "b"],
        "stable": [True, False, True, False],
        "outcome": [0, 4, 0, 7],
    }
    return VerdictTable.of("p", "1", {**known, **values})


def test_labels_of_a_data_set_are_the_stored_columns() -> None:
    names = [field.name for field in fields(LabeledGrasps)][1:]
    assert names == [column.name for column in STORED_COLUMNS]
    none = LabeledGrasps.none(16, 6)
    for column in STORED_COLUMNS:
        assert getattr(none, column.name).dtype == np.dtype(column.dtype)


def test_units_are_in_names_and_reduced_values_in_shown_units() -> None:
    for column in COLUMNS.values():
        assert column.help.endswith(".") and column.help[0].isupper()
    assert COLUMNS["penetration_m"].key == "penetration_mm"
    # 1 and 3 mm of the three that ran; the fourth, not run, is no trial: mean 2, median 2.
    summary = table(penetration_m=[0.001, 0.003, np.nan, 9.0]).summary()
    assert summary["penetration_mm"] == pytest.approx(2.0)
    assert summary["penetration_mm_median"] == pytest.approx(2.0)


def test_rates_are_over_the_trials_that_ran() -> None:
    summary = table().summary()
    assert (summary["stable"]["successes"], summary["stable"]["trials"]) == (2, 3)
    assert summary["outcomes"]["slipped"] == summary["outcomes"]["not_run"] == 1
    assert summary["stable_objects"] == 1.0
    assert table(penetration_m=np.full(4, np.nan)).summary()["penetration_mm"] is None


def test_no_grasps_at_all() -> None:
    summary = table(direction_success=np.zeros((4, 6), bool)).rows(slice(0)).summary()
    assert summary["stable"]["value"] is None and summary["direction_success"] == [None] * 6
    assert summary["num_grasps"] == 0


def test_rows_and_more_columns() -> None:
    some = table().rows(np.array([2, 0])).with_columns({"score": [0.5, 0.25]})
    assert some["object_name"].tolist() == ["b", "a"] and some["score"].tolist() == [0.5, 0.25]
    joined = VerdictTable.concatenate([some, some])
    assert len(joined) == 4 and joined["outcome"].tolist() == [Outcome.SUCCESS] * 4


def test_a_mistake_gets_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"Column 'tilt_deg' is not declared. Declare it in"):
        table(tilt_deg=np.zeros(4))
    with pytest.raises(ValueError, match=r"Columns of a table have one length, got .*score 3"):
        table(score=np.zeros(3))
    with pytest.raises(KeyError, match="no column 'score'; this table has object_name, stable, outcome"):
        table()["score"]
    with pytest.raises(ValueError, match="of one protocol can be joined, got none"):
        VerdictTable.concatenate([])
    with pytest.raises(ValueError, match="of the same columns can be joined"):
        VerdictTable.concatenate([table(), table(score=np.zeros(4))])
    with pytest.raises(ValueError, match="'depth' is in m, so its name must end in '_m': 'depth_m'"):
        Column("depth", "f8", "How deep.", unit="m")
    with pytest.raises(ValueError, match="'depth_m' cannot be shown in deg: known are m to mm"):
        replace(Column("depth_m", "f8", "How deep.", unit="m"), shown_unit="deg")
