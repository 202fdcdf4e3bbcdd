"""From a checkpoint and a cloud to grasps: the one call a user's program needs."""

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
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.sampling_config import SamplingConfig
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.core.plugins import use_plugins
from sceneleapultra.utils.geometry.cloud import CloudProcessor, PreparedCloud
from sceneleapultra.utils.geometry.cloud.checks import check_cloud
from sceneleapultra.utils.geometry.frames import TARGET_CENTERED, frame_is_known


@dataclass(frozen=True)
class SampledGrasps:
    """Grasps of one cloud in the cloud's own frame, best first unless the rank leaves their order."""

    hand_pose: Float[np.ndarray, "g p"]  # [translation, joints, quaternion wxyz]
    pregrasp_qpos: Float[np.ndarray, "g j"]
    squeeze_qpos: Float[np.ndarray, "g j"]
    score: Float[np.ndarray, "g"]  # what the grasps are ranked by; higher is better
    nfe: int  # evaluations of the network
    trajectory: Float[np.ndarray, "n g p"] | None = None  # hand poses after every step, if asked for


@dataclass(frozen=True)
class GraspModel:
    """A trained model ready to sample: a generator and the preparation of its clouds.

    Example:
        >>> model = load_grasp_model("runs/table/checkpoints/last.ckpt")
        >>> grasps = model.sample(points, 64, object_mask=mask, up=(0, -1, 0))
        >>> grasps.hand_pose, grasps.score
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

    def sample(
        self,
        points: Float[np.ndarray, "n 3"],
        num_grasps: int,
        *,
        object_mask: Bool[np.ndarray, "n"],
        up: tuple[float, float, float],
        viewpoint: tuple[float, float, float] = (0.0, 0.0, 0.0),
        rgb: UInt8[np.ndarray, "n 3"] | None = None,
        T_cloud_object: Float[np.ndarray, "4 4"] | None = None,
        prompt: str | None = None,
        negative_prompts: Sequence[str] = (),
        seed: int = 0,
        sampling: SamplingConfig | Mapping[str, Any] | None = None,
        trajectory: bool = False,
    ) -> SampledGrasps:
        """Generate grasps for the masked object of a cloud in any metric frame.

        Args:
            points: of the scene (m); float64 where the frame is that of a map, with its origin far away.
            num_grasps: how many.
            object_mask: which points belong to the object to grasp.
            up: direction against gravity in the frame of the cloud.
            viewpoint: camera center in the frame of the cloud; the origin for a cloud in the camera's frame.
            rgb: the points' colors, for models that were trained with colors; None for those that do without.
            T_cloud_object: pose of the object, for models of plain poses in the frame ``object_centric``.
            prompt: what to grasp, in words, for a model that was trained with them.
            negative_prompts: what not to grasp.
            seed: of the noise, and of points chosen at random.
            sampling: how; None for the checkpoint's own, a mapping for changes of that by name, for example
                ``{"steps": 10, "guidance": "stable"}``, see
                :meth:`~sceneleapultra.models.sampling_config.SamplingConfig.changed`.
            trajectory: whether to return the poses after every step of the solver, too.

        Raises:
            ValueError: the cloud is empty, not finite, too large to be in metres or has too few points on the object;
                colors are missing or not wanted; settings that do not exist or that the model was not trained for.
        """
        if num_grasps < 1:
            raise ValueError(f"num_grasps must be at least 1, got {num_grasps}.")
        cloud, mask = np.asarray(points), np.asarray(object_mask, dtype=bool)
        if cloud.dtype != np.float32:
            cloud = cloud.astype(np.float64)
        self._check(cloud, mask, rgb)
        eye = np.asarray(viewpoint, dtype=np.float64)
        prepared = self.processor(eye, has_object_pose=T_cloud_object is not None)(
            cloud,
            mask,
            viewpoint=eye,
            up=np.asarray(up, dtype=np.float64),
            rgb=rgb,
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

        def in_cloud(poses: torch.Tensor) -> np.ndarray:
            return prepared.restore(poses.cpu().numpy())

        visited = None if made.trajectory is None else in_cloud(made.trajectory[:, 0, order])
        return SampledGrasps(
            hand_pose=in_cloud(made.hand_pose[0, order]),
            pregrasp_qpos=made.pregrasp_qpos[0, order].cpu().numpy(),
            squeeze_qpos=made.squeeze_qpos[0, order].cpu().numpy(),
            score=made.score[0, order].cpu().numpy(),
            nfe=made.nfe,
            trajectory=visited,
        )

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

    def _check(
        self,
        points: Float[np.ndarray, "n 3"],
        mask: Bool[np.ndarray, "n"],
        rgb: UInt8[np.ndarray, "n 3"] | None,
    ) -> None:
        """Refuse what no grasp can be made of."""
        check_cloud(points, mask, rgb)
        if mask.sum() < self.min_points:
            raise ValueError(
                f"The encoder needs at least {self.min_points} points on the object, object_mask marks "
                f"{int(mask.sum())} of {len(points)}. Is the mask right, and the object in view?"
            )
        extent = float(np.ptp(points[mask], axis=0).max())
        if extent > 2.0:
            raise ValueError(
                f"The object's points span {extent:.1f}: points must be in metres. Divide millimetres by 1000."
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
