"""What the network denoises: a grasp as a flat normalized vector, packed and unpacked here and nowhere else.

State = [translation 3, joints J, rot6d 6, squeeze J]. The translation is that of a reference point in front
of the palm,
expressed in a reference frame (an anchor on the cloud, or the cloud's own frame); squeeze is the further
closing of each joint.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sceneleapultra.hands import GraspPose, Hand
from sceneleapultra.hands.rows import palm_axes
from sceneleapultra.models.network.autoencoder import AutoencoderConfig
from sceneleapultra.utils.core.precision import full_precision
from sceneleapultra.utils.geometry.rotation import matrix_from_rot6d, rot6d_from_matrix
from sceneleapultra.utils.requests import LearnedViews
from sceneleapultra.utils.training.pose_statistics import Statistics


@dataclass(frozen=True, kw_only=True)
class PoseRepresentation:
    """What a state's pose is relative to; ``config/model/generator`` explains each number.

    Attributes:
        anchored: express each grasp in the local frame of its anchor, which makes generation equivariant to turns about
            the vertical and to translations; otherwise in the cloud's own frame.
        reference_depth: distance of the pose's reference point in front of the palm (m).
        autoencoder: of the states, where its codes are denoised in their place; None for states.
    """

    anchored: bool
    reference_depth: float
    autoencoder: AutoencoderConfig | None


@dataclass(frozen=True)
class StateLayout:
    """Where each group of the state vector lies, for a hand with ``num_joints`` joints."""

    num_joints: int

    @property
    def dim(self) -> int:
        """Length of the state vector."""
        return 9 + 2 * self.num_joints

    @property
    def groups(self) -> dict[str, slice]:
        """Slices by group name."""
        j = self.num_joints
        return {
            "translation": slice(0, 3),
            "joints": slice(3, 3 + j),
            "rotation": slice(3 + j, 9 + j),
            "squeeze": slice(9 + j, 9 + 2 * j),
        }

    def names(self, joint_names: Sequence[str]) -> list[str]:
        """Name the numbers of a state of a hand with these joints."""
        return [
            *(f"translation_{axis}" for axis in "xyz"),
            *(f"joint_{name}" for name in joint_names),
            *(f"rot6d_{i}" for i in range(6)),
            *(f"squeeze_{name}" for name in joint_names),
        ]

    def split(self, state: Float[Tensor, "*b d"]) -> dict[str, Tensor]:
        """Return the groups of a state by name."""
        return {name: state[..., where] for name, where in self.groups.items()}


class GraspCodec(nn.Module):
    """Turns grasps of a hand into metric state vectors relative to reference frames, and back.

    Args:
        hand: the hand whose palm carries the reference point.
        reference_depth: distance of the reference point in front of the palm (m).
        of_palm: states hold the orientation of the palm's axes, which mean the same for every hand, instead of the
            base's, which are as its description happens to have them.
    """

    _reference: Tensor
    joint_limits: Tensor
    _axes: Tensor | None
    _palm_center: Tensor | None

    def __init__(self, hand: Hand, *, reference_depth: float, of_palm: bool) -> None:
        super().__init__()
        self.layout = StateLayout(hand.num_joints)
        self.reference_depth = reference_depth
        reference = hand.palm_center + reference_depth * hand.palm_direction
        self.register_buffer("_reference", reference[:, None], persistent=False)
        self.register_buffer("joint_limits", hand.joint_limits.clone(), persistent=False)
        self.register_buffer("_axes", palm_axes(hand) if of_palm else None, persistent=False)
        self.register_buffer("_palm_center", hand.palm_center.clone() if of_palm else None, persistent=False)

    def axes(self, pose: GraspPose) -> Float[Tensor, "*b 3 3"]:
        """Return the axes in which a network sees what is about the hand, in the frame of the pose."""
        return pose.rotation if self._axes is None else pose.rotation @ self._axes

    def origin(self, pose: GraspPose) -> Float[Tensor, "*b 3"]:
        """Return where those axes begin: at the base, or at the palm's center."""
        if self._palm_center is None:
            return pose.translation
        return pose.translation + pose.rotation @ self._palm_center

    def reference_point(self, pose: GraspPose) -> Float[Tensor, "*b 3"]:
        """Return the point in front of the palm that the translation speaks of, in the frame of the pose."""
        with full_precision(pose.translation.device.type):
            return pose.translation + self._offset(pose.rotation)

    def _offset(self, rotation: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 3"]:
        """Return how the reference point lies to the base."""
        return (rotation.reshape(-1, 3) @ self._reference).view(rotation.shape[:-1])

    def encode(
        self,
        pose: GraspPose,
        squeeze_qpos: Float[Tensor, "*b j"],
        origins: Float[Tensor, "*b 3"],
        frames: Float[Tensor, "*b 3 3"],
    ) -> Float[Tensor, "*b d"]:
        """Return metric states of grasps relative to frames given by their origins and column axes."""
        with full_precision(origins.device.type):
            inverse = frames.transpose(-1, -2)
            translation = (inverse @ (self.reference_point(pose) - origins)[..., None]).squeeze(-1)
            rotation = rot6d_from_matrix(inverse @ self.axes(pose))
        return torch.cat([translation, pose.qpos, rotation, squeeze_qpos - pose.qpos], dim=-1)

    def decode(
        self, state: Float[Tensor, "*b d"], origins: Float[Tensor, "*b 3"], frames: Float[Tensor, "*b 3 3"]
    ) -> tuple[GraspPose, Float[Tensor, "*b j"], Float[Tensor, "*b 3"]]:
        """Return the grasp in the frame of the cloud, its squeeze joints and its reference point; joints are clamped
        to their limits.
        """
        pose, point = self.place(state, origins, frames)
        low, high = self.joint_limits.unbind(-1)
        parts = self.layout.split(state)
        return pose, (parts["joints"] + parts["squeeze"]).clamp(low, high), point

    def place(
        self, state: Float[Tensor, "*b d"], origins: Float[Tensor, "*b 3"], frames: Float[Tensor, "*b 3 3"]
    ) -> tuple[GraspPose, Float[Tensor, "*b 3"]]:
        """Return the grasp as :meth:`decode` does, and its reference point."""
        parts = self.layout.split(state)
        low, high = self.joint_limits.unbind(-1)
        with full_precision(origins.device.type):
            turn, own = frames.reshape(-1, 3, 3), matrix_from_rot6d(parts["rotation"])
            rotation = torch.bmm(turn, own.reshape(-1, 3, 3))
            column = parts["translation"].reshape(-1, 3, 1)
            point = torch.baddbmm(origins.reshape(-1, 3, 1), turn, column)
            if self._axes is not None:
                rotation = rotation @ self._axes.T
            base = torch.addmm(point.view(-1, 1), rotation.view(-1, 3), self._reference, alpha=-1)
        qpos = parts["joints"].clamp(low, high)
        pose = GraspPose(translation=base.view_as(origins), rotation=rotation.view_as(frames), qpos=qpos)
        return pose, point.view_as(origins)


class Scaling(nn.Module):
    """Numbers less their means, over their widths."""

    mean: Tensor
    std: Tensor
    fitted: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))
        self.register_buffer("fitted", torch.tensor(False))

    def normalize(self, state: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """Metric to normalized."""
        return (state - self.mean) / self.std

    def denormalize(
        self, state: Float[Tensor, "*b d"], width: Float[Tensor, "*#b d"] | None = None
    ) -> Float[Tensor, "*b d"]:
        """Normalized to metric; by another ``width`` than its own if one is given."""
        return torch.addcmul(self.mean, state, self.std if width is None else width)


class StateNormalizer(Scaling):
    """Zero mean and unit variance of every state dimension (strays aside); the statistics travel in the checkpoint.

    The frame they were measured in and the data they come from travel too, and are checked on load.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.frame = ""
        self.data_hash = ""
        self.views: LearnedViews | None = None

    @property
    def columns(self) -> list[int]:
        """Which of a state's numbers the statistics of data are measured of."""
        return list(range(len(self.mean)))

    def check(self, owner: str) -> None:
        """Make sure that numbers can be divided by their widths, and views compared.

        Raises:
            ValueError: a width is not above 0, or a range is not finite; begins with ``owner``.
        """
        ranges = {} if self.views is None else self.views.to_dict()
        for name, values in ranges.items():
            if not np.isfinite(values).all():
                raise ValueError(
                    f"{owner}the range {name} of the views it learned from is {values}; expected finite numbers. Was "
                    "the file changed? Take the checkpoint as it was written."
                )
        if len(bad := (~(self.std > 0)).nonzero()):
            number = int(bad[0])
            raise ValueError(
                f"{owner}normalizer.std[{number}] is {self.std[number].item():g}; expected the width of one of "
                "the state's numbers, above 0. Was the file changed? Take the checkpoint as it was written."
            )

    def set_statistics(self, statistics: Statistics) -> None:
        """Normalize by these statistics from now on; their frame and data are remembered."""
        self.mean.copy_(torch.from_numpy(statistics.mean))
        self.std.copy_(torch.from_numpy(statistics.scale))
        self.set_origin(statistics)

    def set_origin(self, statistics: Statistics) -> None:
        """Remember what the statistics are of."""
        self.fitted.fill_(True)
        self.frame, self.data_hash = (statistics.describes[name] for name in ("frame", "data_hash"))
        self.views = statistics.views

    def get_extra_state(self) -> dict[str, Any]:
        """Return what accompanies the statistics in a checkpoint."""
        views = {} if self.views is None else {"views": self.views.to_dict()}
        return {"frame": self.frame, "data_hash": self.data_hash, **views}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what accompanies the statistics; checkpoints of 0.2.0 and before know nothing of their views."""
        self.frame, self.data_hash = state["frame"], state["data_hash"]
        self.views = LearnedViews.from_dict(state["views"]) if "views" in state else None
