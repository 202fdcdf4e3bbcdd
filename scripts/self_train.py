"""Run a round of self-training: scenes, the model's grasps judged in them, training, test; ``--help`` tells more."""

from __future__ import annotations

import sceneleapultra.utils.core.environment  # noqa: F401

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sceneleapultra.models.checkpoints.zoo import find_checkpoint
from sceneleapultra.utils.core.cli import hydra_program
from sceneleapultra.utils.core.compare import leaves
from sceneleapultra.utils.core.console import card, say
from sceneleapultra.utils.core.files import make_folder, read_json_object, write_json
from sceneleapultra.utils.core.locks import owned_folder
from sceneleapultra.utils.core.overrides import word, written
from sceneleapultra.utils.core.programs import run_program
from sceneleapultra.utils.core.signals import says_where

STAGES = {"generate": "generate", "propose": "self-train-data", "train": "train", "test": "test"}  # programs
DONE = "round.json"  # in the folder of a round: the commands of the stages that are done
_REMEDY = "Delete it: what is done is found again by each program, but for the test."


@dataclass(frozen=True)
class Round:
    """The folder of a round and what lies in it."""

    folder: Path

    @property
    def scenes(self) -> Path:
        """Scenes without grasps."""
        return self.folder / "scenes.h5"

    @property
    def grasps(self) -> Path:
        """The same scenes with the model's grasps."""
        return self.folder / "own.h5"

    @property
    def checkpoint(self) -> Path:
        """The model that was trained."""
        return self.folder / "run" / "checkpoints" / "last.ckpt"

    def done(self) -> dict[str, list[str]]:
        """Return the words of each stage that is done."""
        path = self.folder / DONE
        return read_json_object(path, _REMEDY)["stages"] if path.is_file() else {}

    def stores(self) -> list[str]:
        """Return the stores that this round's model learned from.

        Raises:
            FileNotFoundError: no round was finished here.
        """
        if "train" not in self.done():
            raise FileNotFoundError(
                f"after={self.folder}: no round was trained to its end there. Finish it with its own command first."
            )
        return list(read_json_object(self.folder / DONE, _REMEDY)["stores"])


def self_train(cfg: DictConfig) -> Round:
    """Run, or continue, the round that ``cfg`` describes."""
    this, before = Round(Path(cfg.folder)), None if cfg.after is None else Round(Path(cfg.after))
    stores = list(dict.fromkeys([*(before.stores() if before else []), *cfg.also, str(this.grasps)]))
    checkpoint = find_checkpoint(before.checkpoint if before else cfg.checkpoint)
    commands = dict(stage_words(cfg, this, str(checkpoint), stores))
    if cfg.dry_run:
        for stage, words in commands.items():
            say(f"sceneleap {STAGES[stage]} {' '.join(map(shlex.quote, words))}")
        return this
    make_folder(this.folder)
    with owned_folder(
        this.folder, doing="self-training", remedy="Wait until it is done, stop it, or choose another folder"
    ):
        run_stages(this, commands, stores)
    card(
        "round",
        {
            "grasps": this.grasps,
            "checkpoint": this.checkpoint,
            "report": this.folder / "test" / "report.html",
        },
        {
            "next round": f"python scripts/self_train.py {written('after', this.folder)} folder=<another> seed=<other>"
        },
    )
    return this


def run_stages(this: Round, commands: Mapping[str, list[str]], stores: list[str]) -> None:
    """Run the programs that are not done yet, one after the other.

    Raises:
        ValueError: a stage was done with other settings.
        SystemExit: a program failed, which has said why.
    """
    done = this.done()
    for stage, words in commands.items():
        if stage in done and done[stage] != words:
            changed = " ".join(sorted(set(done[stage]) ^ set(words)))
            raise ValueError(
                f"{this.folder}: the stage {stage} is done, with other settings ({changed}). Pass another folder, "
                "or the settings of before."
            )
    for number, (stage, words) in enumerate(commands.items(), start=1):
        if stage in done:
            continue
        say(f"round, stage {number} of {len(commands)}: sceneleap {STAGES[stage]}", "bold")
        with says_where(lambda name=stage: f"in the stage {name}"):
            status = run_program(STAGES[stage], words)
        if status:
            raise SystemExit(status)
        done[stage] = words
        write_json(this.folder / DONE, {"stages": done, "stores": stores})


def stage_words(
    cfg: DictConfig, this: Round, checkpoint: str, stores: list[str]
) -> Iterator[tuple[str, list[str]]]:
    """Yield the name of each stage and the words of its program: what the round decides, and what the user changed."""
    seed, folder = cfg.seed, this.folder
    test_store = this.scenes if cfg.test.store is None else cfg.test.store
    decided: dict[str, dict[str, Any]] = {
        "generate": {"path": this.scenes, "seed": seed},
        "propose": {"checkpoint": checkpoint, "store": this.scenes, "output": this.grasps, "seed": seed},
        "train": {"init_from": checkpoint, "data.store": stores, "run_dir": folder / "run", "seed": seed},
        "test": {"checkpoint": this.checkpoint, "store": test_store, "output": folder / "test"},
    }
    for stage, values in decided.items():
        own = leaves(OmegaConf.to_container(cfg[stage], resolve=True))
        if clash := sorted((own.keys() & values.keys()) - {"store"}):
            raise ValueError(
                f"{stage}.{clash[0]} is decided by the round (folder, checkpoint, after, seed). Remove it."
            )
        yield stage, [word(key, value) for key, value in {**own, **values}.items()]


@hydra_program("self_train")
def main(cfg: DictConfig) -> None:
    """Work with the configuration composed from ``config/self_train.yaml`` and the command line."""
    self_train(cfg)


if __name__ == "__main__":
    main()
