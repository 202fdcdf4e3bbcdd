"""Grasps by a part that is named, or not by it: a prompted model, and models without prompts with a contact filter.

    python -m benchmarks.part_prompts --runs runs/part_prompts --output benchmarks/results/part_prompts.json

A model with prompts and one without learn from the same store, made if it is not there, in the same number of steps.
Each item of the test split names one part that stored grasps of its object are on. Contacts say whether a grasp is on
it and whether it keeps off it; the grasps are then put through a protocol of forces, and lifted. Finished stores and
runs are not made again.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from omegaconf import OmegaConf

from benchmarks.common import command_line, put_into_pages, table, write
from benchmarks.picking import rate
from benchmarks.trials import run, steps, train
from sceneleapultra.datasets import GraspStore
from sceneleapultra.evaluation.evaluate import evaluate_method
from sceneleapultra.evaluation.items import Item
from sceneleapultra.evaluation.methods.base import Method
from sceneleapultra.evaluation.methods.model import ModelMethod
from sceneleapultra.evaluation.part_prompts import PartFilter
from sceneleapultra.evaluation.stored import chosen_items
from sceneleapultra.hands import load_hand
from sceneleapultra.models import load_grasp_model
from sceneleapultra.simulation.protocols import get_protocol
from sceneleapultra.utils.core.config import build, load_group
from sceneleapultra.utils.core.parallel import LocalExecutor

FORCES, LIFT = "dgb-fc-quick", "scene-lift"
CANDIDATES, TEMPERATURE = 32, 0.5
STORE = (
    "views=2",
    "workers=1",
    "objects.families=[bottle,mug,cup,bowl,hammer,dumbbell]",
    "objects.held_out_families=[]",
    "objects.per_scene=[1.0]",
    "splits={train: 0.8, val: 0.05, test: 0.15, test_family: 0.0}",
    "grasps.max_attempts=96",
    "grasps.successes=16",
)
COMMON = ("logger=csv", "scheduler.warmup_steps=50", "data.loading.workers=0", "data.cloud.num_points=512")
MODELS = {"prompted": "part_prompts", "plain": "quickstart"}


def prepare(folder: Path, scenes: int, number: int) -> Path:
    """Make the store and train the models that are not there yet; return the store."""
    store = folder / "parts.h5"
    if not store.is_file():
        run(
            "scripts/generate_dataset.py",
            [f"path={store}", f"scenes={scenes}", *STORE],
            folder / "generate.log",
        )
    for name, experiment in MODELS.items():
        train(folder / name, [f"experiment={experiment}", f"data.store={store}", *COMMON, *steps(number)])
    return store


def methods(folder: Path) -> Iterator[tuple[str, Method]]:
    """Yield what is compared, by the words of the table."""
    hand, protocol = load_hand("leap_right"), get_protocol(FORCES)

    def model(name: str, **changes: Any) -> ModelMethod:
        loaded = load_grasp_model(folder / name / "checkpoints" / "last.ckpt")
        changes = {"temperature": TEMPERATURE, **changes}
        return ModelMethod(loaded, loaded.generator.sampling.changed(**changes), seed=0)

    yield "by the part", replace(model("prompted"), prompt="part")
    yield "by the part, cfg_scale=2", replace(model("prompted", cfg_scale=2.0), prompt="part")
    yield "not by the part", replace(model("prompted"), prompt="not_part")
    strong = {"classifier_free": {"negative_scale": 2.0}}
    guidance = build(OmegaConf.merge(load_group("sampling/guidance", "none"), strong))
    yield (
        "not by the part, negative_scale=2",
        replace(model("prompted", guidance=guidance), prompt="not_part"),
    )
    yield "the same model, no prompt", model("prompted")
    plain = model("plain")
    yield "a model without prompts", plain
    yield (
        f"and the best of {CANDIDATES} on the part",
        PartFilter(plain, CANDIDATES, "part", hand, protocol),
    )
    yield (
        f"and the best of {CANDIDATES} off the part",
        PartFilter(plain, CANDIDATES, "not_part", hand, protocol),
    )


def evaluate(method: Method, items: list[Item], k: int) -> dict[str, Any]:
    """Return the rates of a method."""
    found: dict[str, Bool[np.ndarray, "n"]] = {}
    for name in (FORCES, LIFT):
        results = evaluate_method(
            method,
            items,
            k,
            hand=load_hand("leap_right"),
            protocol=get_protocol(name),
            executor=LocalExecutor(workers=1),
            min_clearance_m=0.0,
            by_part=True,
        )
        verdicts = results.table
        kept = ("picked", "picked_cleanly") if name == LIFT else ("on_part", "off_part", "stable")
        found |= {key: verdicts[key] for key in kept}
    objects = verdicts["object_name"]
    found["touching"] = verdicts["contact_links"] > 0
    found["picked_on_part"] = found["picked"] & found["on_part"]
    found["picked_off_part"] = found["picked"] & found["off_part"] & found["touching"]
    return {key: rate(values, objects) for key, values in found.items()}


def tables(document: dict[str, Any]) -> str:
    """Write the rates as a table."""
    heads = {
        "on_part": "on the part",
        "off_part": "off the part",
        "touching": "touch at all",
        "stable": "stable",
        "picked": "picked",
        "picked_on_part": "picked, on the part",
        "picked_off_part": "picked, off the part",
    }
    rows = [
        [name, *(f"{row[key]['percent']:.0f}" for key in heads)] for name, row in document["rows"].items()
    ]
    return table(["%", *heads.values()], rows)


def main() -> None:
    """Run the benchmark."""
    parser = command_line(__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="folder of the store and the runs")
    parser.add_argument("--scenes", type=int, default=160)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--samples", type=int, default=4, help="grasps of each item")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--pages", action="store_true", help="put the table into docs/diffusion")
    options = parser.parse_args()
    folder = options.runs.resolve()
    path = prepare(folder, options.scenes, options.steps)
    store = GraspStore(path, load_hand("leap_right"))
    items = chosen_items(store, "test", max_items=200, per_object=2, min_points=100, seed=0, by_part=True)
    document = {
        "what": f"{options.steps} steps, {len(items)} items of unseen objects, {options.samples} grasps of each",
        "parts": dict(Counter(item.part.word for item in items if item.part)),
        "temperature": TEMPERATURE,
        "rows": {name: evaluate(method, items, options.samples) for name, method in methods(folder)},
    }
    write(document, options.output, seed=0)
    print(tables(document))
    if options.pages:
        put_into_pages("diffusion", "python -m benchmarks.part_prompts", tables(document))


if __name__ == "__main__":
    main()
