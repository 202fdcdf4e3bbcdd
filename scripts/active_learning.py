"""Choose which of a model's own grasps to simulate, and train a scorer on them, in rounds; ``--help`` tells more."""

from __future__ import annotations

import sceneleapultra.utils.core.environment  # noqa: F401

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from sceneleapultra.evaluation.early_checks import check_before_loading
from sceneleapultra.utils.core.cli import hydra_program
from sceneleapultra.utils.core.config import build
from sceneleapultra.utils.core.console import card
from sceneleapultra.utils.core.locks import owned_folder

if TYPE_CHECKING:
    from sceneleapultra.datasets import GraspStore
    from sceneleapultra.evaluation.active_learning import LearningSettings
    from sceneleapultra.evaluation.grasp_pool import LabeledPool
    from sceneleapultra.hands import Hand
    from sceneleapultra.models import GraspModel


def settings_of(cfg: DictConfig) -> LearningSettings:
    """Return what the rounds of a configuration do."""
    from sceneleapultra.evaluation.active_learning import LearningSettings

    chosen = {name: cfg[name] for name in ("acquisition", "rounds", "per_round", "seed")}
    return LearningSettings(**chosen, scorer=build(cfg.scorer))


def active_learning(cfg: DictConfig) -> list[dict[str, Any]]:
    """Run, or continue, the rounds that ``cfg`` describes; return what each gave."""
    check_before_loading(cfg)
    from sceneleapultra.datasets import GraspStore
    from sceneleapultra.evaluation.active_learning import learn
    from sceneleapultra.hands import Hand
    from sceneleapultra.models import load_grasp_model
    from sceneleapultra.models.checkpoints.zoo import find_checkpoint

    settings, folder = settings_of(cfg), Path(cfg.folder)
    checkpoint = find_checkpoint(cfg.checkpoint)
    model = load_grasp_model(checkpoint, device=cfg.device, plugins=cfg.plugins)
    hand = Hand(model.hand.description)
    store = GraspStore(cfg.store, hand)
    name = f"{settings.acquisition}-{settings.seed}"
    with owned_folder(folder, doing="active learning", remedy="Wait until it is done, or stop it"):
        pool, test = pools(cfg, model, hand, store, checkpoint)
        rounds = learn(pool, test, model.generator, settings, folder / f"{name}.json")
        path = write_labels(pool, rounds, store, folder / f"{name}.h5", asdict(settings))
    last = rounds[-1]
    ranked = (
        f"{last['auroc']:.3f}" if last["auroc"] is not None else "unknown, all test grasps have one verdict"
    )
    card(
        "labels",
        {
            "grasps": f"{last['labels']} of {pool.size}, {last['cpu_s']:.0f} s of processor time",
            "scorer": f"AUROC {ranked}, best of {cfg.candidates}: {last['best']:.1%} of test objects",
            "rounds": folder / f"{name}.json",
            "store": path,
        },
    )
    return rounds


def pools(
    cfg: DictConfig, model: GraspModel, hand: Hand, store: GraspStore, checkpoint: Path
) -> tuple[LabeledPool, LabeledPool]:
    """Return the pool to choose from and the one to test on."""
    from sceneleapultra.evaluation.grasp_pool import open_pool
    from sceneleapultra.evaluation.provenance import file_hash
    from sceneleapultra.evaluation.self_training import SelfTrainingSettings

    sampling: dict[str, Any] = OmegaConf.to_container(cfg.sampling)  # type: ignore[assignment]
    model.generator.sampling.changed(**sampling)  # unknown names are answered before anything is proposed
    scenes = range(store.num_scenes if cfg.scenes is None else min(cfg.scenes, store.num_scenes))

    def opened(name: str, splits: list[str]) -> LabeledPool:
        settings = SelfTrainingSettings(
            per_object=cfg.candidates,
            candidates=cfg.candidates,
            temperatures=(cfg.temperature,),
            squeeze_gains=(1.0,),
            sampling=sampling,
            min_points=cfg.min_points,
            splits=tuple(splits),
            seed=cfg.pool_seed,
        )
        facts = {"checkpoint": file_hash(checkpoint), "store": store.content_hash, "scenes": len(scenes)}
        return open_pool(
            Path(cfg.folder) / name,
            (store.record(row) for row in scenes if store.split_of(row) in splits),
            model,
            settings,
            facts=facts,
            hand=hand,
            protocol=build(cfg.protocol),
            executor=build(cfg.launcher),
        )

    return opened("pool", cfg.splits), opened("test", cfg.test_splits)


def write_labels(
    pool: LabeledPool, rounds: list[dict[str, Any]], store: GraspStore, path: Path, made_by: dict[str, Any]
) -> Path:
    """Write the grasps that were chosen, with their verdicts, as a store."""
    from sceneleapultra.datasets import StoreWriter

    oracle = pool.oracle
    writer = StoreWriter(
        path,
        hand=oracle.hand,
        protocol=oracle.protocol.name,
        protocol_hash=oracle.protocol.hash,
        generator={**json.loads(store.attributes["generator"]), "active_learning": made_by},
        seed=int(store.attributes["seed"]),
    )
    if not writer.was_there:
        for record in oracle.records(np.array([row for one in rounds for row in one["chosen"]])):
            writer.write(record)
    return writer.finish()


@hydra_program("active_learning")
def main(cfg: DictConfig) -> None:
    """Work with the configuration composed from ``config/active_learning.yaml`` and the command line."""
    active_learning(cfg)


if __name__ == "__main__":
    main()
