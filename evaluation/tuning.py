"""How the temperature of the initial noise is chosen: by success on validation objects, never on test."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sceneleapultra.evaluation.provenance import file_hash
from sceneleapultra.evaluation.results import GraspResults
from sceneleapultra.models.sampling_config import SamplingConfig
from sceneleapultra.utils.core.files import read_json_object, write_json

TUNING_FILE = "tuning.json"
_LARGEST = 2.0  # temperature; twice the noise a model was trained with is no sampling of it any more
_ENOUGH = 8  # objects from which others use a tuned temperature; a test uses its own in any case
_REMEDY = "Remove it, and run test_lightning.py, which tunes again."


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
        raise ValueError("tuning.temperatures is empty; give at least one, or sampling.temperature=<number>.")
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


def tuned_for(checkpoint: Path, sampling: SamplingConfig) -> dict[str, Any]:
    """Return what a temperature is tuned for: a checkpoint, and how it is sampled from otherwise."""
    return {"checkpoint": file_hash(checkpoint), "sampling": repr((sampling.solver, sampling.guidance))}


def write_tuning(run_dir: Path, tuning: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Keep what was tuned, and under which settings, in the run's folder; return it as it will be read."""
    tuning = json.loads(json.dumps(tuning | {"settings": settings}))
    run_dir.mkdir(parents=True, exist_ok=True)
    write_json(run_dir / TUNING_FILE, tuning, indent=2)
    return tuning


def read_tuning(run_dir: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """Return what was tuned earlier under the same settings (checkpoint, store, protocol, grid), if anything was.

    Raises:
        ValueError: the file is damaged, or its temperature is none.
    """
    tuning = _read(run_dir / TUNING_FILE)
    if tuning is None:
        return None
    return tuning if tuning["settings"] == json.loads(json.dumps(settings)) else None


def tuned_temperature(run_dir: Path, settings: dict[str, Any]) -> float:
    """Return the temperature that was tuned for a checkpoint and a way of sampling.

    Args:
        run_dir: folder of the checkpoint's run.
        settings: of :func:`tuned_for`.

    Raises:
        FileNotFoundError: none was.
        ValueError: the file is damaged, its temperature is none, or it was tuned for something else, or on too few
            objects.
    """
    path = run_dir / TUNING_FILE
    if (tuning := _read(path)) is None:
        raise FileNotFoundError(
            f"temperature=tuned: there is no {path}. Run test_lightning.py on the checkpoint first, or name a "
            "temperature (0.5 is a fair guess; lower is more precise and less diverse)."
        )
    for key, wanted in settings.items():
        if (found := tuning["settings"].get(key)) != wanted:
            raise ValueError(
                f"temperature=tuned: {path} was tuned for {key} {found}, this is {wanted}. Run test_lightning.py with "
                "these settings, or name a temperature."
            )
    if (objects := _fewest_objects(tuning)) < _ENOUGH:
        raise ValueError(
            f"temperature=tuned: {path} was tuned on {objects} objects, {_ENOUGH} are needed to tell temperatures "
            f"apart. Run test_lightning.py with tuning.max_items={_ENOUGH} or more, or name a temperature."
        )
    return float(tuning["temperature"])


def _fewest_objects(tuning: dict[str, Any]) -> int:
    curve = tuning.get("curve")
    points = [point for point in curve if isinstance(point, dict)] if isinstance(curve, list) else []
    return min((int(point.get("num_objects", 0)) for point in points), default=0)


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    tuning = read_json_object(path, _REMEDY)
    temperature = tuning.get("temperature")
    if not isinstance(tuning.get("settings"), dict):
        raise ValueError(f"{path} does not say what it was tuned under: it has no 'settings'. {_REMEDY}")
    if not isinstance(temperature, int | float) or not 0 <= temperature <= _LARGEST:
        raise ValueError(f"{path}: temperature={temperature}, expected 0 to {_LARGEST:g}. {_REMEDY}")
    return tuning
