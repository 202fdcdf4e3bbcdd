"""What is known of a grasp after it was tried: every quantity once, with its type, unit, reduction and meaning.

The simulator fills these columns, the store keeps some of them, evaluation reduces them, the report prints them. A new
metric is one more ``Column`` and the function that measures it, see ``simulation/protocols/metrics.py``.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Reduction = Literal["rate", "mean", "median", "count"]
# Factor from a column's unit to the one it is shown in.
_FACTORS = {("m", "mm"): 1e3, ("rad", "deg"): 180.0 / np.pi, ("", "%"): 100.0}


@dataclass(frozen=True)
class Column:
    """A quantity of each grasp.

    Attributes:
        name: of the column; ends in ``_<unit>``, in small letters, where there is one.
        dtype: in memory, as numpy spells it; "text" for strings.
        help: one sentence for the reader of a report.
        unit: of the values: SI, or deg.
        shown_unit: of a reduced value; the same as ``unit`` where empty.
        row: shape of one row; -1 where the protocol decides (not of a trial's or a metric's own column).
        reductions: how many grasps become one number. ``rate``: share of the trials, with intervals. ``mean`` and
            ``median``: over what was measured (not NaN). ``count``: of each outcome. Empty: no number of its own.
        stored: its type in a data set; empty where no data set keeps it.
    """

    name: str
    dtype: str
    help: str
    unit: str = ""
    shown_unit: str = ""
    row: tuple[int, ...] = ()
    reductions: tuple[Reduction, ...] = ("mean",)
    stored: str = ""

    def __post_init__(self) -> None:
        suffix = f"_{self.unit.lower()}"
        if self.unit and not self.name.endswith(suffix):
            raise ValueError(
                f"Column '{self.name}' is in {self.unit}, so its name must end in '{suffix}': '{self.name}{suffix}'."
            )
        if self.shown_unit and self.shown_unit != self.unit and (self.unit, self.shown_unit) not in _FACTORS:
            known = ", ".join(f"{a or '1'} to {b}" for a, b in _FACTORS)
            raise ValueError(
                f"Column '{self.name}' cannot be shown in {self.shown_unit}: known are {known}. Leave shown_unit empty."
            )

    @property
    def key(self) -> str:
        """Name of the reduced value: ``penetration_mm`` of ``penetration_m``."""
        if not self.shown_unit or self.shown_unit == "%":
            return self.name
        return f"{self.name.removesuffix(self.unit)}{self.shown_unit}"

    def key_of(self, reduction: Reduction) -> str:
        """Name of one of several reductions: the first has the column's own key."""
        return self.key if reduction == self.reductions[0] else f"{self.key}_{reduction}"

    def array(self, values: Any) -> np.ndarray:
        """Return values as an array of this column's type."""
        return np.asarray(values, dtype=object if self.dtype == "text" else self.dtype)

    def mean(self, values: np.ndarray) -> float | list[float | None] | None:
        """Return the mean over grasps of what was measured, in the shown unit; one for each entry of a row."""
        if self.row:
            return [float(column.mean()) if len(column) else None for column in values.T]
        return self._reduced(np.nanmean, values)

    def median(self, values: np.ndarray) -> float | None:
        """Return the median over grasps of what was measured, in the shown unit."""
        return self._reduced(np.nanmedian, values)

    def _reduced(self, reduce: Any, values: np.ndarray) -> float | None:
        factor = 1.0 if self.shown_unit in ("", self.unit) else _FACTORS[self.unit, self.shown_unit]
        values = values.astype(float)
        return float(reduce(factor * values)) if np.isfinite(values).any() else None


COLUMNS: dict[str, Column] = {
    column.name: column
    for column in (
        # Which grasp it is.
        Column("object_name", "text", "Object that was grasped.", reductions=()),
        Column("family", "text", "Family of the object.", reductions=()),
        Column("item", "i8", "Number of the test item in its store.", reductions=()),
        Column("score", "f8", "What the method itself thinks of the grasp; higher is better.", reductions=()),
        # What a trial says.
        Column("stable", "?", "The hand held the object through the whole protocol.", reductions=("rate",)),
        Column(
            "collision_free",
            "?",
            "The hand touched neither table nor neighbors, at pre-grasp and grasp.",
            reductions=("rate",),
        ),
        Column(
            "success",
            "?",
            "Stable and collision-free; in a converted data set: claimed to be.",
            reductions=(),
            stored="?",
        ),
        Column(
            "direction_success",
            "?",
            "Stable in each direction of the protocol.",
            row=(-1,),
            stored="?",
        ),
        Column("outcome", "u1", "How the trial ended.", reductions=("count",), stored="u1"),
        Column(
            "displacement_m",
            "f8",
            "How far the object moved at most under the force.",
            unit="m",
            shown_unit="mm",
            reductions=(),
        ),
        Column(
            "angle_deg",
            "f8",
            "How far the object turned at most under the force.",
            unit="deg",
            reductions=(),
        ),
        # What a pull of rising force says besides.
        Column(
            "force_margin",
            "f8",
            "Largest force withstood in every direction, in weights of the object.",
            reductions=("mean", "median"),
        ),
        # What a lift out of the scene says besides.
        Column(
            "picked_cleanly",
            "?",
            "Picked, and neither table nor neighbors were pressed or shoved more than the protocol allows.",
            reductions=("rate",),
        ),
        Column(
            "picked",
            "?",
            "At the end the object was up by the protocol's height, touched by the hand.",
            reductions=("rate",),
        ),
        Column(
            "approach_m",
            "f8",
            "Where the hand started, seen from the grasp, world frame.",
            unit="m",
            row=(3,),
            reductions=(),
        ),
        Column(
            "rise_m",
            "f8",
            "How far up the object was at the end, where a lift was begun.",
            unit="m",
            shown_unit="mm",
        ),
        Column("table_force_n", "f8", "Largest force of the hand on the table in the approach.", unit="N"),
        Column("neighbor_force_n", "f8", "Largest force of the hand on neighbors in the approach.", unit="N"),
        Column("closing_force_n", "f8", "Largest force of the hand on the table while it closed.", unit="N"),
        Column(
            "neighbor_shift_m",
            "f8",
            "How far a neighbor was moved at most.",
            unit="m",
            shown_unit="mm",
        ),
        Column(
            "target_shift_m",
            "f8",
            "How far the object was moved before the hand closed.",
            unit="m",
            shown_unit="mm",
        ),
        Column(
            "turn_in_hand_deg",
            "f8",
            "Angle the object turned in the hand from squeeze to end.",
            unit="deg",
            reductions=("median", "mean"),
        ),
        # What is measured at the grasp, nothing moving.
        Column(
            "penetration_m",
            "f8",
            "Hand in object, at the grasp.",
            unit="m",
            shown_unit="mm",
            reductions=("mean", "median"),
            stored="f4",
        ),
        Column(
            "self_penetration_m",
            "f8",
            "Hand in itself, at the grasp.",
            unit="m",
            shown_unit="mm",
            stored="f4",
        ),
        Column("contact_links", "i8", "Links of the hand that touch the object, at the grasp."),
        Column(
            "contact_distance_m",
            "f8",
            "Mean distance of the fingers to the object, at most the protocol's margin.",
            unit="m",
            shown_unit="mm",
        ),
        Column(
            "contact_consistency_m",
            "f8",
            "Largest less least distance of a finger to the object; 0 is best.",
            unit="m",
            shown_unit="mm",
        ),
        Column(
            "clearance_m",
            "f8",
            "Least distance of the hand to table and neighbors, negative inside.",
            unit="m",
            shown_unit="mm",
            reductions=(),
            stored="f4",
        ),
        Column(
            "robustness",
            "f8",
            "Share of repetitions with a displaced hand that succeeded.",
            reductions=(),
            stored="f4",
        ),
        Column(
            "grasp_type",
            "u1",
            "What kind of grasp it is, by the links that touch: power, precision or lateral.",
            reductions=(),
            stored="u1",
        ),
        Column(
            "held_part",
            "u1",
            "Part of the object that most of the touching links are on, by its number; 0 where it has no name.",
            reductions=(),
            stored="u1",
        ),
        Column(
            "touched_parts",
            "u2",
            "Parts of the object that any link touches, a bit for each.",
            reductions=(),
            stored="u2",
        ),
        Column(
            "on_part",
            "?",
            "Most touching links are on the part that the prompt names.",
            shown_unit="%",
        ),
        Column(
            "off_part",
            "?",
            "No link touches the part that the prompt names; also true of a grasp that touches nothing.",
            shown_unit="%",
        ),
        Column(
            "disturbance",
            "f8",
            "Largest share of what a clean pick may do to table and neighbors that was used up; above 1: not clean.",
            reductions=("median",),
            stored="f4",
        ),
    )
}
STORED_COLUMNS = tuple(column for column in COLUMNS.values() if column.stored)
