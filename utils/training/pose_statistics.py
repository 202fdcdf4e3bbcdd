"""What the numbers that a model learns look like on a data set: robust ranges, in a file that says whose they are."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from sceneleapultra.utils.core.compare import differences
from sceneleapultra.utils.core.files import write_atomically
from sceneleapultra.utils.requests import LearnedViews

PERCENTILES = (0.5, 99.5)  # a stray value does not stretch the range
_LEAST_SCALE = 1e-3  # of a number that hardly varies
_NAMED = 5  # differences that a sentence names


@dataclass(frozen=True)
class Statistics:
    """Statistics of some numbers, by name; mean and standard deviation are those of the values cut to the range."""

    describes: Mapping[str, Any]  # what they depend on, as plain containers: data_hash and frame among it
    count: int  # of rows
    numbers: Mapping[str, Mapping[str, float]]  # low, high (percentiles), min, max, mean, std
    views: LearnedViews | None = None  # what the clouds were like; None in files that do not say

    def __post_init__(self) -> None:
        """Make sure that states can be normalized by them.

        Raises:
            ValueError: a value is not finite, or no number varies.
        """
        bad = [
            f"{key} of {name} is {value}"
            for name, entry in self.numbers.items()
            for key, value in entry.items()
            if not np.isfinite(value)
        ]
        if self.views is not None:
            ranges = self.views.to_dict().items()
            bad += [f"{name} is {values}" for name, values in ranges if not np.isfinite(values).all()]
        if bad:
            raise ValueError(
                f"Statistics of poses: expected finite numbers, but {bad[0]}{' and so on' if bad[1:] else ''}. Look at "
                "the store: python scripts/inspect_dataset.py <store>."
            )
        if not (self._std > 0).any():
            raise ValueError(
                "Statistics of poses: no number varies. Are all grasps of the store the same? Look at it: "
                "python scripts/inspect_dataset.py <store>."
            )

    @classmethod
    def of(
        cls,
        values: Float[np.ndarray, "n d"],
        names: Sequence[str],
        describes: Mapping[str, Any],
        views: LearnedViews | None = None,
    ) -> "Statistics":
        """Measure.

        Raises:
            ValueError: fewer than two rows.
        """
        if len(values) < 2:
            raise ValueError(
                f"Statistics need at least 2 successful grasps within reach, got {len(values)}: is the store empty?"
            )
        low, high = np.percentile(values, PERCENTILES, axis=0)
        cut = values.clip(low, high)
        columns = {"low": low, "high": high, "min": values.min(0), "max": values.max(0)}
        columns |= {"mean": cut.mean(0), "std": cut.std(0, ddof=1)}
        numbers = {n: {key: float(c[i]) for key, c in columns.items()} for i, n in enumerate(names)}
        return cls(json.loads(json.dumps(describes)), len(values), numbers, views)

    @property
    def mean(self) -> Float[np.ndarray, "d"]:
        """Where zero is in normalized numbers."""
        return np.array([entry["mean"] for entry in self.numbers.values()])

    @property
    def scale(self) -> Float[np.ndarray, "d"]:
        """What one is in normalized numbers."""
        return np.maximum(self._std, _LEAST_SCALE)

    @property
    def spread(self) -> float:
        """Root mean square of all normalized numbers: 1, but for those that hardly vary."""
        return float(np.sqrt(np.mean((self._std / self.scale) ** 2)))

    @property
    def _std(self) -> Float[np.ndarray, "d"]:
        return np.array([entry["std"] for entry in self.numbers.values()])

    @property
    def key(self) -> str:
        """Hash of what they describe."""
        return digest(self.describes)


def digest(content: Mapping[str, Any]) -> str:
    """Hash plain containers."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_statistics(path: Path, statistics: Statistics) -> None:
    """Write a file with its own hash; it is there completely or not at all."""
    content = {
        "describes": dict(statistics.describes),
        "key": statistics.key,
        "count": statistics.count,
        "numbers": statistics.numbers,
        **({} if statistics.views is None else {"views": statistics.views.to_dict()}),
    }
    text = json.dumps({**content, "hash": digest(content)}, indent=1) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text))


def read_statistics(path: Path, describes: Mapping[str, Any]) -> Statistics:
    """Return the statistics in a file, for what they are to be used with.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no statistics, changed by hand, or of other data, another frame or other settings.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"No statistics at {path}. Make them with: python scripts/compute_statistics.py"
        )
    try:
        content = json.loads(path.read_text())
        written = content.pop("hash")
        views = LearnedViews.from_dict(content["views"]) if "views" in content else None
        found = Statistics(content["describes"], int(content["count"]), content["numbers"], views)
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} holds no statistics of poses ({error!r}). Compute them again.") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if written != digest(content):
        raise ValueError(f"{path} was changed after it was written: its hash differs. Compute it again.")
    wanted = json.loads(json.dumps(describes))
    if other := differences(found.describes, wanted, "{key} {old:.12} there, {new:.12} here"):
        named = other[:_NAMED] + ([f"{len(other) - _NAMED} more"] if len(other) > _NAMED else [])
        raise ValueError(
            f"{path} describes something else: {'; '.join(named)}. Leave statistics=null, which finds or measures "
            "those of this data and model, or name a file of them."
        )
    return found
