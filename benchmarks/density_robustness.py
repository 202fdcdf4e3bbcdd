"""What thin clouds cost a model that goes on learning with the density consistency term, and one that does without.

    python -m benchmarks.density_robustness --store data/quick.h5 --runs runs/density \
        --checkpoint model_zoo/leap_table/model.ckpt --output benchmarks/results/density_robustness.json

Both go on from the same trained model, over the same items with the same noise, for the same steps. Success at shares
of the points of the test views (`points_share` of test_lightning.py); and, less noisy, the denoising loss on validation
items at the same shares of their clouds. Finished runs are not made again. Prints two tables.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from benchmarks.common import command_line, table, write
from benchmarks.trials import rate, steps, test
from sceneleapultra.models import load_grasp_model
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.module import GraspModule, build_module
from sceneleapultra.models.network.tokens import Cloud
from sceneleapultra.models.objectives.sparse import reordered, stratified
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.core.config import CONFIG_DIR, build
from sceneleapultra.utils.core.console import quiet_lightning

SHARES = (1.0, 0.5, 0.25, 0.1)
DRAWS = 6  # of noise, per validation item
RECIPE = (
    *("experiment=leap_table_own", "optimizer.lr=3e-4", "scheduler.warmup_steps=20"),
    *("data.loading.workers=0", "data.batch_size=8"),
)
MODELS = {
    "without": (),
    "with": ("experimental=sparse_view",),
}


def configured(store: Path, number: int, overrides: tuple[str, ...]) -> Any:
    """Compose the configuration of a run."""
    words = [*RECIPE, *steps(number), f"data.store={store}", *overrides]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose("config", overrides=words)


def continued(checkpoint: Path, run_dir: Path, cfg: Any) -> float:
    """Train a model further, or read what an earlier call cost; return processor seconds."""
    kept = run_dir / "cost.json"
    if not kept.is_file():
        quiet_lightning()
        pl.seed_everything(cfg.seed, verbose=False)
        data = build(cfg.data)
        parts = {"optimizer": build(cfg.optimizer), "scheduler": build(cfg.scheduler)}
        module = build_module(cfg.model, cloud=data.cloud, **parts)
        module.generator.load_state_dict(load_grasp_model(checkpoint).generator.state_dict())
        start = time.process_time()
        trainer = build(
            OmegaConf.merge(cfg.trainer, {"limit_val_batches": 0}),
            callbacks=[build(cfg.callbacks.ema)],
            logger=False,
            default_root_dir=str(run_dir),
            enable_progress_bar=False,
            enable_checkpointing=False,
        )
        trainer.fit(module, datamodule=data)
        trainer.save_checkpoint(run_dir / "checkpoints" / "last.ckpt")
        kept.write_text(json.dumps(time.process_time() - start))
    return float(json.loads(kept.read_text()))


def thinner(batch: GraspBatch, share: float, target_share: float) -> GraspBatch:
    """Return the batch with a share of the points of each cloud, drawn at random and ordered anew."""
    generator = torch.Generator().manual_seed(0)
    cloud = Cloud.of(batch)
    rank = torch.rand(cloud.valid.shape, generator=generator).masked_fill(~cloud.valid, torch.inf).argsort(1)
    keeps = torch.ceil(share * cloud.valid.sum(1, keepdim=True))
    stays = torch.zeros_like(cloud.valid)
    stays.scatter_(1, rank, torch.arange(stays.shape[1]) < keeps)
    cloud = reordered(cloud, *stratified(cloud, stays, target_share))
    return replace(batch, scene_pc=cloud.points, point_valid=cloud.valid, object_mask=cloud.target)


@torch.no_grad()
def denoising_losses(module: GraspModule, batches: list[GraspBatch], target_share: float) -> list[float]:
    """Return the weighted denoising loss of validation items at each share, averaged over noise."""
    generator, objective = module.generator, module.objective
    assert isinstance(generator, GraspGenerator)
    found = []
    for share in SHARES:
        total = 0.0
        for batch in (thinner(batch, share, target_share) for batch in batches):
            for step in range(DRAWS):
                context = objective.context(generator, batch, step=step, training=False)
                terms = {name: objective.terms[name](context) for name in generator.codec.layout.groups}
                total += batch.size * float(objective.total(terms, step))
        found.append(total / (DRAWS * sum(batch.size for batch in batches)))
    return found


def main() -> None:
    """Measure, print, and write where asked to."""
    parser = command_line(__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True, help="the model that goes on learning")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--items", type=int, default=32)
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cfg = configured(arguments.store, arguments.steps, ())
    data = build(cfg.data)
    batches = list(data.val_dataloader())
    document: dict[str, Any] = {
        "what": f"a share of the points of unseen clouds; {arguments.steps} steps of {cfg.data.batch_size} scenes "
        f"from {arguments.checkpoint}"
    }
    successes, losses = [], []
    for name, overrides in MODELS.items():
        run_dir = arguments.runs / name
        run_dir.mkdir(parents=True, exist_ok=True)
        cpu_s = continued(
            arguments.checkpoint, run_dir, configured(arguments.store, arguments.steps, overrides)
        )
        checkpoint = run_dir / "checkpoints" / "last.ckpt"
        module = build_module(
            cfg.model, cloud=data.cloud, optimizer=build(cfg.optimizer), scheduler=build(cfg.scheduler)
        )
        module.generator.load_state_dict(load_grasp_model(checkpoint).generator.state_dict())
        noise = denoising_losses(module, batches, data.settings.cloud.target_share)
        rows = []
        for share, loss in zip(SHARES, noise, strict=True):
            choice = [f"max_items={arguments.items}", "min_points=200", f"points_share={share}"]
            choice += ["samples_per_item=4"]
            labeled = test(run_dir, run_dir / f"test_{share:g}", [*choice, f"store={arguments.store}"])
            rows.append({"points_share": share, "denoising_loss": round(loss, 4), **labeled})
        document[name] = {"overrides": overrides, "cpu_s": round(cpu_s, 1), "shares": rows}
        successes.append([f"{name} the term", *map(rate, rows), f"{cpu_s:.0f}"])
        losses.append([f"{name} the term", *(f"{loss:.3f}" for loss in noise)])
    write(document, arguments.output, seed=cfg.seed)
    header = ["model", *(f"{100 * share:.0f} % of the points" for share in SHARES)]
    print("Success, % [95 %]\n\n" + table([*header, "training, processor s"], successes))
    print("\nDenoising loss on validation items\n\n" + table(header, losses))


if __name__ == "__main__":
    main()
