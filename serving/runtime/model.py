"""A bundle as a model to sample from, without torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from sceneleapultra.models.beside import (
    FAR_CLEARANCE_M,
    GRASPS_AT_ONCE,
    MEASURED,
    collision_free_success,
    neighbor_points,
    points_beside,
)
from sceneleapultra.models.bundle.manifest import read_manifest
from sceneleapultra.models.bundle.parts import CONFIG, HAND, NORMALIZER, RUNTIME
from sceneleapultra.models.bundle.probe import check_probe
from sceneleapultra.models.sampled_grasps import SampledGrasps
from sceneleapultra.models.sampler import GraspSampler, require_finite
from sceneleapultra.serving.runtime.generator import Generation, log_sigmoid
from sceneleapultra.serving.runtime.sessions import GraphSessions
from sceneleapultra.serving.runtime.settings import changed, refuse_what_needs_torch
from sceneleapultra.utils.core.files import read_json_object
from sceneleapultra.utils.requests import SHIPPED_VIEWS, GraspRequest, LearnedViews

_REMEDY = "Export the checkpoint anew."
_FAR_M = 1.0e3  # where points are put that do not exist
_NOT_MOVED = (
    "grasps are not moved up the score head's gradient, which this engine lacks: only the choice of anchors is guided. "
    "Load the bundle with load_grasp_model for both."
)


class OnnxModel(GraspSampler):
    """A model on onnxruntime, with the calls and results of :class:`~sceneleapultra.models.GraspModel`.

    Args:
        folder: of the bundle, whose digests were compared.
        threads: of each operator; 0 for as many as there are cores.
    """

    def __init__(self, folder: Path, *, threads: int) -> None:
        self.engine = GraphSessions(folder, threads=threads)
        self.about, self.card, self.normalizer, config = (
            read_json_object(folder / name, _REMEDY) for name in (RUNTIME, HAND, NORMALIZER, CONFIG)
        )
        self.cloud_settings, self.hand_source = config["cloud"], str(config["generator"]["hand"])
        joints = self.card["joints"]
        self._low, self._high = (
            np.array([j[name] for j in joints], dtype=np.float32) for name in ("lower", "upper")
        )
        self._flexion = np.array([joint["flexion_sign"] for joint in joints], dtype=np.float32)

    @property
    def frame(self) -> str:
        """The coordinate mode the model was trained in."""
        return str(self.normalizer["frame"])

    @property
    def anchored(self) -> bool:
        """Whether it reads a cloud relative to itself."""
        return bool(self.about["anchored"])

    @property
    def views(self) -> LearnedViews:
        """What the views were like that the model learned from."""
        views = self.normalizer.get("views")
        return SHIPPED_VIEWS if views is None else LearnedViews.from_dict(views)

    @property
    def min_points(self) -> int:
        """Fewest points of the target that the encoder reads."""
        return int(self.about["min_points"])

    @property
    def has_score_head(self) -> bool:
        """Whether it says how likely grasps succeed: no other model is exported."""
        return True

    @property
    def uses_color(self) -> bool:
        """Whether ``sample`` reads ``rgb``."""
        return bool(self.about["uses_color"])

    @property
    def hand_span_m(self) -> float:
        """The largest distance between two points of the hand at rest."""
        return float(self.card["span_m"])

    def sample_request(
        self,
        request: GraspRequest,
        num_grasps: int,
        *,
        seed: int = 0,
        sampling: Mapping[str, Any] | None = None,
        trajectory: bool = False,
        T_cloud_object: Float[np.ndarray, "4 4"] | None = None,
        prompt: str | None = None,
        negative_prompts: Sequence[str] = (),
    ) -> SampledGrasps:
        """Generate grasps for a request; see :meth:`GraspModel.sample_request`.

        Raises:
            ValueError: as there; or what only the engine with torch has: prompts, physics guidance, classifier-free
                guidance, ranking by likelihood, solvers that are not in ``SOLVERS``.
        """
        if prompt is not None or negative_prompts:
            raise ValueError(
                "This engine reads no prompts. Leave them out, or load the bundle with load_grasp_model."
            )
        settings = changed(self.about["sampling"], self.about["choices"], sampling or {})
        refuse_what_needs_torch(settings)
        if self.uses_color != (request.rgb is not None):
            raise ValueError(
                f"This model was trained {'with' if self.uses_color else 'without'} colors, and the request has "
                f"{'none' if self.uses_color else 'some'}. Pass rgb exactly where the model wants it."
            )
        prepared = self.prepare(request, num_grasps, seed=seed, T_cloud_object=T_cloud_object)
        run = Generation(self.engine, self.about, settings, seed)
        made = run(prepared, num_grasps)
        rank = settings["rank"]
        score = _score(made.log_odds, rank["by"])
        require_finite(
            [made.hand_pose, made.squeeze_qpos, score],
            run.solver.name,
            run.solver.steps,
            run.solver.temperature,
        )
        hand_pose = prepared.restore(made.hand_pose)
        beside, moved = points_beside(request, hand_pose)
        clearance_m = self._clearance(beside, moved)
        if "margin_m" in rank:
            nearest_m = self._clearance(neighbor_points(beside, request.up), moved)
            score = collision_free_success(score, nearest_m, rank["margin_m"], rank["softness_m"])
        order = np.argsort(-score, kind="stable") if rank["sort"] else np.arange(num_grasps)
        qpos, squeeze = made.hand_pose[order, 3:-4], made.squeeze_qpos[order]
        opening = np.float32(settings["pregrasp_opening"]) * self._flexion
        odds = np.exp(log_sigmoid(made.log_odds[order])).astype(np.float64)
        scorer = settings["guidance"]["scorer"]
        return SampledGrasps(
            hand_pose=hand_pose[order],
            pregrasp_qpos=(qpos - opening).clip(self._low, self._high),
            squeeze_qpos=(qpos + np.float32(settings["squeeze_gain"]) * (squeeze - qpos)).clip(
                self._low, self._high
            ),
            score=score[order],
            p_stable=odds[:, 0],
            p_collision_free=odds[:, 1],
            clearance_m=clearance_m[order],
            joint_names=tuple(joint["name"] for joint in self.card["joints"]),
            hand=str(self.card["name"]),
            frame=request.frame,
            nfe=made.nfe,
            warnings=(_NOT_MOVED,) if scorer is not None and scorer["iterations"] > 0 else (),
            trajectory=prepared.restore(made.trajectory[:, order]) if trajectory else None,
        )

    def _clearance(
        self, beside: Float[np.ndarray, "n 3"], moved: Float[np.ndarray, "g p"]
    ) -> Float[np.ndarray, "g"]:
        if len(beside) == 0:
            return np.full(len(moved), FAR_CLEARANCE_M)
        missing = max(0, MEASURED - len(beside))
        points = np.concatenate([beside, np.full((missing, 3), _FAR_M, dtype=np.float32)])
        parts = [moved[i : i + GRASPS_AT_ONCE] for i in range(0, len(moved), GRASPS_AT_ONCE)]
        found = [
            self.engine.run("clearance", {"hands": part, "beside": points})["clearance_m"] for part in parts
        ]
        return np.concatenate(found).astype(np.float64)


def _score(log_odds: Float[np.ndarray, "g 2"], by: str) -> Float[np.ndarray, "g"]:
    """Return what grasps are ranked by: the log-odds of being stable, or of success, the two taken as independent."""
    if by == "stable":
        return log_odds[:, 0]
    log_p = log_sigmoid(log_odds).sum(-1).clip(max=np.float32(-1e-6))
    return log_p - np.log(-np.expm1(log_p))


def load_onnx_model(folder: str | Path, *, threads: int = 0) -> OnnxModel:
    """Load a bundle that was exported with ``--onnx``; its digests are compared and its probe is sampled.

    Args:
        folder: of the bundle.
        threads: of each operator; 0 for as many as there are cores.

    Raises:
        FileNotFoundError: no bundle, or a file of it is missing.
        ValueError: onnxruntime is not installed.
        ValueError: files are not what was written, there are no graphs, or it makes other grasps than it should.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    if RUNTIME not in manifest["files"]:
        raise ValueError(
            f"{folder} has no graphs: it was exported without --onnx. Export the checkpoint with it."
        )
    model = OnnxModel(folder, threads=threads)
    check_probe(model, folder)
    return model
