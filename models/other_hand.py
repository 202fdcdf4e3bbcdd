"""A model of one hand that serves another: requests are changed on their way in, grasps on their way out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from sceneleapultra.hands import Hand
from sceneleapultra.models.inference import GraspModel
from sceneleapultra.models.sampled_grasps import SampledGrasps
from sceneleapultra.utils.requests import GraspRequest

Pose = Float[np.ndarray, "4 4"]


@dataclass(frozen=True)
class OtherHandModel(GraspModel, ABC):
    """A model that generates grasps of its own hand and answers with those of another.

    Attributes:
        other: the hand it serves.
    """

    other: Hand

    @classmethod
    def of(cls, model: GraspModel, hand: Hand) -> "OtherHandModel":
        """Let a model serve a hand.

        Raises:
            ValueError: see :meth:`check_hand`.
        """
        cls.check_hand(model, hand)
        return cls(model.generator, model.cloud_settings, hand, completion=model.completion)

    @staticmethod
    @abstractmethod
    def check_hand(model: GraspModel, hand: Hand) -> None:
        """Refuse a hand that a model cannot serve.

        Raises:
            ValueError: it cannot, and why.
        """

    @property
    def hand(self) -> Hand:
        """The hand that it serves."""
        return self.other

    @property
    def own(self) -> GraspModel:
        """The model of its own hand."""
        return GraspModel(self.generator, self.cloud_settings, completion=self.completion)

    def own_request(self, request: GraspRequest) -> GraspRequest:
        """Return what the model of its own hand is asked for a request."""
        return request

    def own_object_pose(self, T_cloud_object: Pose | None) -> Pose | None:
        """Return the object's pose in what the model of its own hand is asked."""
        return T_cloud_object

    @abstractmethod
    def convert(self, request: GraspRequest, made: SampledGrasps, sampling: Any) -> SampledGrasps:
        """Return the other hand's grasps.

        Args:
            request: as it came.
            made: of the own hand, for what was asked.
            sampling: how they were sampled, see :meth:`GraspModel.sample_request`.
        """

    def sample_request(
        self, request: GraspRequest, num_grasps: int, *, T_cloud_object: Pose | None = None, **settings: Any
    ) -> SampledGrasps:
        """Generate grasps of the other hand; see :meth:`GraspModel.sample_request`."""
        pose = self.own_object_pose(T_cloud_object)
        made = self.own.sample_request(self.own_request(request), num_grasps, T_cloud_object=pose, **settings)
        return self.convert(request, made, settings.get("sampling"))

    def sample_batch(
        self, requests: Sequence[GraspRequest], num_grasps: int, **settings: Any
    ) -> list[SampledGrasps]:
        """Generate grasps of the other hand; see :meth:`GraspModel.sample_batch`."""
        made = self.own.sample_batch([self.own_request(one) for one in requests], num_grasps, **settings)
        return [
            self.convert(request, one, settings.get("sampling"))
            for request, one in zip(requests, made, strict=True)
        ]
