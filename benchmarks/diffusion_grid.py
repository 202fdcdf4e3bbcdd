"""Compare {ddpm, edm, flow} x {dit, unet} and a cvae on one store, then samplers at numbers of evaluations.

    python -m benchmarks.diffusion_grid data/quick.h5 --steps 300 --items 8

Every model is trained by train_lightning.py for the same number of steps and judged by test_lightning.py; a part that
is done already is not done again, so the command continues where it was stopped. Writes
benchmarks/results/diffusion_grid.json, and the plot of docs/diffusion.md.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import RESULTS, ROOT, command_line, write

PROCESSES = {
    "ddpm": [
        "model/generator/process=ddpm",
        "model.generator.process.prediction=v",
        "model/objective/weighting=bounded_v",
    ],
    "edm": ["model/generator/process=edm", "model/objective/weighting=edm"],
    "flow": [
        "model/generator/process=flow",
        "model.generator.process.prediction=u",
        "model/objective/weighting=velocity",
    ],
}
DECODERS = {"dit": ["model/generator/decoder=dit"], "unet": ["model/generator/decoder=unet"]}
SIZE = ["model.generator.decoder.dim=96", "model.generator.decoder.depth=3"]
# About ten evaluations each.
OWN = {"ddpm": ("dpmpp_2m", 10), "edm": ("edm_heun", 6), "flow": ("heun", 6), "cvae": ("prior", 1)}
SWEEP = {"ddim": 1, "euler": 1, "dpmpp_2m": 1, "heun": 2, "edm_heun": 2, "rk4": 4, "consistency": 1}
EVALUATIONS = (1, 2, 4, 8, 16, 32, 100)
NEAR = (0.05, 45.0)  # m and degrees of the palm within which a grasp covers another


def main() -> None:
    """Train, judge, tabulate."""
    parser = command_line(__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("--steps", type=int, default=300, help="training steps of every model")
    parser.add_argument("--items", type=int, default=12, help="views judged")
    parser.add_argument("--samples", type=int, default=8, help="grasps judged for each")
    parser.add_argument("--temperature", type=float, default=0.5)
    parser.add_argument("--evaluations", type=int, nargs="*", default=EVALUATIONS)
    parser.add_argument("--samplers", nargs="*", default=list(SWEEP))
    parser.add_argument(
        "--swept", default="flow-dit", help="model of the sweep over samplers, and the teacher"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/diffusion_grid"))
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin nothing after this long")
    options = parser.parse_args()
    Grid(options).run()


class Grid:
    """What is done and what is left of the comparison."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.end = time.monotonic() + 60 * options.minutes
        self.skipped: list[str] = []

    def run(self) -> None:
        """Do what is left, as far as time allows; write what there is."""
        cells = []
        for process, of_process in PROCESSES.items():
            for decoder, of_decoder in DECODERS.items():
                name = f"{process}-{decoder}"
                sampler, steps = OWN[process]
                cells.append(self.cell(name, [*of_process, *of_decoder, *SIZE], sampler, steps))
        cells.append(self.cell("cvae", ["model=grasp_cvae"], *OWN["cvae"]))
        sweep = [point for point in self.sweep() if point]
        document = {
            "grid": [cell for cell in cells if cell],
            "sweep": sweep,
            "not_run": self.skipped,
        }
        write(document, RESULTS / "diffusion_grid.json", seed=0)
        plot(sweep, ROOT / "docs" / "pictures" / "diffusion_sweep.png")

    def sweep(self) -> list[dict[str, Any] | None]:
        """Judge the swept model, and its student, at rising numbers of evaluations."""
        o = self.options
        models = {x: self.student() if x == "consistency" else self.trained(o.swept, []) for x in o.samplers}
        rows: list[dict[str, Any] | None] = []
        for name, model in models.items():
            if model is None:
                continue
            # N steps of a method with k stages cost k (N - 1) + 1 evaluations; the most that fit.
            counts = {(n - 1) // SWEEP[name] + 1 for n in o.evaluations if n <= 4 or name != "consistency"}
            for steps in sorted(counts):
                # One evaluation is the same jump from noise to data, whatever the method.
                sampler = "ddim" if steps == 1 and name != "consistency" else name
                row = self.labeled(f"{o.swept}, {sampler} {steps}", model, sampler, steps)
                rows.append(row and row | {"sampler": name})
        return rows

    def cell(self, name: str, overrides: list[str], sampler: str, steps: int) -> dict[str, Any] | None:
        """Train a model and judge it."""
        checkpoint = self.trained(name, overrides)
        return self.labeled(name, checkpoint, sampler, steps) if checkpoint else None

    def trained(self, name: str, overrides: list[str]) -> Path | None:
        """Return the checkpoint of a model that was trained for the budget."""
        o = self.options
        folder = o.runs / name
        checkpoint = folder / "checkpoints" / "last.ckpt"
        if not checkpoint.is_file():
            if not self.has_time(f"train {name}"):
                return None
            shared = [f"data.store={o.store}", f"run_dir={folder}", f"trainer.max_steps={o.steps}"]
            short = [f"scheduler.warmup_steps={max(1, o.steps // 10)}", "trainer.val_check_interval=100000"]
            last = ["callbacks.best=null", "trainer.limit_val_batches=0", "trainer.num_sanity_val_steps=0"]
            experiment = (
                [] if any(x.startswith("experiment=") for x in overrides) else ["experiment=quickstart"]
            )
            call("train_lightning.py", [*experiment, *shared, *short, *last, *overrides])
        return checkpoint

    def student(self) -> Path | None:
        """Distil the swept model."""
        teacher = self.trained(self.options.swept, [])
        if teacher is None:
            return None
        return self.trained("student", ["experimental=distill", f"model.generator.teacher={teacher}"])

    def labeled(self, name: str, checkpoint: Path, sampler: str, steps: int) -> dict[str, Any] | None:
        """Return what test_lightning.py says of a model, and how long its grasps take."""
        o = self.options
        output = o.runs / "labeled" / name.replace(", ", "_").replace(" ", "_")
        if not (output / "row.json").is_file():
            if not self.has_time(f"judge {name}"):
                return None
            chosen = [f"sampling.solver={sampler}", f"sampling.steps={steps}"]
            sizes = [f"max_items={o.items}", f"samples_per_item={o.samples}", "splits=[test]"]
            only = ["top=null", "pictures=0", "baselines=null", f"sampling.temperature={o.temperature}"]
            where = [f"checkpoint={checkpoint}", f"output={output}", "protocol=dgb-fc-quick"]
            call("test_lightning.py", [*where, *chosen, *sizes, *only])
            row = {"name": name, "sampler": sampler, "steps": steps, **timed(checkpoint, sampler, steps)}
            found = json.loads((output / "results.json").read_text())["methods"][0]["summary"]
            kept = (
                "stable",
                "stable_and_collision_free",
                "penetration_mm",
                "diversity",
                "stable_objects",
                "num_grasps",
                "num_objects",
            )
            row |= {key: found[key] for key in kept}
            (output / "row.json").write_text(json.dumps(row))
        return json.loads((output / "row.json").read_text()) | {"coverage": coverage(o.store, output)}

    def has_time(self, what: str) -> bool:
        """Whether another part may begin; if not, it is noted."""
        if time.monotonic() < self.end:
            return True
        self.skipped.append(what)
        return False


def call(program: str, arguments: list[str]) -> None:
    """Run one of the project's commands, quietly unless it fails."""
    done = subprocess.run([sys.executable, program, *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{program} {' '.join(arguments)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


def coverage(path: Path, output: Path) -> float:
    """Return the share of the store's successful grasps with a judged one near them, averaged over the objects."""
    import torch

    from sceneleapultra.datasets import GraspStore
    from sceneleapultra.hands import GraspPose, load_hand
    from sceneleapultra.utils.geometry.rotation import geodesic_distance

    store = GraspStore(path, load_hand("leap_right"))
    by_index = {item.index: item for item in store.items("test", min_points=1, require_success=True)}
    with np.load(output / "grasps.npz") as file:
        items, poses = file["test/item"], file["test/hand_pose"]
    shares = []
    for number in sorted(set(items.tolist()) & set(by_index)):
        known = store.labeled(by_index[number].scene, by_index[number].target)
        stored, made = (
            GraspPose.from_hand_pose(torch.from_numpy(np.asarray(x, dtype=np.float64)))
            for x in (known.grasps.hand_pose[known.success], poses[items == number])
        )
        apart = torch.cdist(stored.translation, made.translation)
        turned = torch.rad2deg(geodesic_distance(stored.rotation[:, None], made.rotation[None]))
        shares.append(((apart < NEAR[0]) & (turned < NEAR[1])).any(1).double().mean().item())
    return float(np.mean(shares))


def timed(checkpoint: Path, sampler: str, steps: int, grasps: int = 64) -> dict[str, float]:
    """Return evaluations, and processor milliseconds per grasp, the least of three, of one made-up cloud."""
    from sceneleapultra.models import load_grasp_model

    model = load_grasp_model(checkpoint)
    rng = np.random.default_rng(0)
    angle, height = rng.uniform(-1.2, 1.2, 800), rng.uniform(0.0, 0.1, 800)
    points = np.stack([0.04 * np.cos(angle), 0.04 * np.sin(angle), height], axis=1).astype(np.float32)
    view: dict[str, Any] = {
        "object_mask": np.ones(800, bool),
        "viewpoint": (0.5, 0.0, 0.5),
        "up": (0.0, 0.0, 1.0),
        "seed": 0,
    }
    seconds = []
    for _ in range(3):
        start = time.process_time()
        made = model.sample(points, grasps, **view, sampling={"solver": sampler, "steps": steps})
        seconds.append(time.process_time() - start)
    return {"nfe": made.nfe, "ms_per_grasp": 1e3 * min(seconds) / grasps}


def plot(sweep: list[dict[str, Any]], path: Path) -> None:
    """Draw success against evaluations, a line per sampler."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.5))
    for name in dict.fromkeys(row["sampler"] for row in sweep):
        rows = sorted((row for row in sweep if row["sampler"] == name), key=lambda row: row["nfe"])
        rates = [100 * row["stable"]["value"] for row in rows]
        axes.plot([row["nfe"] for row in rows], rates, marker="o", label=name)
    axes.set(xscale="log", xlabel="function evaluations", ylabel="success, %")
    if sweep:
        axes.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
