"""The constants of a lift out of a scene; ``config/protocol/scene-lift.yaml`` says what each number means."""

from dataclasses import dataclass

import numpy as np

from sceneleapultra.simulation.protocols.spec import ObjectModel
from sceneleapultra.simulation.protocols.trials.lift_watch import LiftWatch
from sceneleapultra.simulation.scene import solid_volume
from sceneleapultra.utils.records import ObjectRecord


@dataclass(frozen=True, kw_only=True)
class ObjectWeight:
    """What the objects weigh: all the same, or as large as they are.

    Raises:
        ValueError: both or none are given.
    """

    mass_kg: float | None
    density_kg_m3: float | None

    def __post_init__(self) -> None:
        if (self.mass_kg is None) == (self.density_kg_m3 is None):
            raise ValueError(
                f"weight: expected mass_kg or density_kg_m3 and null for the other, got {self.mass_kg} and "
                f"{self.density_kg_m3}."
            )

    def model(self, record: ObjectRecord) -> ObjectModel:
        """Return an object of this weight."""
        mass_kg = self.mass_kg
        if mass_kg is None:
            assert self.density_kg_m3 is not None
            mass_kg = self.density_kg_m3 * solid_volume(record)
        return ObjectModel.solid(record, mass_kg)


@dataclass(frozen=True, kw_only=True)
class LiftTiming:
    """How long each part takes, in seconds."""

    rest_s: float
    approach_s: float
    wait_s: float
    close_s: float
    squeeze_s: float
    settle_s: float
    lift_s: float
    stay_s: float
    still_m: float
    still_s: float
    read_s: float


@dataclass(frozen=True, kw_only=True)
class LiftMotion:
    """Where the hand goes with what it holds."""

    height_m: float
    max_tilt_deg: float
    shake_m: float
    shake_hz: float
    shake_s: float


@dataclass(frozen=True, kw_only=True)
class PickRule:
    """When an object counts as picked, and when a lift is given up."""

    min_rise_m: float
    any_object: bool
    touched: bool
    give_up_share: float
    give_up_rise_m: float


@dataclass(frozen=True, kw_only=True)
class CleanRule:
    """What a clean pick may do to its surroundings, and what the reasons of a failed one are."""

    max_force_n: float | None
    max_neighbor_shift_m: float | None
    max_target_shift_m: float
    max_target_turn_deg: float
    max_closing_force_n: float

    def disturbance(self, watch: LiftWatch) -> float:
        """Return the largest share of a limit that was used up, above 1 beyond it; NaN where the hand did not come."""
        forces = np.array([watch.table_force_n, watch.neighbor_force_n]) / (self.max_force_n or np.inf)
        shift = watch.neighbor_shift_m / (self.max_neighbor_shift_m or np.inf)
        return float(np.fmax.reduce([*forces, shift]))
