r"""What heads reach when they are trained with the generator, and what they cost it: equal steps, seeds and data.

    python -m benchmarks.heads --store data/quick.h5 --runs runs/heads --output benchmarks/results/heads.json \
        --picture docs/pictures/heads.png

Figures are of the validation objects, with averaged weights. Finished runs are not made again. Prints the table of
docs/heads.md.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import csv
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import command_line, table, write
from benchmarks.trials import RECIPE, steps, train

NO_SCORE = "model.objective.terms.score.weight=0"
CONTACT = "+model/generator/heads/contact=tokens"
SEGMENTATION = "+model/generator/heads/segmentation=tokens"
VARIANTS = {
    "anchors": [NO_SCORE],
    "+ score": [],
    "+ contact": [NO_SCORE, CONTACT, "model/objective/terms=[contact]"],
    "+ segmentation": [NO_SCORE, SEGMENTATION, "model/objective/terms=[segmentation]"],
    "+ all three": [CONTACT, SEGMENTATION, "model/objective/terms=[contact,segmentation]"],
}
ALL = "+ all three"
LOSSES = ("translation", "rotation", "joints", "squeeze", "anchors")
BINARY = tuple(f"{name}_auroc" for name in ("stable", "collision_free", "contact"))
FIGURES = (*BINARY, "segmentation_table_iou", "segmentation_other_iou")


def overrides(variant: str, seed: int, arguments: Any) -> list[str]:
    """Return the command line of a run."""
    store, scenes = arguments.store.resolve(), arguments.scenes
    words = [*RECIPE, *VARIANTS[variant], f"data.store={store}", f"data.batch_size={scenes}", f"seed={seed}"]
    return words + steps(arguments.steps)


def folder(arguments: Any, variant: str, seed: int) -> Path:
    """Return the folder of a run."""
    return arguments.runs.resolve() / f"{variant.replace('+ ', '').replace(' ', '_')}_{seed}"


def measure(variant: str, seed: int, arguments: Any) -> dict[str, Any]:
    """Train one model and return what validation says at the end."""
    run_dir = folder(arguments, variant, seed)
    cost = train(run_dir, overrides(variant, seed, arguments))
    with (run_dir / "metrics.csv").open() as file:
        last = [row for row in csv.DictReader(file) if row["val/loss"]][-1]
    found = {key.removeprefix("val/"): float(x) for key, x in last.items() if key.startswith("val/") and x}
    return {
        "heads": variant,
        "seed": seed,
        **{k: round(x, 5) for k, x in found.items()},
        "cpu_s": cost["cpu_s"],
    }


def assembled(variant: str, arguments: Any) -> tuple[Any, Any, Any]:
    """Return configuration, module and data of a variant."""
    from hydra import compose, initialize_config_dir

    from sceneleapultra.models.module import build_module
    from sceneleapultra.utils.core.config import CONFIG_DIR, build

    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose(
            "config", overrides=[*overrides(variant, 0, arguments), f"run_dir={arguments.runs.resolve()}"]
        )
    data = build(cfg.data)
    data.setup("fit")
    parts = {"optimizer": build(cfg.optimizer), "scheduler": build(cfg.scheduler)}
    return cfg, build_module(cfg.model, cloud=data.cloud, **parts), data


def step_costs(arguments: Any, repeats: int = 15) -> dict[str, float]:
    """Return processor milliseconds of the forward and backward pass of a step; the variants take turns."""
    import torch

    torch.set_num_threads(1)
    models, batches = {}, {}
    for variant in VARIANTS:
        _, model, data = assembled(variant, arguments)
        models[variant], batches[variant] = model.train(), next(iter(data.train_dataloader()))
    spent: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for step in range(repeats + 2):
        for variant, model in models.items():
            start = time.process_time()
            context = model.objective.context(model.generator, batches[variant], step=step, training=True)
            model.objective.total(model.objective.losses(context, training=True), step).backward()
            spent[variant].append(time.process_time() - start)
    return {name: round(1e3 * sorted(x[2:])[repeats // 2], 1) for name, x in spent.items()}


def contexts(arguments: Any) -> Iterator[Any]:
    """Yield validation steps of the model with all heads."""
    from sceneleapultra.models.checkpoints.load import load_generator

    _, module, data = assembled(ALL, arguments)
    generator, _ = load_generator(folder(arguments, ALL, 0) / "checkpoints" / "last.ckpt")
    generator.requires_grad_(False)
    for batch in data.val_dataloader():
        yield module.objective.context(generator, batch, step=0, training=False)


def best_contact_auroc(arguments: Any) -> float:
    """Return what a head reaches that knows the share of a batch's grasps which touch each token."""
    from sceneleapultra.models.metrics import BinaryPart

    parts = []
    for context in contexts(arguments):
        touched, missed = context.generator.heads["contact"].counts(context)
        parts.append(BinaryPart.of((touched / (touched + missed).clamp(min=1)).logit(), touched, missed))
    return round(BinaryPart.join(parts).figures()["auroc"], 4)


def draw(arguments: Any, path: Path, scenes: int = 4) -> None:
    """Draw predicted and true maps of the first validation scenes, every point as its nearest token."""
    from sceneleapultra.models.network.heads.segmentation import token_class
    from sceneleapultra.reporting.drawing import NEIGHBOR, OBJECT, PENETRATION, CloudView
    from sceneleapultra.reporting.maps import draw_classes, draw_values
    from sceneleapultra.reporting.pictures import render_png
    from sceneleapultra.utils.geometry.points import knn

    context, drawings = next(contexts(arguments)), []
    batch, tokens, heads = context.batch, context.scene.tokens, context.generator.heads
    touched, missed = heads["contact"].counts(context)
    true = touched / (touched + missed).clamp(min=1)
    near, _ = knn(batch.scene_pc, tokens.xyz, 1, tokens.target)
    near_any, _ = knn(batch.scene_pc, tokens.xyz, 1, tokens.valid)
    values = [("touched, predicted", context.output(heads["contact"]).sigmoid()), ("touched, true", true)]
    classes = [
        ("classes, predicted", context.output(heads["segmentation"]).argmax(-1)),
        ("classes, true", token_class(tokens, batch)),
    ]
    colors = dict(enumerate((NEIGHBOR, OBJECT, PENETRATION)))
    for i in range(scenes):
        valid = batch.point_valid[i]
        cloud = CloudView(batch.scene_pc[i][valid].numpy(), batch.object_mask[i][valid].numpy(), table=True)
        for caption, value in values:
            shown = value[i][near[i, valid, 0]].numpy()
            drawings.append(draw_values(cloud, shown, full=0.4, caption=caption, detail=batch.object_name[i]))
        for caption, label in classes:
            shown = label[i][near_any[i, valid, 0]].numpy()
            drawings.append(draw_classes(cloud, shown, colors, caption=caption, detail=batch.object_name[i]))
    render_png(drawings, path, columns=4, size=240, title="")


def mean_of(rows: Sequence[dict[str, Any]], variant: str, key: str) -> str:
    """Write the mean over seeds; a dash where a variant has none."""
    found = [row[key] for row in rows if row["heads"] == variant and key in row]
    return f"{sum(found) / len(found):.3f}" if found else "-"


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, and write where asked to."""
    parser = command_line(__doc__)
    parser.add_argument(
        "--store", type=Path, required=True, help="store of `generate_dataset.py dataset=quick`"
    )
    parser.add_argument("--runs", type=Path, required=True, help="folder of runs")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--scenes", type=int, default=12, help="per step")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--picture", type=Path, help="PNG of predicted and true maps")
    arguments = parser.parse_args(argv)
    rows = [measure(v, seed, arguments) for seed in range(arguments.seeds) for v in VARIANTS]
    costs = step_costs(arguments)
    document = {
        "what": f"experiment=quickstart, {arguments.steps} steps of {arguments.scenes} scenes, one thread",
        "step_ms": costs,
        "best_contact_auroc": best_contact_auroc(arguments),
        "rows": rows,
    }
    write(document, arguments.output, seed=range(arguments.seeds))
    if arguments.picture is not None:
        draw(arguments, arguments.picture)
    keys = [*LOSSES, *FIGURES]
    lines = [[v, *(mean_of(rows, v, key) for key in keys), f"{costs[v]:.0f}"] for v in VARIANTS]
    print(table(["heads", *(key.replace("_", " ") for key in keys), "step, ms"], lines))


if __name__ == "__main__":
    main()
