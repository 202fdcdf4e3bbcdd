"""A model at work: requests in, grasps out, several in one call where that changes no bit."""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from sceneleapultra.hands import Hand, load_hand
from sceneleapultra.models.approach import choose_approaches
from sceneleapultra.models.bundle.manifest import MANIFEST, digest, is_bundle
from sceneleapultra.models.bundle.probe import probe_request
from sceneleapultra.models.checkpoints.zoo import ZOO, find_checkpoint
from sceneleapultra.models.inference import GraspModel, load_grasp_model
from sceneleapultra.models.sampled_grasps import SampledGrasps
from sceneleapultra.models.sampler import GraspSampler
from sceneleapultra.serving.answer import ServedGrasps
from sceneleapultra.serving.reading import Work, in_fields
from sceneleapultra.serving.runtime.model import load_onnx_model
from sceneleapultra.serving.schema import GraspSettings
from sceneleapultra.utils.core.mistakes import answer as explain
from sceneleapultra.utils.requests import GraspRequest
from sceneleapultra.utils.requests.files import read_sensor

_LOG = logging.getLogger(__name__)
_EXAMPLE = ZOO / "example_view.npz"
_PROBE_GRASPS = 4


class EngineError(RuntimeError):
    """A request that this machine cannot answer now: its memory is full."""


class Engine:
    """A loaded model that answers requests.

    Args:
        model: what samples, with torch or on onnxruntime.
        hand: of the model; its kinematics say which approaches are free.
        name: what it was named.
        weights: digest of its file.
        batch: most requests of one call; more than 1 with torch only.
    """

    def __init__(self, model: GraspSampler, *, hand: Hand, name: str, weights: str, batch: int) -> None:
        self.model, self.hand, self.name, self.weights = model, hand, name, weights
        self.device = str(model.generator.device) if isinstance(model, GraspModel) else "onnxruntime"
        self.loaded = time.time()
        self.batch = self._safe_batch(batch)

    @classmethod
    def load(
        cls,
        name: str,
        *,
        device: str,
        plugins: Sequence[str],
        batch: int,
        completion: str | None = None,
        hypotheses: int = 1,
    ) -> "Engine":
        """Load a checkpoint, a bundle or a shipped model.

        On a processor requests are sampled one after the other, which a call of several does as well.

        Raises:
            FileNotFoundError: no such file.
            ValueError: see :func:`~sceneleapultra.models.inference.load_grasp_model`.
        """
        path = find_checkpoint(name)
        model = load_grasp_model(
            path, device=device, plugins=plugins, completion=completion, hypotheses=hypotheses
        )
        on_cpu = model.generator.device.type == "cpu"
        width = 1 if on_cpu else batch
        return cls(model, hand=model.hand, name=name, weights=_weights_of(path), batch=width)

    @classmethod
    def load_onnx(cls, name: str) -> "Engine":
        """Load a bundle with graphs, on onnxruntime and a processor: requests are sampled one after the other.

        Raises:
            FileNotFoundError: no such folder.
            ValueError: no bundle with graphs, see :func:`~sceneleapultra.serving.runtime.load_onnx_model`; or its
                hand is described differently here.
        """
        path = find_checkpoint(name)
        if not is_bundle(path):
            raise ValueError(
                f"--engine onnxruntime runs a bundle's graphs, and {name} is a checkpoint. Export it: "
                f"sceneleap export {name} <folder> --onnx"
            )
        model = load_onnx_model(path)
        hand = load_hand(model.hand_source)
        if hand.table_hash != model.card["description_hash"]:
            raise ValueError(
                f"{path} was made with another description of hand '{hand.name}' (hash "
                f"{model.card['description_hash']}, here {hand.table_hash}). Use the description it was made with."
            )
        return cls(model, hand=hand, name=name, weights=_weights_of(path), batch=1)

    def answer(self, works: Sequence[Work]) -> list[ServedGrasps | Exception]:
        """Sample requests of one key; each gets the grasps that it gets by itself, or why it gets none."""
        try:
            one_by_one = self.batch == 1
            made = [self._sample(work) for work in works] if one_by_one else self._sample_batch(works)
            return [self._served(work, one) for work, one in zip(works, made, strict=True)]
        except (ValueError, MemoryError, torch.OutOfMemoryError) as error:
            if len(works) > 1:  # whose fault it is shows one by one
                return [one for work in works for one in self.answer([work])]
            sentence = in_fields(str(explain(error)))
            return [ValueError(sentence) if isinstance(error, ValueError) else EngineError(sentence)]

    def _sample(self, work: Work) -> SampledGrasps:
        settings = work.settings
        return self.model.sample_request(
            work.request,
            settings.num_grasps,
            seed=settings.seed,
            sampling=work.sampling,
            prompt=settings.prompt,
            negative_prompts=settings.negative_prompts,
        )

    def _sample_batch(self, works: Sequence[Work]) -> list[SampledGrasps]:
        """Sample in one call, whose width is always the same: products of another height are rounded otherwise."""
        assert isinstance(self.model, GraspModel)
        filled = [*works, *[works[0]] * (self.batch - len(works))]
        made = self.model.sample_batch(
            [work.request for work in filled],
            works[0].settings.num_grasps,
            seeds=[work.settings.seed for work in filled],
            prompts=[work.settings.prompt for work in filled],
            negative_prompts=[work.settings.negative_prompts for work in filled],
            sampling=works[0].sampling,
        )
        return made[: len(works)]

    def _served(self, work: Work, made: SampledGrasps) -> ServedGrasps:
        warnings = (*work.warnings, *([made.expectation] if made.expectation else []))
        made = made if work.settings.best is None else made.best(work.settings.best)
        made = made.with_warnings(warnings)
        field = self.model.completed(work.request) if isinstance(self.model, GraspModel) else None
        ways = choose_approaches(self.hand, made, work.request, field)
        return ServedGrasps(
            grasps=made,
            waypoints=ways.waypoints(made),
            free=ways.free,
            up=np.asarray(work.request.up, dtype=np.float64),
            notes=work.request.notes,
            model=self.name,
        )

    def _safe_batch(self, batch: int) -> int:
        """Return a width of calls in which every request gets the bits that it gets beside others; 1 where none is.

        The model is warm then, too.
        """
        request = probe_request(GraspRequest.of(read_sensor(_EXAMPLE, None, None)))
        if self.model.uses_color:
            request = replace(request, rgb=np.full(request.points.shape, 128, np.uint8))
        settings = [GraspSettings(num_grasps=_PROBE_GRASPS, seed=seed) for seed in range(batch)]
        works = [Work(request, one, ()) for one in settings]
        self.batch = batch
        if batch == 1:
            self._sample(works[0])
            return 1
        batched = self._sample_batch(works)
        turned = self._sample_batch(works[::-1])[::-1]
        (lone,) = self._sample_batch(works[:1])
        same = all(
            np.array_equal(getattr(a, name), getattr(b, name))
            for a, b in zip([*batched, lone], [*turned, batched[0]], strict=True)
            for name in ("hand_pose", "pregrasp_qpos", "squeeze_qpos", "score", "clearance_m")
        )
        if same:
            return batch
        _LOG.warning(
            "requests are sampled one by one: in calls of %d this device rounds them otherwise", batch
        )
        return 1


def _weights_of(path: Path) -> str:
    return digest(path / MANIFEST if is_bundle(path) else path)[:12]
