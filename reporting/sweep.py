"""The page of a sweep: its history, what each setting explains, and all trials."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sceneleapultra.reporting.curves import lines, shares
from sceneleapultra.reporting.html import table, write_page

_ENDED_EARLY, _FAILED = "ended early", "failed"
_WORDS = {
    "COMPLETE": "trained to its end",
    "PRUNED": _ENDED_EARLY,
    "FAIL": _FAILED,
    "RUNNING": "not ended yet",
}


def write_sweep_page(
    path: Path, trials: Sequence[Any], *, monitor: str, mode: str, shares_of: Mapping[str, float]
) -> Path:
    """Write the page.

    Args:
        path: of the page.
        trials: with Optuna's attributes: number, state, value, params, intermediate_values.
        monitor: the number that was compared.
        mode: whether the best is the min or the max.
        shares_of: importance of each setting, a share of one; empty where too few trials say nothing of it.
    """
    complete = [(trial.number, trial.value) for trial in trials if trial.state.name == "COMPLETE"]
    better = min if mode == "min" else max
    best = [(number, better(v for n, v in complete if n <= number)) for number, _ in complete]
    early = [
        (trial.number, list(trial.intermediate_values.values())[-1])
        for trial in trials
        if trial.state.name == "PRUNED"
    ]
    marks = {"trained to its end": complete, _ENDED_EARLY: early}
    history = lines(
        f"{monitor} of each trial",
        {"best so far": best},
        marks={name: points for name, points in marks.items() if points},
        x="trial",
    )
    curves = lines(
        f"{monitor} over steps", {f"trial {t.number}": sorted(t.intermediate_values.items()) for t in trials}
    )
    body = [history, "<h2>What the settings explain</h2>"]
    if shares_of:
        body.append(shares(shares_of))
        body.append(
            "<p class='legend'>Share of the lead of the best trials that a setting explains (PED-ANOVA).</p>"
        )
    else:
        body.append("<p>Too few trials were trained to their end: four are needed.</p>")
    body += ["<h2>Trials</h2>", curves, _table(trials, monitor)]
    return write_page("Sweep", body, [], path)


def _table(trials: Sequence[Any], monitor: str) -> str:
    keys = sorted({key for trial in trials for key in trial.params})
    rows = []
    for trial in trials:
        values = [
            f"{v:.4g}" if isinstance(v, float) else str(v)
            for v in (trial.params.get(key, "-") for key in keys)
        ]
        value = "-" if trial.value is None else f"{trial.value:.4g}"
        rows.append((str(trial.number), _WORDS.get(trial.state.name, trial.state.name), value, *values))
    return table(("trial", "how it ended", monitor, *keys), rows)
