"""From a checkpoint and a cloud to grasps: the one call a user's program needs."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from sceneleapultra.hands import Hand
from sceneleapultra.models.checkpoints.load import load_generator
from sceneleapultra.models.checkpoints.zoo import find_checkpoint
from sceneleapultra.models.clearance import hand_span, observed_clearance
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.sampled_grasps import SampledGrasps
from sceneleapultra.models.sampling_config import SamplingConfig
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.core.plugins import use_plugins
from sceneleapultra.utils.geometry.cloud import CloudProcessor, PreparedCloud
from sceneleapultra.utils.geometry.frames import TARGET_CENTERED, frame_is_known
from sceneleapultra.utils.requests import SHIPPED_VIEWS, GraspRequest, LearnedViews, Target
from sceneleapultra.utils.requests.checks import check_request
from sceneleapultra.utils.requests.request import Vector

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class GraspModel:
    """A trained model ready to sample: a generator and the preparation of its clouds.

    Example:
        >>> model = load_grasp_model("runs/table/checkpoints/last.ckpt")
        >>> grasps = model.sample(points, 64, object_mask=mask)
        >>> grasps.position, grasps.quat_wxyz, grasps.qpos, grasps.score, grasps.clearance_m
    """

    generator: GraspGenerator
    cloud_settings: dict[str, Any]

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

    def sample(
        self,
        points: Float[np.ndarray, "*grid 3"],
        num_grasps: int,
        *,
        object_mask: Bool[np.ndarray, "*grid"] | None = None,
        up: Vector | None = None,
        viewpoint: Vector = (0.0, 0.0, 0.0),
        rgb: UInt8[np.ndarray, "*grid 3"] | None = None,
        **settings: Any,
    ) -> SampledGrasps:
        """Generate grasps for an object of a cloud in any metric frame.

        Args:
            points: of the scene (m), (n, 3) or (h, w, 3); float64 where the frame is that of a map.
            num_grasps: how many.
            object_mask: which points belong to the object to grasp; None for the only one above the table.
            up: direction against gravity in the frame of the cloud; None to measure it from the table.
            viewpoint: camera center in the frame of the cloud; the origin for a cloud in the camera's frame.
            rgb: the points' colors, for models that were trained with colors; None for those that do without.
            settings: see :meth:`sample_request`.

        Raises:
            ValueError: see :meth:`GraspRequest.of`, :meth:`check` and :meth:`sample_request`.
        """
        target = Target(mask=None if object_mask is None else np.asarray(object_mask))
        request = GraspRequest.from_points(points, target=target, up=up, viewpoint=viewpoint, rgb=rgb)
        for note in request.notes:
            _LOG.info(note)
        warnings = self.check(request)
        made = self.sample_request(request, num_grasps, **settings)
        warnings += (made.expectation,) if made.expectation else ()
        for warning in warnings:
            _LOG.warning(warning)
        return made.with_warnings(warnings)

    def check(self, request: GraspRequest) -> tuple[str, ...]:
        """Compare a request with what the model learned from; return what is odd, each with both numbers.

        Raises:
            ValueError: no grasp can be made for it, see :func:`~sceneleapultra.utils.requests.checks.check_request`.
        """
        return check_request(request, self.views, span_m=hand_span(self.hand))

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
        if isinstance(num_grasps, bool) or not isinstance(num_grasps, int | np.integer) or num_grasps < 1:
            raise ValueError(f"num_grasps: expected a whole number of at least 1, got {num_grasps}.")
        if request.object_mask.sum() < self.min_points:
            raise ValueError(
                f"The encoder needs at least {self.min_points} points on the object, object_mask marks "
                f"{int(request.object_mask.sum())} of {len(request.points)}. Is the mask right, and the object in view?"
            )
        prepared = self.processor(request.viewpoint, has_object_pose=T_cloud_object is not None)(
            request.points,
            request.object_mask,
            viewpoint=request.viewpoint,
            up=request.up,
            rgb=request.rgb,
            rng=np.random.default_rng(seed),
            T_cloud_object=T_cloud_object,
        )
        config = self.generator.sampling.changed(**sampling) if isinstance(sampling, Mapping) else sampling
        config = config or self.generator.sampling
        batch = as_batch(prepared, prompt, negative_prompts).to(self.generator.device)
        made = self.generator.sample(batch, num_grasps, seeds=[seed], sampling=config, trajectory=trajectory)
        order = torch.arange(num_grasps, device=made.score.device)
        if config.rank.sort:
            order = made.score[0].argsort(descending=True)

        solver = config.solver
        if not all(x.isfinite().all() for x in (made.hand_pose, made.squeeze_qpos, made.score)):
            raise ValueError(
                f"The model made grasps that are not finite, with sampling.solver={solver.name}, "
                f"steps={solver.steps}, temperature={solver.temperature:g}. They are not returned: sample with the "
                "checkpoint's own settings, and see whether its weights are finite."
            )

        def of_best(values: torch.Tensor) -> np.ndarray:
            return values[0, order].cpu().numpy()

        hand_pose = prepared.restore(of_best(made.hand_pose))
        odds = None if made.log_odds is None else of_best(made.log_odds.sigmoid()).astype(np.float64)
        visited = None if made.trajectory is None else made.trajectory[:, 0, order].cpu().numpy()
        return SampledGrasps(
            hand_pose=hand_pose,
            pregrasp_qpos=of_best(made.pregrasp_qpos),
            squeeze_qpos=of_best(made.squeeze_qpos),
            score=of_best(made.score),
            p_stable=None if odds is None else odds[:, 0],
            p_collision_free=None if odds is None else odds[:, 1],
            clearance_m=observed_clearance(self.hand, hand_pose, request),
            joint_names=tuple(self.hand.joint_names),
            hand=self.hand.name,
            frame=request.frame,
            nfe=made.nfe,
            trajectory=None if visited is None else prepared.restore(visited),
        )

    def sample_any(
        self, request: GraspRequest, num_grasps: int, **settings: Any
    ) -> tuple[GraspRequest, SampledGrasps]:
        """Generate grasps for every object above the table; return the object that is the likeliest to be picked.

        Args:
            request: a cloud; which of its objects is marked does not matter.
            num_grasps: how many for each object.
            settings: see :meth:`sample_request`.

        Returns:
            A request for the chosen object, and its grasps.

        Raises:
            ValueError: there is no object, or none that can be grasped (each with why), or what
                :meth:`sample_request` raises; or a model without a score head.
        """
        if not self.generator.has_score_head:
            raise ValueError("Choosing an object needs a score head, this model has none. Name the object.")
        found: list[tuple[float, GraspRequest, SampledGrasps]] = []
        refused: list[str] = []
        for one in request.objects():
            try:
                odd = self.check(one)
                made = self.sample_request(one, num_grasps, **settings)
            except ValueError as error:
                refused.append(str(error))
                continue
            assert made.p_success is not None
            found.append((float(made.p_success.max()), one, made.with_warnings(odd)))
        if not found:
            reasons = "\n".join(refused) or "None stands out of the table."
            raise ValueError(f"No object of this cloud can be grasped:\n{reasons}")
        _, chosen, made = max(found, key=lambda one: one[0])
        return chosen, made

    def processor(self, viewpoint: Float[np.ndarray, "3"], *, has_object_pose: bool) -> CloudProcessor:
        """Return what prepares a cloud as the training data were prepared, in the frame the model learned in.

        A model of anchored poses reads the cloud relative to itself: where its frame cannot be known, it needs none.
        """
        frame = self.frame
        if self.generator.representation.anchored and not frame_is_known(
            frame, viewpoint, has_object_pose=has_object_pose
        ):
            frame = TARGET_CENTERED
        return CloudProcessor.from_settings(self.cloud_settings, frame)


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


def load_grasp_model(path: str | Path, device: str = "cpu", *, plugins: Sequence[str] = ()) -> GraspModel:
    """Load a checkpoint for sampling, with its averaged weights.

    Args:
        path: of the checkpoint, or the name of a shipped model.
        device: cpu, cuda or cuda:<number>.
        plugins: packages outside the project that the model may be built from.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint of this project, or its hand is described differently now, or a newer version of
            the project wrote it, or there is no such device.
    """
    _require_device(device)
    use_plugins(plugins)
    generator, config = load_generator(find_checkpoint(path), device)
    return GraspModel(generator=generator, cloud_settings=config["cloud"])


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
