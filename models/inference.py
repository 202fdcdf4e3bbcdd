"""From a checkpoint and a cloud to grasps: the one call a user's program needs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from sceneleapultra.hands import Hand
from sceneleapultra.models.bundle.manifest import is_bundle
from sceneleapultra.models.bundle.probe import check_probe
from sceneleapultra.models.checkpoints.load import load_generator
from sceneleapultra.models.checkpoints.zoo import find_checkpoint
from sceneleapultra.models.clearance import (
    hand_span,
    hypothesis_clearances,
    neighbor_clearance,
    observed_clearance,
)
from sceneleapultra.models.completion.complete import Completes, load_completion
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.network.context import GeneratedGrasps
from sceneleapultra.models.sampled_grasps import SampledGrasps
from sceneleapultra.models.sampler import GraspSampler, require_finite
from sceneleapultra.models.sampling_config import SamplingConfig
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.core.plugins import use_plugins
from sceneleapultra.utils.geometry.cloud import PreparedCloud
from sceneleapultra.utils.geometry.voxels.field import SceneField
from sceneleapultra.utils.requests import SHIPPED_VIEWS, GraspRequest, LearnedViews


@dataclass(frozen=True)
class GraspModel(GraspSampler):
    """A trained model ready to sample: a generator and the preparation of its clouds.

    Example:
        >>> model = load_grasp_model("runs/table/checkpoints/last.ckpt")
        >>> grasps = model.sample(points, 64, object_mask=mask)
        >>> grasps.position, grasps.quat_wxyz, grasps.qpos, grasps.score, grasps.clearance_m
    """

    generator: GraspGenerator
    cloud_settings: dict[str, Any]
    completion: Completes | None = field(default=None, kw_only=True)

    @property
    def hand(self) -> Hand:
        """The hand whose grasps are generated."""
        return self.generator.hand

    @property
    def frame(self) -> str:
        """The coordinate mode the model was trained in, see ``utils/geometry/frames.py``."""
        return self.generator.normalizer.frame

    @property
    def data_hash(self) -> str:
        """Content hash of the training store."""
        return self.generator.normalizer.data_hash

    @property
    def anchored(self) -> bool:
        """Whether it reads a cloud relative to itself."""
        return self.generator.representation.anchored

    @property
    def min_points(self) -> int:
        """Fewest points of the target that the encoder reads."""
        return self.generator.encoder.min_points

    @property
    def uses_color(self) -> bool:
        """Whether ``sample`` reads ``rgb``."""
        return self.generator.encoder.use_color

    @property
    def views(self) -> LearnedViews:
        """What the views were like that the model learned from."""
        return self.generator.normalizer.views or SHIPPED_VIEWS

    @property
    def has_score_head(self) -> bool:
        """Whether it says how likely grasps succeed."""
        return self.generator.has_score_head

    @property
    def hand_span_m(self) -> float:
        """The largest distance between two points of the hand at rest."""
        return hand_span(self.hand)

    def completed(self, request: GraspRequest) -> SceneField | None:
        """Return the completed scene of a request, in its frame; None without a completion."""
        return None if self.completion is None else self.completion.field(request)

    def sample_request(
        self,
        request: GraspRequest,
        num_grasps: int,
        *,
        T_cloud_object: Float[np.ndarray, "4 4"] | None = None,
        prompt: str | None = None,
        negative_prompts: Sequence[str] = (),
        seed: int = 0,
        sampling: SamplingConfig | Mapping[str, Any] | None = None,
        trajectory: bool = False,
    ) -> SampledGrasps:
        """Generate grasps for a request, which is not compared with what was learned: see :meth:`check`.

        Args:
            request: a cloud with its object.
            num_grasps: how many.
            T_cloud_object: pose of the object, for models of plain poses in the frame ``object_centric``.
            prompt: what to grasp, in words, for a model that was trained with them.
            negative_prompts: what not to grasp.
            seed: of the noise, and of points chosen at random.
            sampling: how; None for the checkpoint's own, a mapping for changes of that by name, for example
                ``{"steps": 10, "guidance": "stable"}``, see
                :meth:`~sceneleapultra.models.sampling_config.SamplingConfig.changed`.
            trajectory: whether to return the poses after every step of the solver, too.

        Raises:
            ValueError: too few points on the object; colors are missing or not wanted; settings that do not exist or
                that the model was not trained for; or what comes out is not finite.
        """
        prepared = self.prepare(request, num_grasps, seed=seed, T_cloud_object=T_cloud_object)
        batch = as_batch(prepared, prompt, negative_prompts)
        config, completed = self._chosen(sampling), self.completed(request)
        made = self.generator.sample(
            batch.to(self.generator.device),
            num_grasps,
            seeds=[seed],
            sampling=config,
            trajectory=trajectory,
            fields=None if completed is None else [completed.moved_to(prepared.T_cloud_frame)],
        )
        return self._result(request, prepared, made, 0, config, completed)

    def sample_batch(
        self,
        requests: Sequence[GraspRequest],
        num_grasps: int,
        *,
        seeds: Sequence[int],
        prompts: Sequence[str | None],
        negative_prompts: Sequence[Sequence[str]],
        sampling: SamplingConfig | Mapping[str, Any] | None = None,
    ) -> list[SampledGrasps]:
        """Generate grasps for several requests in one call; see :meth:`sample_request`.

        On a CPU every request gets, bit for bit, the grasps that it gets by itself.

        Args:
            requests: clouds with their objects.
            num_grasps: how many for each.
            seeds: one per request.
            prompts: one per request, or None for each.
            negative_prompts: of each request; as many for each.
            sampling: how, one for all.

        Raises:
            ValueError: see :meth:`sample_request`.
        """
        prepared = [
            self.prepare(request, num_grasps, seed=seed, T_cloud_object=None)
            for request, seed in zip(requests, seeds, strict=True)
        ]
        batch = GraspBatch.join(
            [as_batch(*one) for one in zip(prepared, prompts, negative_prompts, strict=True)]
        )
        config = self._chosen(sampling)
        completed = [self.completed(request) for request in requests]
        fields = [
            scene.moved_to(one.T_cloud_frame)
            for scene, one in zip(completed, prepared, strict=True)
            if scene is not None
        ]
        made = self.generator.sample(
            batch.to(self.generator.device),
            num_grasps,
            seeds=seeds,
            sampling=config,
            trajectory=False,
            fields=fields or None,
        )
        return [
            self._result(request, one, made, i, config, scene)
            for i, (request, one, scene) in enumerate(zip(requests, prepared, completed, strict=True))
        ]

    def _chosen(self, sampling: SamplingConfig | Mapping[str, Any] | None) -> SamplingConfig:
        if isinstance(sampling, SamplingConfig):
            return sampling
        return self.generator.sampling.changed(**(sampling or {}))

    def _result(
        self,
        request: GraspRequest,
        prepared: PreparedCloud,
        made: GeneratedGrasps,
        i: int,
        config: SamplingConfig,
        completed: SceneField | None,
    ) -> SampledGrasps:
        """Return the grasps of the i-th scene, in the frame of its request."""
        solver = config.solver
        hand_pose, squeeze, score = (
            x[i].cpu().numpy() for x in (made.hand_pose, made.squeeze_qpos, made.score)
        )
        require_finite((hand_pose, squeeze, score), solver.name, solver.steps, solver.temperature)
        hand_pose = prepared.restore(hand_pose)

        solid = None if completed is None else hypothesis_clearances(self.hand, hand_pose, completed)

        def clearance(of_observed: Callable[..., np.ndarray]) -> np.ndarray:
            observed = of_observed(self.hand, hand_pose, request)
            return observed if solid is None else np.minimum(observed, solid.min(0))

        clearance_m = clearance(observed_clearance)
        score = config.rank.of_answer(score, lambda: clearance(neighbor_clearance))
        order = np.argsort(-score, kind="stable") if config.rank.sort else np.arange(len(score))
        odds = None
        if made.log_odds is not None:
            odds = made.log_odds[i].sigmoid().cpu().numpy()[order].astype(np.float64)
        visited = None if made.trajectory is None else made.trajectory[:, i].cpu().numpy()[:, order]
        return SampledGrasps(
            hand_pose=hand_pose[order],
            pregrasp_qpos=made.pregrasp_qpos[i].cpu().numpy()[order],
            squeeze_qpos=squeeze[order],
            score=score[order],
            p_stable=None if odds is None else odds[:, 0],
            p_collision_free=None if odds is None else odds[:, 1],
            clearance_m=clearance_m[order],
            clearance_spread_m=None if solid is None else np.ptp(solid, axis=0)[order],
            joint_names=tuple(self.hand.joint_names),
            hand=self.hand.name,
            frame=request.frame,
            nfe=made.nfe,
            trajectory=None if visited is None else prepared.restore(visited),
        )


def as_batch(cloud: PreparedCloud, prompt: str | None, negative_prompts: Sequence[str]) -> GraspBatch:
    """Return the batch of one prepared cloud."""
    return GraspBatch(
        scene_pc=torch.from_numpy(cloud.scene_pc)[None],
        point_valid=torch.from_numpy(cloud.point_valid)[None],
        object_mask=torch.from_numpy(cloud.object_mask)[None],
        viewpoint=torch.from_numpy(cloud.viewpoint)[None],
        up=torch.from_numpy(cloud.up)[None],
        T_world_frame=torch.from_numpy(cloud.T_cloud_frame.astype(np.float32))[None],
        scene_rgb=None if cloud.scene_rgb is None else torch.from_numpy(cloud.scene_rgb)[None],
        positive_prompt=() if prompt is None else (prompt,),
        negative_prompts=(tuple(negative_prompts),) if negative_prompts else (),
    )


def load_grasp_model(
    path: str | Path,
    device: str = "cpu",
    *,
    plugins: Sequence[str] = (),
    completion: str | Path | None = None,
    hypotheses: int = 1,
) -> GraspModel:
    """Load a checkpoint for sampling, with its averaged weights, or a bundle.

    A bundle's files are compared with their digests, and its probe is sampled.

    Args:
        path: of the checkpoint or of the bundle's folder, or the name of a shipped model.
        device: cpu, cuda or cuda:<number>.
        plugins: packages outside the project that the model may be built from.
        completion: checkpoint of scene completion, by which hidden parts of scenes count in clearances, guidance by
            physics and approaches; None for what the camera saw alone.
        hypotheses: of each scene that the completion draws; the worst counts. More than one needs a latent completion.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint or bundle of this project, or one that computes other grasps than it should, or its
            hand is described differently now, or a newer version of the project wrote it, or there is no such device.
    """
    _require_device(device)
    if completion is None and hypotheses != 1:
        raise ValueError(
            f"hypotheses={hypotheses} are of a completion, and none was passed. Pass completion=."
        )
    use_plugins(plugins)
    path = find_checkpoint(path)
    bundle = is_bundle(path)
    generator, config = load_generator(path, "cpu" if bundle else device)
    completes = None if completion is None else load_completion(completion, device, hypotheses=hypotheses)
    model = GraspModel(generator=generator, cloud_settings=config["cloud"], completion=completes)
    if bundle:
        check_probe(replace(model, completion=None), path)
        generator.to(device)
    return model


def _require_device(name: str) -> None:
    """Refuse a device that this machine does not have."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device={name} is none: expected cpu, cuda or cuda:<number>.") from error
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        raise ValueError(
            f"device={name}: torch {torch.__version__} sees {count} CUDA devices here. Pass device=cpu or another."
        )
