"""What a test does from checkpoint to report: choose items, tune, sample, judge, compare, write."""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
from omegaconf import DictConfig, ListConfig, OmegaConf

from sceneleapultra.datasets import GraspStore
from sceneleapultra.datasets.store.by_hand import of_one_hand, stores_by_hand
from sceneleapultra.datasets.store.schema import SPLITS
from sceneleapultra.evaluation.evaluate import evaluate_method
from sceneleapultra.evaluation.folders import (
    METHODS,
    RESULTS,
    Parts,
    folder_of_test,
    home_of,
    run_folder,
    short_hash,
)
from sceneleapultra.evaluation.gallery import galleries
from sceneleapultra.evaluation.items import Item, subsample_points
from sceneleapultra.evaluation.methods.base import Method, check_names
from sceneleapultra.evaluation.methods.model import ModelMethod
from sceneleapultra.evaluation.methods.training_index import TrainingIndex
from sceneleapultra.evaluation.part_prompts import PROMPTS, PartPrompt, without_prompt
from sceneleapultra.evaluation.provenance import file_hash, provenance
from sceneleapultra.evaluation.results import GraspResults
from sceneleapultra.evaluation.robustness import WithError
from sceneleapultra.evaluation.stored import chosen_items, require_match, split_records
from sceneleapultra.evaluation.tuning import read_tuning, tune_temperature, tuned_for, write_tuning
from sceneleapultra.hands import Hand
from sceneleapultra.models import GraspModel, load_grasp_model
from sceneleapultra.models.checkpoints.zoo import find_checkpoint
from sceneleapultra.models.guidance.guide import check_prompts
from sceneleapultra.models.many_hands import served
from sceneleapultra.models.sampling_config import SamplingConfig
from sceneleapultra.reporting.pictures import render_png
from sceneleapultra.reporting.report import Gallery, write_report
from sceneleapultra.reporting.results import Role
from sceneleapultra.simulation.protocols import Protocol, get_protocol
from sceneleapultra.utils.core.config import build
from sceneleapultra.utils.core.files import write_atomically, write_json
from sceneleapultra.utils.core.locks import owned_folder
from sceneleapultra.utils.core.names import unknown_name
from sceneleapultra.utils.core.parallel import Executor
from sceneleapultra.utils.core.plain_data import read_yaml
from sceneleapultra.utils.core.plugins import use_plugins

_NOT_IN_RESULTS = ("output", "workers", "launcher", "report")  # settings that no number depends on
StartBar = Callable[
    [str, int], Callable[[int], None]
]  # (method, grasps) -> called with the number of grasps done


@dataclass(frozen=True)
class ModelTest:
    """A checkpoint and the store whose objects it is asked for."""

    cfg: DictConfig
    checkpoint: Path
    model: GraspModel
    hand: Hand
    run_dir: Path
    store: GraspStore
    protocol: Protocol

    @classmethod
    def open(cls, cfg: DictConfig) -> "ModelTest":
        """Load and check everything that ``config/test.yaml`` names.

        Raises:
            FileNotFoundError: checkpoint or store missing.
            ValueError: they do not belong together, or a split, protocol or setting is unknown.
        """
        use_plugins(cfg.plugins)
        protocol = build(cfg.protocol)
        if cfg.prompt not in PROMPTS:
            raise unknown_name("prompt", cfg.prompt, PROMPTS)
        if unknown := sorted(set(cfg.splits) - set(SPLITS)):
            raise unknown_name("split", unknown[0], SPLITS)
        checkpoint = find_checkpoint(cfg.checkpoint)
        model = load_grasp_model(
            checkpoint, device=cfg.device, completion=cfg.completion, hypotheses=cfg.hypotheses
        )
        run_dir = run_folder(checkpoint)
        require_match(model, checkpoint)
        path = trained_on(run_dir, checkpoint) if cfg.store is None else cfg.store
        if model.generator.hand_encoder is not None or cfg.retarget:  # it serves the store's hand
            name, path = of_one_hand(path, model.hand.name)
            model = served(model, name, retarget=cfg.retarget)
        hand = Hand(model.hand.description)  # on the CPU, wherever the model is
        store = GraspStore(path, hand)
        job = cls(cfg, checkpoint, model, hand, run_dir, store, protocol)
        model.generator.process.check_solver(job.sampling.solver)
        if cfg.prompt != "none":
            check_prompts(model.generator, {"positive_prompt": [cfg.prompt]})
        return job

    @cached_property
    def training_store(self) -> GraspStore:
        """The store the model was trained on: what retrieval retrieves from, and where validation objects are.

        A checkpoint that lies in no run folder is taken to be trained on the store it is tested on, and so is one for
        many hands that was trained without the hand it is tested with.
        """
        if not (self.run_dir / "config.yaml").is_file():
            return self.store
        path = trained_on(self.run_dir, self.checkpoint)
        if self.model.generator.hand_encoder is None and self.model.generator.hand.name == self.hand.name:
            return GraspStore(path, self.hand)
        own = stores_by_hand(path).get(self.hand.name)
        return self.store if own is None else GraspStore(own, self.hand)  # no other hand's grasps are its own

    @cached_property
    def executor(self) -> Executor:
        """Where physics runs: one for all parts of the test, as workers of a cluster take time to come."""
        executor: Executor = build(self.cfg.launcher)
        return executor

    def evaluate(
        self,
        method: Method,
        items: Sequence[Item],
        k: int,
        start_bar: StartBar,
        *,
        part: str | None = None,
        **options: Any,
    ) -> GraspResults:
        """Evaluate one method, by the configured protocol unless told otherwise; once, if the test is repeated."""
        labeled = len(items) * options.get("keep", k)
        what = f"{part or method.name}, {items[0].split}"
        settings = {
            "protocol": self.protocol,
            "min_clearance_m": self.cfg.min_clearance_m,
            "by_part": self.by_part,
        } | options
        return self.parts.once(
            what,
            lambda: evaluate_method(
                method,
                items,
                k,
                hand=self.hand,
                executor=self.executor,
                metrics=[build(metric) for metric in self.cfg.metrics.values()],
                progress=start_bar(what, labeled),
                **settings,
            ),
        )

    @property
    def sampling(self) -> SamplingConfig:
        """The checkpoint's own sampling with the configured changes, but for a temperature that is tuned."""
        changes: dict[str, Any] = OmegaConf.to_container(self.cfg.sampling)  # type: ignore[assignment]
        if changes["temperature"] == "tuned":
            changes["temperature"] = None
        return self.model.generator.sampling.changed(**changes)

    def sampler(self, temperature: float) -> ModelMethod:
        """Return the model as a method under test."""
        return ModelMethod(
            model=self.model,
            sampling=self.sampling.changed(temperature=temperature),
            seed=self.cfg.seed,
            prompt=self.cfg.prompt,
        )

    def temperature(self, start_bar: StartBar) -> tuple[float, str, dict[str, Any] | None]:
        """Return the temperature, where it comes from, and the tuning if there was one."""
        wanted = self.cfg.sampling.temperature
        if wanted is None:
            return self.sampling.solver.temperature, "the checkpoint's own", None
        if wanted != "tuned":
            return float(wanted), "given on the command line", None
        cfg = self.cfg.tuning
        settings = {
            **tuned_for(self.checkpoint, self.sampling),
            "data": self.model.data_hash,
            "tuning": OmegaConf.to_container(cfg),
            "seed": self.cfg.seed,
        }
        tuning = read_tuning(home_of(self.checkpoint), settings)
        if tuning is None:
            items = self.items("val", self.training_store, cfg.max_items)
            tuning = tune_temperature(
                lambda t: self.evaluate(
                    self.sampler(t),
                    items,
                    cfg.samples_per_item,
                    start_bar,
                    part=f"temperature {t:g}",
                    protocol=get_protocol(cfg.protocol),
                ),
                list(cfg.temperatures),
            )
            tuning = write_tuning(home_of(self.checkpoint), tuning, settings)
        return tuning["temperature"], "tuned on validation objects", tuning

    def items(self, split: str, store: GraspStore, count: int) -> list[Item]:
        """Choose the items of a split."""
        cfg = self.cfg
        settings = {"per_object": cfg.per_object, "min_points": cfg.min_points, "seed": cfg.seed}
        return chosen_items(store, split, max_items=count, **settings, by_part=self.by_part)

    @property
    def by_part(self) -> bool:
        """Whether prompts name parts."""
        return self.cfg.prompt in get_args(PartPrompt)

    def subsample_items(self, items: list[Item]) -> list[Item]:
        """Return the items as every method sees them: with ``points_share`` of the points of their views.

        Raises:
            ValueError: too few of an item's points would be left for the model's encoder.
        """
        share, needed = self.cfg.points_share, self.model.min_points
        if share == 1.0:
            return items
        items = [subsample_points(item, share, self.cfg.seed) for item in items]
        if (left := min(int(item.target_mask.sum()) for item in items)) < needed:
            raise ValueError(
                f"points_share={share} leaves an item {left} points of its target, the model's encoder needs {needed}. "
                f"Pass min_points={math.ceil(needed / share)}, or a larger points_share."
            )
        return items

    def baselines(self) -> list[Method]:
        """Build the methods to compare with, on the training objects."""
        if not self.cfg.baselines:
            return []
        pool = TrainingIndex.from_records(split_records(self.training_store, "train"))
        known = {"pool": pool, "seed": self.cfg.seed, "hand": self.hand, "device": self.cfg.device}
        return [build_baseline(entry, known) for entry in self.cfg.baselines.values()]

    def with_errors(self, model: ModelMethod) -> list[Method]:
        """Return the model as it is shown each error of ``config/robustness``."""
        return [
            WithError(model, build(error), name, self.cfg.seed, min_points=self.model.min_points)
            for name, error in self.cfg.robustness.items()
        ]

    def run(self, start_bar: StartBar) -> dict[str, Any]:
        """Evaluate model and baselines on every split; write everything down; return the results.

        Raises:
            ValueError: the same test is at work in its folder.
        """
        with owned_folder(self.output, doing="testing", remedy="Wait until it is done, or stop it"):
            return self._run(start_bar)

    def _run(self, start_bar: StartBar) -> dict[str, Any]:
        cfg = self.cfg
        temperature, source, tuning = self.temperature(start_bar)
        model, baselines = self.sampler(temperature), self.baselines()
        if self.by_part:
            baselines = [*without_prompt(model, cfg.prompt, self.hand, self.protocol), *baselines]
        check_names([model, *self.with_errors(model), *baselines])
        results: list[GraspResults] = []
        drawn: list[Gallery] = []
        for split in cfg.splits:
            items = self.subsample_items(self.items(split, self.store, cfg.max_items))
            labeled = self.evaluate(model, items, cfg.samples_per_item, start_bar)
            results.append(labeled)
            replayed = self.protocol if self.protocol.trial.covers_scene else None  # others push six times
            drawn += galleries(labeled, items, self.hand, cfg.pictures, replayed)
            if cfg.top is not None:
                few = items[: cfg.top.max_items]
                for rank in cfg.top.ranks:
                    assert isinstance(model.sampling, SamplingConfig)
                    ranked = replace(model, sampling=model.sampling.changed(rank=rank))
                    best = self.evaluate(
                        ranked, few, cfg.top.samples, start_bar, part=f"best by {rank}", keep=cfg.top.keep
                    )
                    results.append(replace(best, method=f"{best.method} by {rank}"))
            results += [
                self.evaluate(wrong, items, cfg.samples_per_item, start_bar)
                for wrong in self.with_errors(model)
            ]
            results += [
                self.evaluate(baseline, items, cfg.samples_per_item, start_bar) for baseline in baselines
            ]
        document = {
            "provenance": self._provenance(temperature, source, results),
            "methods": [result.to_json() for result in results],
            "tuning": tuning,
        }
        self._write(document, results, drawn)
        return document

    @cached_property
    def output(self) -> Path:
        """Folder of the results: the one that was named, or one of this test's own."""
        if self.cfg.output is not None:
            return Path(self.cfg.output)
        return folder_of_test(home_of(self.checkpoint), self._settings(), datetime.now())

    @cached_property
    def parts(self) -> Parts:
        """What was evaluated before this test was cut off."""
        return Parts(self.output / f"parts-{short_hash(self._settings())}")

    def _settings(self) -> dict[str, Any]:
        """Return everything that the results depend on."""
        cfg: dict[str, Any] = OmegaConf.to_container(self.cfg, resolve=True)  # type: ignore[assignment]
        completion = self.cfg.completion
        facts = {
            "checkpoint": file_hash(self.checkpoint),
            "store": self.store.content_hash,
            "completion": None if completion is None else file_hash(find_checkpoint(completion)),
        }
        return {key: value for key, value in cfg.items() if key not in _NOT_IN_RESULTS} | facts

    def _provenance(self, temperature: float, source: str, results: Sequence[GraspResults]) -> dict[str, Any]:
        cfg = self.cfg
        sampling = self.sampling
        of_model = [result for result in results if result.role is Role.MODEL]
        objects = sum(len(set(result.table["object_name"])) for result in of_model)
        grasps = sum(len(result.table) for result in of_model)
        own = self.model.generator.hand.name
        facts = provenance(
            seed=cfg.seed,
            protocol=self.protocol,
            data={"store": str(self.store.path), "hash": self.store.content_hash},
            model={
                "checkpoint": f"{cfg.checkpoint} ({file_hash(self.checkpoint)})",
                "solver": f"{sampling.solver.name}, {sampling.solver.steps} steps",
                "guidance": sampling.guidance.describe(),
                "temperature": f"{temperature:g}, {source}",
                "hand": self.hand.name + ("" if self.hand.name == own else f", served by a model of {own}"),
            },
        )
        return {
            "title": f"Grasps of {self.run_dir.name} in simulation",
            "sentence": (
                f"{grasps} grasps of {objects} objects it was not trained on, each from the partial cloud of one view, "
                f"put through protocol {self.protocol.name}."
            ),
            **facts,
            "config": OmegaConf.to_container(cfg, resolve=True),
        }

    def _write(
        self, document: dict[str, Any], results: Sequence[GraspResults], drawn: Sequence[Gallery]
    ) -> None:
        arrays: dict[str, Any] = {}
        others: dict[str, Any] = {}
        for number, r in enumerate(results):
            known = {name: values for name, values in vars(r.grasps).items() if values is not None}
            if r.role is Role.MODEL:
                known |= {"item": r.table["item"], "stable": r.table["stable"]}
                arrays |= {f"{r.split}/{name}": values for name, values in known.items()}
            else:
                others |= {f"{number}/{name}": values for name, values in known.items()}
        write_atomically(self.output / "grasps.npz", lambda part: np.savez_compressed(part, **arrays))
        write_atomically(self.output / METHODS, lambda part: np.savez_compressed(part, **others))
        sections = [build(section) for section in self.cfg.report.values()]
        write_report(document, drawn, sections, self.output / "report.html")
        held = [drawing for gallery in drawn if gallery.stable for drawing in gallery.drawings]
        if held:
            title = "Grasps of objects the model has never seen, held in simulation"
            render_png(held[:8], self.output / "grasps.png", columns=4, size=300, title=title)
        write_json(self.output / RESULTS, document)
        self.parts.remove()


def trained_on(run_dir: Path, checkpoint: Path) -> str | list[str]:
    """Return the files of the data set a run was trained on.

    Raises:
        FileNotFoundError: the run folder does not say.
    """
    config = run_dir / "config.yaml"
    if not config.is_file():
        raise FileNotFoundError(
            f"{checkpoint} lies in no run folder ({config} is missing), so its store is unknown. Pass store=<file>."
        )
    store = OmegaConf.select(OmegaConf.create(read_yaml(config)), "data.store")
    if isinstance(store, str):
        return store
    if not isinstance(store, ListConfig) or not len(store):
        raise ValueError(f"{config}: data.store names no data set, but {store}. Pass store=<file>.")
    return [str(path) for path in store]


def build_baseline(entry: DictConfig, known: dict[str, Any]) -> Method:
    """Build a baseline with those of the known values that its constructor takes."""
    factory = build(entry, _partial_=True)
    takes = inspect.signature(factory).parameters
    return factory(**{key: value for key, value in known.items() if key in takes})
