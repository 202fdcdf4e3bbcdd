"""The calls that a user's program makes, whatever computes the grasps: torch, or an engine without it."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from sceneleapultra.models.sampled_grasps import SampledGrasps
from sceneleapultra.utils.geometry.cloud import CloudProcessor, PreparedCloud
from sceneleapultra.utils.geometry.frames import TARGET_CENTERED, frame_is_known
from sceneleapultra.utils.requests import GraspRequest, LearnedViews, Target
from sceneleapultra.utils.requests.checks import check_request
from sceneleapultra.utils.requests.request import Vector

_LOG = logging.getLogger(__name__)


class GraspSampler(ABC):
    """A trained model ready to sample: clouds in, grasps out."""

    cloud_settings: dict[str, Any]
    """How its clouds are prepared, see :meth:`CloudProcessor.from_settings`."""

    @property
    @abstractmethod
    def frame(self) -> str:
        """The coordinate mode the model was trained in, see ``utils/geometry/frames.py``."""

    @property
    @abstractmethod
    def anchored(self) -> bool:
        """Whether it reads a cloud relative to itself."""

    @property
    @abstractmethod
    def min_points(self) -> int:
        """Fewest points of the target that the encoder reads."""

    @property
    @abstractmethod
    def uses_color(self) -> bool:
        """Whether ``sample`` reads ``rgb``."""

    @property
    @abstractmethod
    def views(self) -> LearnedViews:
        """What the views were like that the model learned from."""

    @property
    @abstractmethod
    def has_score_head(self) -> bool:
        """Whether it says how likely grasps succeed."""

    @property
    @abstractmethod
    def hand_span_m(self) -> float:
        """The largest distance between two points of the hand at rest."""

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
        warnings += made.warnings
        warnings += (made.expectation,) if made.expectation else ()
        for warning in warnings:
            _LOG.warning(warning)
        return made.with_warnings(warnings)

    def check(self, request: GraspRequest) -> tuple[str, ...]:
        """Compare a request with what the model learned from; return what is odd, each with both numbers.

        Raises:
            ValueError: no grasp can be made for it, see :func:`~sceneleapultra.utils.requests.checks.check_request`.
        """
        return check_request(request, self.views, span_m=self.hand_span_m)

    @abstractmethod
    def sample_request(
        self, request: GraspRequest, num_grasps: int, *args: Any, **settings: Any
    ) -> SampledGrasps:
        """Generate grasps for a request, which is not compared with what was learned: see :meth:`check`."""

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
        if not self.has_score_head:
            raise ValueError("Choosing an object needs a score head, this model has none. Name the object.")
        found: list[tuple[float, GraspRequest, SampledGrasps]] = []
        refused: list[str] = []
        for one in request.objects():
            try:
                odd = self.check(one)
            except ValueError as error:
                refused.append(str(error))
                continue
            made = self.sample_request(one, num_grasps, **settings)
            assert made.p_success is not None
            found.append((float(made.p_success.max()), one, made.with_warnings((*odd, *made.warnings))))
        if not found:
            reasons = "\n".join(refused) or "None stands out of the table."
            raise ValueError(f"No object of this cloud can be grasped:\n{reasons}")
        _, chosen, made = max(found, key=lambda one: one[0])
        return chosen, made

    def prepare(
        self,
        request: GraspRequest,
        num_grasps: int,
        *,
        seed: int,
        T_cloud_object: Float[np.ndarray, "4 4"] | None,
    ) -> PreparedCloud:
        """Return what the network sees of a request.

        Raises:
            ValueError: a number of grasps that is none, or too few points on the object.
        """
        if isinstance(num_grasps, bool) or not isinstance(num_grasps, int | np.integer) or num_grasps < 1:
            raise ValueError(f"num_grasps: expected a whole number of at least 1, got {num_grasps}.")
        if request.object_mask.sum() < self.min_points:
            raise ValueError(
                f"The encoder needs at least {self.min_points} points on the object, object_mask marks "
                f"{int(request.object_mask.sum())} of {len(request.points)}. Is the mask right, and the object in view?"
            )
        return self.processor(request.viewpoint, has_object_pose=T_cloud_object is not None)(
            request.points,
            request.object_mask,
            viewpoint=request.viewpoint,
            up=request.up,
            rgb=request.rgb,
            rng=np.random.default_rng(seed),
            T_cloud_object=T_cloud_object,
        )

    def processor(self, viewpoint: Float[np.ndarray, "3"], *, has_object_pose: bool) -> CloudProcessor:
        """Return what prepares a cloud as the training data were prepared, in the frame the model learned in.

        A model of anchored poses reads the cloud relative to itself: where its frame cannot be known, it needs none.
        """
        frame = self.frame
        if self.anchored and not frame_is_known(frame, viewpoint, has_object_pose=has_object_pose):
            frame = TARGET_CENTERED
        return CloudProcessor.from_settings(self.cloud_settings, frame)


def require_finite(arrays: Sequence[np.ndarray], solver: str, steps: int, temperature: float) -> None:
    """Refuse grasps that are not finite.

    Raises:
        ValueError: with the settings.
    """
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError(
            f"The model made grasps that are not finite, with sampling.solver={solver}, steps={steps}, "
            f"temperature={temperature:g}. They are not returned: sample with the checkpoint's own settings, and see "
            "whether its weights are finite."
        )
