"""Write a store with a model's grasps, tested in simulation, for self-training; ``--help`` lists the overrides."""

from __future__ import annotations

import sceneleapultra.utils.core.environment  # noqa: F401

import json
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from sceneleapultra.evaluation.early_checks import check_before_loading, check_files
from sceneleapultra.utils.core.cli import hydra_program
from sceneleapultra.utils.core.config import build
from sceneleapultra.utils.core.console import ProgressBars, say
from sceneleapultra.utils.core.files import make_folder
from sceneleapultra.utils.core.signals import says_where


def self_train_data(cfg: DictConfig) -> Path:
    """Sample, test and write; return the path of the store."""
    check_before_loading(cfg)
    check_files(cfg)
    make_folder(Path(cfg.output).parent)
    from sceneleapultra.datasets import GraspStore, StoreWriter
    from sceneleapultra.evaluation.provenance import file_hash
    from sceneleapultra.evaluation.self_training import SelfTrainingSettings, add_tested_grasps
    from sceneleapultra.hands import Hand
    from sceneleapultra.models import load_grasp_model
    from sceneleapultra.models.checkpoints.zoo import find_checkpoint

    checkpoint, protocol = find_checkpoint(cfg.checkpoint), build(cfg.protocol)
    model = load_grasp_model(checkpoint, device=cfg.device, plugins=cfg.plugins)
    hand = Hand(model.hand.description)
    store = GraspStore(cfg.store, hand)
    settings = SelfTrainingSettings(
        per_object=cfg.per_object,
        candidates=cfg.per_object if cfg.candidates is None else cfg.candidates,
        temperatures=tuple(cfg.temperatures),
        squeeze_gains=tuple(cfg.squeeze_gains),
        sampling=OmegaConf.to_container(cfg.sampling),  # type: ignore[arg-type]
        min_points=cfg.min_points,
        splits=tuple(cfg.splits),
        seed=cfg.seed,
    )
    # Unknown names are answered before the output is begun.
    model.generator.sampling.changed(**settings.sampling)
    made_by = {**vars(settings), "checkpoint": file_hash(checkpoint), "store": store.content_hash}
    writer = StoreWriter(
        cfg.output,
        hand=hand,
        protocol=protocol.name,
        protocol_hash=protocol.hash,
        generator={**json.loads(store.attributes["generator"]), "self_training": made_by},
        seed=int(store.attributes["seed"]),
    )
    rows = range(store.num_scenes if cfg.scenes is None else min(cfg.scenes, store.num_scenes))
    done = writer.done_indices()
    writer.check_scenes([store.index_of(row) for row in rows])
    if writer.was_there:
        say(f"{writer.path} is there already, made with these settings.")
        return writer.path
    records = (record for record in map(store.record, rows) if record.index not in done)

    def where() -> str:
        return f"with {len(writer.done_indices())} of {len(rows)} scenes done"

    with says_where(where), ProgressBars() as bars:
        advance = bars.start_bar("scenes", len(rows), completed=len(done))
        for record in add_tested_grasps(
            records, model, settings, hand=hand, protocol=protocol, executor=build(cfg.launcher)
        ):
            writer.write(record)
            advance()
    path = writer.finish()
    say(f"store: {path}")
    return path


@hydra_program("self_training")
def main(cfg: DictConfig) -> None:
    """Work with the configuration composed from ``config/self_training.yaml`` and the command line."""
    self_train_data(cfg)


if __name__ == "__main__":
    main()
