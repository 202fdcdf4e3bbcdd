"""How the temperature of the initial noise is chosen: by success on validation objects, never on test."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sceneleapultra.evaluation.results import GraspResults

TUNING_FILE = "tuning.json"


def tune_temperature(
    measure: Callable[[float], GraspResults], temperatures: Sequence[float]
) -> dict[str, Any]:
    """Measure each temperature and return the curve with the best one; of equals, the highest (most diverse).

    Args:
        measure: evaluates the model on validation items at a temperature.
        temperatures: the grid.

    Raises:
        ValueError: the grid is empty, or a measurement is of another split than ``val``.
    """
    if not temperatures:
        raise ValueError("tuning.temperatures is empty; give at least one, or sampler.temperature=<number>.")
    curve = []
    for temperature in sorted(temperatures):
        result = measure(temperature)
        if result.split != "val":
            raise ValueError(f"The temperature is tuned on split val, never on {result.split}.")
        summary = result.summary()
        curve.append(
            {
                "temperature": temperature,
                "stable": summary["stable"],
                "stable_and_collision_free": summary["stable_and_collision_free"],
                "penetration_mm": summary["penetration_mm"],
                "joint_spread_rad": summary["diversity"]["joints_rad"],
                "num_grasps": summary["num_grasps"],
                "num_objects": summary["num_objects"],
            }
        )
    best = max(curve, key=lambda point: (point["stable"]["value"] or 0.0, point["temperature"]))
    sentence = (
        f"Tuned on {best['num_grasps']} grasps of {best['num_objects']} validation objects: "
        f"{best['temperature']:g} held best of {', '.join(format(p['temperature'], 'g') for p in curve)}. "
        "Lower noise trades diversity for precision."
    )
    return {"temperature": best["temperature"], "curve": curve, "sentence": sentence}


def write_tuning(run_dir: Path, tuning: dict[str, Any], settings: dict[str, Any]) -> None:
    """Keep what was tuned, and under which settings, in the run's folder."""
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / TUNING_FILE).write_text(json.dumps(tuning | {"settings": settings}, indent=2) + "\n")


def read_tuning(run_dir: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """Return what was tuned earlier under the same settings (checkpoint, store, protocol, grid), if anything was."""
    path = run_dir / TUNING_FILE
    if not path.is_file():
        return None
    tuning = json.loads(path.read_text())
    return tuning if tuning["settings"] == settings else None


def tuned_temperature(run_dir: Path) -> float:
    """Return the temperature that was tuned for a run.

    Raises:
        FileNotFoundError: none was.
    """
    path = run_dir / TUNING_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"temperature=tuned: there is no {path}. Run test_lightning.py on the checkpoint first, or name a "
            "temperature (0.5 is a fair guess; lower is more precise and less diverse)."
        )
    return float(json.loads(path.read_text())["temperature"])
