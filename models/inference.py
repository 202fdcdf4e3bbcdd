"""From a checkpoint and a cloud to grasps: the one call a user's program needs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from omegaconf import OmegaConf

from sceneleapultra.hands import Hand
from sceneleapultra.models.checkpoints.migrate import migrated
from sceneleapultra.models.checkpoints.zoo import find_checkpoint
from sceneleapultra.models.diffusion.likelihood import FlowRank
from sceneleapultra.models.diffusion.samplers import Sampler
from sceneleapultra.models.guidance.guide import Guidance
from sceneleapultra.models.learning import GraspLearning
from sceneleapultra.models.sampling import Rank
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.core.config import CONFIG_DIR, build, load_group
from sceneleapultra.utils.core.names import unknown_name
from sceneleapultra.utils.geometry.cloud import CloudProcessor, PreparedCloud
from sceneleapultra.utils.geometry.cloud.checks import check_cloud
from sceneleapultra.utils.geometry.frames import TARGET_CENTERED, frame_is_known


@dataclass(frozen=True)
class SampledGrasps:
    """Grasps of one cloud, best first, in the cloud's own frame."""

    hand_pose: Float[np.ndarray, "g p"]  # [translation, joints, quaternion wxyz]
    pregrasp_qpos: Float[np.ndarray, "g j"]
    squeeze_qpos: Float[np.ndarray, "g j"]
    score: Float[np.ndarray, "g"]  # log-odds of success, or what another rank orders by
    nfe: int
    trajectory: Float[np.ndarray, "n g p"] | None = None  # hand poses after every step, if asked for


@dataclass(frozen=True)
class GraspModel:
    """A trained model ready to sample.

    Example:
        >>> model = load_grasp_model("runs/table/checkpoints/last.ckpt")
        >>> grasps = model.sample(points, num_grasps=64, object_mask=mask, viewpoint=(0, 0, 0), up=(0, -1, 0), seed=0)
        >>> grasps.hand_pose, grasps.score
    """

    module: GraspLearning
    cloud_settings: dict[str, Any]

    @property
    def hand(self) -> Hand:
        """The hand whose grasps are generated."""
        return self.module.hand

    @property
    def frame(self) -> str:
        """The coordinate mode the model was trained in, see ``utils/geometry/frames.py``."""
        return self.module.denoiser.normalizer.frame

    @property
    def data_hash(self) -> str:
        """Content hash of the training store."""
        return self.module.denoiser.normalizer.data_hash

    @property
    def min_points(self) -> int:
        """Fewest points of the target that the encoder reads."""
        return self.module.denoiser.encoder.min_points

    @property
    def sees_color(self) -> bool:
        """Whether ``sample`` reads ``scene_rgb``."""
        return self.module.denoiser.encoder.use_color

    def sample(
        self,
        scene_pc: Float[np.ndarray, "n 3"],
        num_grasps: int,
        *,
        object_mask: Bool[np.ndarray, "n"],
        viewpoint: tuple[float, float, float],
        up: tuple[float, float, float],
        seed: int,
        generator: torch.Generator | None = None,
        scene_rgb: UInt8[np.ndarray, "n 3"] | None = None,
        T_cloud_object: Float[np.ndarray, "4 4"] | None = None,
        sampler: str | None = None,
        steps: int | None = None,
        temperature: float | None = None,
        guidance: str | Guidance | None = None,
        cfg_scale: float | None = None,
        prompt: str | None = None,
        negative_prompts: Sequence[str] = (),
        trajectory: bool = False,
        rank: str = "score",
    ) -> SampledGrasps:
        """Generate grasps for the masked object of a cloud in any metric frame.

        Args:
            scene_pc: points (m); float64 where the frame is that of a map, with its origin far away.
            num_grasps: how many.
            object_mask: which points belong to the object to grasp.
            viewpoint: camera center in the frame of the cloud; (0, 0, 0) for a cloud in the camera's frame.
            up: direction against gravity in the frame of the cloud.
            seed: of the noise, and of points chosen at random.
            generator: of the noise instead, on the model's device; it moves on, so that every call makes other grasps.
            scene_rgb: the points' colors, for models that were trained with colors; None for those that do without.
            T_cloud_object: pose of the object, for models of plain poses in the frame ``object_centric``.
            sampler: name, instead of the model's own.
            steps: of the sampler, instead of its own.
            temperature: scale of the initial noise, instead of the model's own.
            guidance: what steers sampling: a name of ``config/guidance``, such as ``physics``, or settings.
            cfg_scale: of classifier-free guidance, instead of that in ``guidance``: 1 off, 0 unconditional.
            prompt: what to grasp, in words, for a model that was trained with them.
            negative_prompts: what not to grasp.
            trajectory: whether to return the poses after every step of the sampler, too.
            rank: what the grasps are ordered by: ``score`` (the learned log-odds of holding and being clear of the
                scene), ``hold`` (of holding, wherever the hand may be), ``log_prob`` or ``divergence`` (of the
                model's flow, see ``config/rank``), or ``none``, which leaves them as they came.

        Raises:
            ValueError: the cloud is empty, not finite, too large to be in metres or has too few points on the object;
                colors are missing or not wanted; no such sampler or guidance, or one that the model was not
                trained for.
        """
        if num_grasps < 1:
            raise ValueError(f"num_grasps must be at least 1, got {num_grasps}.")
        points, mask = np.asarray(scene_pc), np.asarray(object_mask, dtype=bool)
        if points.dtype != np.float32:
            points = points.astype(np.float64)
        self._check(points, mask, scene_rgb)
        eye = np.asarray(viewpoint, dtype=np.float64)
        prepared = self.processor(eye, has_object_pose=T_cloud_object is not None)(
            points,
            mask,
            viewpoint=eye,
            up=np.asarray(up, dtype=np.float64),
            rgb=scene_rgb,
            rng=np.random.default_rng(seed),
            T_cloud_object=T_cloud_object,
        )
        batch = self._batch(prepared, prompt, negative_prompts).to(self.module.device)
        chosen_sampler = self.chosen_sampler(sampler, steps=steps, temperature=temperature)
        made = self.module.forward_infer(
            batch,
            num_grasps,
            sampler=chosen_sampler,
            guidance=chosen_guidance(guidance, cfg_scale),
            seed=seed,
            generator=generator,
            trajectory=trajectory,
            rank=chosen_rank(rank),
        )
        order = torch.arange(num_grasps) if rank == "none" else made.score[0].argsort(descending=True)

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
        frame = self.module.denoiser.normalizer.frame
        if self.module.denoiser.representation != "plain" and not frame_is_known(
            frame, viewpoint, has_object_pose=has_object_pose
        ):
            frame = TARGET_CENTERED
        return CloudProcessor.from_settings(self.cloud_settings, frame)

    @staticmethod
    def _batch(cloud: PreparedCloud, prompt: str | None, negative_prompts: Sequence[str]) -> GraspBatch:
        """Return the batch of one cloud."""
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

    def chosen_sampler(
        self, name: str | None, *, steps: int | None = None, temperature: float | None = None
    ) -> Sampler:
        """Return the model's own sampler or the named one of ``config/model/sampler``, with these settings changed.

        Raises:
            ValueError: no such sampler, or settings that it cannot have.
        """
        own = self.module.sampler
        chosen: Sampler = own if name in (None, own.name) else build(load_group("model/sampler", name))
        changed: dict[str, Any] = {"steps": steps, "temperature": temperature}
        return replace(chosen, **{k: v for k, v in changed.items() if v is not None})

    def _check(
        self,
        points: Float[np.ndarray, "n 3"],
        mask: Bool[np.ndarray, "n"],
        rgb: UInt8[np.ndarray, "n 3"] | None,
    ) -> None:
        """Refuse what no grasp can be made of."""
        check_cloud(points, mask, rgb)
        needed = self.module.denoiser.encoder.min_points
        if mask.sum() < needed:
            raise ValueError(
                f"The encoder needs at least {needed} points on the object, object_mask marks {int(mask.sum())} of "
                f"{len(points)}. Is the mask right, and the object in view?"
            )
        extent = float(np.ptp(points[mask], axis=0).max())
        if extent > 2.0:
            raise ValueError(
                f"The object's points span {extent:.1f}: scene_pc must be in metres. Divide millimetres by 1000."
            )


def chosen_guidance(guidance: str | Guidance | None, cfg_scale: float | None = None) -> Guidance:
    """Return guidance by its name in ``config/guidance`` (None: ``none``), with this scale.

    Raises:
        ValueError: no such guidance, or a scale that means nothing.
    """
    if not isinstance(guidance, Guidance):
        guidance = build(load_group("guidance", guidance or "none"))
        assert isinstance(guidance, Guidance)
    if cfg_scale is None:
        return guidance
    return replace(guidance, classifier_free=replace(guidance.classifier_free, scale=cfg_scale))


def chosen_rank(name: str) -> Rank:
    """Return what grasps are ordered by, by its name.

    Raises:
        ValueError: no such rank.
    """
    known = {path.stem for path in (CONFIG_DIR / "rank").glob("*.yaml")}
    if name in ("score", "none"):
        return None
    if name == "hold":
        return "hold"
    if name not in known:
        raise unknown_name("rank", name, {*known, "score", "hold", "none"})
    rank: FlowRank = build(load_group("rank", name))
    return rank


def load_grasp_model(path: str | Path, device: str = "cpu") -> GraspModel:
    """Load a checkpoint for sampling, by path or by the name of a shipped model, with its averaged weights.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint of this project, or its hand is described differently now, or a newer version of
            the project wrote it, or there is no such device.
    """
    path = find_checkpoint(path)
    _require_device(device)
    checkpoint = torch.load(path, map_location=device, weights_only=True)
    if not isinstance(checkpoint, dict) or "model_config" not in checkpoint:
        raise ValueError(
            f"{path} holds no grasp model: it has no 'model_config'. Was it written by train_lightning.py?"
        )
    checkpoint = migrated(checkpoint)
    config = checkpoint["model_config"]
    settings = {**config["model"], "encoder": _without_files(config["model"]["encoder"])}
    module: GraspLearning = build(OmegaConf.create({**settings, "optimizer": None, "scheduler": None}))
    if checkpoint["hand_hash"] != module.hand.table_hash:
        raise ValueError(
            f"{path} was trained with another description of hand '{module.hand.name}' "
            f"(hash {checkpoint['hand_hash']}, here {module.hand.table_hash}). Use the description it was trained with."
        )
    _same_weights(path, module.state_dict(), checkpoint["state_dict"])
    module.load_state_dict(checkpoint["state_dict"])
    module.config = config
    return GraspModel(module=module.to(device).eval(), cloud_settings=config["cloud"])


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


def _without_files(encoder: dict[str, Any]) -> dict[str, Any]:
    """Leave out the weights an encoder once started from: the checkpoint holds what became of them."""
    return {
        key: None if key == "weights" else _without_files(value) if isinstance(value, dict) else value
        for key, value in encoder.items()
    }


def _same_weights(path: Path, own: dict[str, Any], given: dict[str, Any]) -> None:
    """Refuse weights of another architecture, by the first that does not fit."""
    for key in (*own, *given):
        # What is not a tensor, a normalizer's frame, has no shape to compare.
        here, there = (tuple(getattr(w[key], "shape", ())) if key in w else "absent" for w in (own, given))
        if here != there:
            raise ValueError(
                f"{path} holds weights of another architecture than its configuration describes: {key} is {there} in "
                f"the file and {here} in the model. Was the file changed?"
            )
