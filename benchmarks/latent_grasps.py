"""Diffusion of grasp states against diffusion of an autoencoder's codes, in equal processor time; several seeds.

    python -m benchmarks.latent_grasps --runs runs/latent_grasps --test-store data/test_all.h5 --pages

`states` is the quickstart's recipe with twelve scenes a step. `codes of 24` trains `experiment=grasp_vae` first, then
`experiment=grasp_latent` in fewer steps, so that both together cost about what the former does; what they cost stands
beside. All sample with the same solver and are lifted out of the same unseen scenes. Finished runs and tests are not
made again, so the command continues where it was stopped.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import csv
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from benchmarks.common import command_line, put_into_pages, table, write
from benchmarks.picking import rate
from benchmarks.trials import RECIPE, run, steps, train

TEMPERATURE, EVALUATIONS = 0.5, 8
TEST = (
    *("splits=[test]", "protocol=scene-lift", "baselines=null", "top=null", "pictures=0", "workers=1"),
    f"sampling.temperature={TEMPERATURE}",
    f"sampling.steps={EVALUATIONS}",
)
KEYS = ("picked", "picked_cleanly")


def code_words(size: int) -> list[str]:
    """Return the override of the size of a code."""
    return [f"model.generator.representation.autoencoder.code={size}"]


def trained(kind: str, seed: int, options: Any) -> dict[str, Any]:
    """Train a model; return its folder, and the processor seconds of it and of its autoencoder."""
    common = [*RECIPE[1:], "data.batch_size=12", f"data.store={options.store}", f"seed={seed}"]
    if kind == "states":
        folder = options.runs / f"states_{seed}"
        cost = train(folder, ["experiment=quickstart", *common, *steps(options.steps)])
        return {"folder": folder, "cpu_s": cost["cpu_s"], "vae_cpu_s": 0.0, "reconstruction_mm": 0.0}
    size = int(kind.split()[-1])
    vae, folder = options.runs / f"vae_{size}_{seed}", options.runs / f"codes_{size}_{seed}"
    first = train(vae, ["experiment=grasp_vae", *common, *code_words(size), *steps(options.vae_steps)])
    words = [f"model.objective.vae={vae / 'checkpoints' / 'last.ckpt'}", *code_words(size)]
    second = train(folder, ["experiment=grasp_latent", *words, *common, *steps(options.latent_steps)])
    return {
        "folder": folder,
        "cpu_s": round(first["cpu_s"] + second["cpu_s"], 1),
        "vae_cpu_s": first["cpu_s"],
        "reconstruction_mm": reconstruction_mm(vae),
    }


def lifted(folder: Path, options: Any) -> dict[str, Any]:
    """Test a model; return verdicts and scores by grasp, and how different grasps of an item are."""
    output = folder / "test"
    if not (output / "results.json").is_file():
        words = [
            f"checkpoint={folder / 'checkpoints' / 'last.ckpt'}",
            f"output={output}",
            f"store={options.test_store}",
        ]
        words += [f"max_items={options.items}", f"samples_per_item={options.samples}", *TEST]
        run("test_lightning.py", words, folder / "test.log")
    (found,) = json.loads((output / "results.json").read_text())["methods"]
    columns = {key: found["rows"][key] for key in (*KEYS, "object_name", "item", "score")}
    return columns | {"diversity": found["summary"]["diversity"]}


def reconstruction_mm(vae: Path) -> float:
    """Return how far points on hands of validation objects are from those that their codes stand for, on average."""
    with (vae / "metrics.csv").open() as file:
        return 1e3 * float(
            [row["val/hand_points"] for row in csv.DictReader(file) if row["val/hand_points"]][-1]
        )


def summarized(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the rates of a kind over its seeds: of all grasps, and of the best of each item by the learned score."""
    values = {key: np.concatenate([np.array(row[key]) for row in found]) for key in (*KEYS, "object_name")}
    best = np.concatenate([best_of_items(row) for row in found])
    objects = values["object_name"]
    return {
        "all": {key: rate(values[key], objects) for key in KEYS},
        "best": {key: rate(values[key][best], objects[best]) for key in KEYS},
        "by_seed": {key: [round(100 * float(np.mean(row[key])), 1) for row in found] for key in KEYS},
        "diversity": {
            key: round(float(np.mean([row["diversity"][key] for row in found])), 3)
            for key in found[0]["diversity"]
        },
        "cpu_s": round(float(np.mean([row["cpu_s"] for row in found]))),
        "vae_cpu_s": round(float(np.mean([row["vae_cpu_s"] for row in found]))),
        "reconstruction_mm": round(float(np.mean([row["reconstruction_mm"] for row in found])), 2),
    }


def best_of_items(row: dict[str, Any]) -> Bool[np.ndarray, "n"]:
    """Mark the grasp of each item whose learned score is highest."""
    item, score = np.array(row["item"]), np.array(row["score"])
    best = np.zeros(len(item), dtype=bool)
    for number in np.unique(item):
        best[np.flatnonzero(item == number)[score[item == number].argmax()]] = True
    return best


def measure(kind: str, seed: int, options: Any) -> dict[str, Any]:
    """Train and test one kind with one seed."""
    made = trained(kind, seed, options)
    return lifted(made.pop("folder"), options) | made


def tables(rows: dict[str, Any]) -> str:
    """Write the rates as a table."""
    lines = []
    for name, row in rows.items():
        cells = [f"{row['all'][key]['percent']:.0f} {_whole(row['all'][key]['by_object95'])}" for key in KEYS]
        cells += [f"{row['best'][key]['percent']:.0f}" for key in KEYS]
        spread, error = row["diversity"], row["reconstruction_mm"]
        cells.append(f"{spread['translation_mm']:.0f} mm, {spread['rotation_deg']:.0f}°")
        cells.append(f"{error:.1f} mm" if error else "")
        lines.append([name, *cells, f"{row['cpu_s']} ({row['vae_cpu_s']})"])
    header = [
        "what is denoised",
        "picked, %",
        "picked cleanly, %",
        "best of an item: picked",
        "picked cleanly",
    ]
    return table([*header, "spread", "error of codes", "processor s (autoencoder)"], lines)


def _whole(interval: list[float]) -> str:
    return f"[{interval[0]:.0f}, {interval[1]:.0f}]"


def main() -> None:
    """Run the benchmark."""
    parser = command_line(__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--store", type=Path, default=Path("data/quick.h5"), help="trained on")
    parser.add_argument("--test-store", type=Path, required=True)
    parser.add_argument("--kinds", nargs="*", default=["states", "codes of 24"])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=400, help="of the diffusion of states")
    parser.add_argument("--vae-steps", type=int, default=250)
    parser.add_argument("--latent-steps", type=int, default=260)
    parser.add_argument("--items", type=int, default=100)
    parser.add_argument("--samples", type=int, default=3, help="grasps of each item")
    parser.add_argument("--at-once", type=int, default=2, help="models that are trained at the same time")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--pages", action="store_true", help="put the table into docs/diffusion")
    options = parser.parse_args()
    for name in ("runs", "store", "test_store"):
        setattr(options, name, getattr(options, name).resolve())
    cells = [(kind, seed) for seed in options.seeds for kind in options.kinds]
    with ThreadPoolExecutor(options.at_once) as pool:  # each runs processes of its own
        made = [f.result() for f in [pool.submit(measure, kind, seed, options) for kind, seed in cells]]
    found = {
        kind: [m for m, cell in zip(made, cells, strict=True) if cell[0] == kind] for kind in options.kinds
    }
    rows = {kind: summarized(cells) for kind, cells in found.items()}
    document = {
        "what": f"{options.items} items of unseen objects, {options.samples} grasps of each, scene-lift",
        "sampling": {"temperature": TEMPERATURE, "evaluations": EVALUATIONS},
        "steps": {"states": options.steps, "autoencoder": options.vae_steps, "codes": options.latent_steps},
        "rows": rows,
    }
    write(document, options.output, seed=options.seeds)
    print(tables(rows))
    if options.pages:
        put_into_pages("diffusion", "python -m benchmarks.latent_grasps", tables(rows))


if __name__ == "__main__":
    main()
