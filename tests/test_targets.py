"""Does the table of targets say what the files of results say, and is what was not measured not called reached?"""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import targets
from benchmarks.common import RESULTS


def test_the_table_is_that_of_the_results() -> None:
    written = json.loads((RESULTS / "targets.json").read_text())
    assert written["rows"] == targets.document()["rows"], "run `make bench`"


def test_a_ratio_is_of_the_same_cells() -> None:
    """10,000 points, 128 tokens, single precision, as docs/encoders.md has them: 5053.9 against 914.3 ms."""
    theirs, ours, _ = targets.encoder_cells()
    assert (theirs["points"], theirs["tokens"]) == (ours["points"], ours["tokens"]) == (10000, 128)
    assert round(theirs["forward_backward_ms"] / ours["forward_backward_ms"], 1) == 5.5
    assert "453 % faster" in targets.training().measured


def pareto(folder: Path, forms: dict[str, tuple[float, float]]) -> None:
    """Write results of forms of a model: the size of their weights (MB), and what they cost (points)."""
    variants: dict[str, Any] = {
        name: {
            "megabytes": {"weights_mb": size},
            "compared": {"items": 480}
            | {
                key: {"difference": points, "difference95": [points - 1.0, points + 1.0]}
                for key, points in (("picked_cleanly", 0.0), ("picked", -cost))
            },
        }
        for name, (size, cost) in forms.items()
    }
    (folder / "pareto.json").write_text(json.dumps({"machine": "here", "variants": variants}))


def test_a_size_is_reached_where_it_costs_at_most_a_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "RESULTS", tmp_path)
    assert targets.size().reached == "no" and "nothing yet" in targets.size().measured
    pareto(tmp_path, {"float32": (4.0, 0.0), "bf16 weights": (2.2, 0.0)})
    assert targets.size().reached == "no" and "45 % less" in targets.size().measured
    pareto(tmp_path, {"float32": (4.0, 0.0), "bf16 weights": (2.0, 1.0), "int8 weights": (1.0, 1.1)})
    assert targets.size().reached == "yes" and targets.size().measured.startswith("bf16 weights: 2.00 MB")
