"""Which of the project's targets of cost are reached? One row for each, from what the other programs measured.

``python -m benchmarks.targets`` (``make bench``) measures nothing: it reads ``benchmarks/results``, prints the table
and writes ``targets.json``. A ratio is of two numbers of one file, so of one machine; the field's way is the one of
``benchmarks/reference_pointnet2.py``, and 100 ancestral steps, each of which encodes the scene.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, command_line, table, write


@dataclass(frozen=True)
class Row:
    """A target beside what was measured.

    Attributes:
        target: what was aimed at.
        measured: what was compared with what, and how far apart they are.
        reached: yes, no, or in part; what the numbers show.
        machine: where.
        file: the results that it is read from.
        open: what they do not show.
    """

    target: str
    measured: str
    reached: str
    machine: str
    file: str
    open: str


def read(name: str) -> Any:
    """Read results."""
    return json.loads((RESULTS / name).read_text())


def encoder_cells() -> tuple[dict[str, Any], dict[str, Any], str]:
    """Return the field's encoder and ours of the same widths and tokens, for 10,000 points, and where they ran."""
    found = read("encoders_AMD_EPYC_2_cores.json")
    cells = {
        cell["encoder"]: cell
        for cell in found["cells"]
        if (cell["points"], cell["precision"], cell.get("tokens")) == (10000, "fp32", 128)
    }
    return cells["reference"], cells["pointnet2_predecessor"], found["machine"]


def training() -> Row:
    """Compare the time of an encoder's step; the rest of a step has no counterpart."""
    theirs, ours, where = encoder_cells()
    faster = theirs["forward_backward_ms"] / ours["forward_backward_ms"]
    step = read("latency.json")["measured"]["training_step"]["time_ratio"]
    return Row(
        "training 50 to 100 % faster",
        f"encoder forward and backward, 10,000 points, equal widths and tokens: {100 * (faster - 1):.0f} % faster; a "
        f"whole step takes {step:.2f} of the time before its launches were counted",
        f"{verdict(faster >= 1.5)}, by the encoder on a CPU",
        where,
        "encoders_AMD_EPYC_2_cores.json",
        "on a GPU: the reference was not measured there, launches rather than arithmetic bound both",
    )


def memory() -> Row:
    """Compare what an encoder's step holds."""
    theirs, ours, where = encoder_cells()
    less = 1.0 - ours["forward_backward_peak_mb"] / theirs["forward_backward_peak_mb"]
    worst = max(abs(row["error_percent"]) for row in read("plan.json")["rows"])
    return Row(
        "memory 40 to 60 % less",
        f"the same encoders, resident memory of forward and backward: {100 * less:.0f} % less; `sceneleap plan` "
        f"foretells a step within {worst:.0f} %",
        f"{verdict(less >= 0.4)}, by the encoder on a CPU",
        where,
        "encoders_AMD_EPYC_2_cores.json",
        "the allocator's peak on a GPU",
    )


def inference() -> Row:
    """Compare ways to sample with one network."""
    found = read("sampling_cost.json")
    outcomes = next(part for part in found.values() if isinstance(part, dict) and "ddpm 100" in part)
    ratio = {number: found["cost"][number]["ddim 8"]["ratio"] for number in ("8 grasps", "64 grasps")}
    held = {way: 100 * outcomes[way]["stable"]["value"] for way in ("ddpm 100", "ddim 8")}
    return Row(
        "inference 3 to 5 times as fast",
        f"8 steps, the scene encoded once, against the field's way: {ratio['8 grasps']:.1f} times as fast for 8 "
        f"grasps, {ratio['64 grasps']:.1f} for 64; {held['ddim 8']:.1f} % held, {held['ddpm 100']:.1f} % before",
        f"{verdict(min(ratio.values()) >= 3.0)}, on a CPU",
        "a processor, one thread",
        "sampling_cost.json",
        "the time of 100 grasps as one CUDA graph",
    )


def size() -> Row:
    """Compare the weights of a model's forms, of those that cost at most a point of what is picked."""
    name, aim = "pareto.json", "size 50 to 75 % less"
    if not (RESULTS / name).is_file():
        return Row(aim, "nothing yet", "no", "", name, "`python -m benchmarks.pareto` measures it")
    found = read(name)
    forms = {variant: row for variant, row in found["variants"].items() if "compared" in row}
    kept = {variant: row for variant, row in forms.items() if cost(row) <= 1.0}
    sizes = {variant: row["megabytes"]["weights_mb"] for variant, row in kept.items()}
    full = max(sizes.values())
    smallest = min(sizes, key=lambda variant: sizes[variant])
    less, of = 1.0 - sizes[smallest] / full, kept[smallest]["compared"]
    low, high = of["picked_cleanly"]["difference95"]
    return Row(
        aim,
        f"{smallest}: {sizes[smallest]:.2f} MB of weights instead of {full:.2f}, {100 * less:.0f} % less; picked "
        f"cleanly {of['picked_cleanly']['difference']:+.1f} points [{low:+.1f}, {high:+.1f}] of {of['items']} items",
        verdict(less >= 0.5),
        found["machine"],
        name,
        "forms that cost more than a point, which the same file holds, count for nothing here",
    )


def cost(row: dict[str, Any]) -> float:
    """Return how many points a form of a model loses, picked cleanly or picked, whichever is more."""
    return -min(float(row["compared"][key]["difference"]) for key in ("picked_cleanly", "picked"))


TARGETS: tuple[Callable[[], Row], ...] = (training, memory, inference, size)


def verdict(reached: bool) -> str:
    """Say whether a number is past its target."""
    return "yes" if reached else "no"


def document() -> dict[str, Any]:
    """Return all rows."""
    return {"rows": [asdict(target()) for target in TARGETS]}


def as_markdown(rows: list[dict[str, str]]) -> str:
    """Return the table."""
    head = ["target", "reached", "measured", "on", "not shown"]
    return table(head, [[r["target"], r["reached"], r["measured"], r["machine"], r["open"]] for r in rows])


def main() -> None:
    """Print the table and write the file."""
    parser = command_line(__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS / "targets.json")
    arguments = parser.parse_args()
    made = document()
    print(as_markdown(made["rows"]))
    write(made, arguments.out, seed=None)


if __name__ == "__main__":
    main()
