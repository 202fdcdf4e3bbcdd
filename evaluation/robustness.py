"""What goes wrong before a model is asked: errors of the camera, of its calibration, and of the mask.

An error makes of an item what a program would see; grasps are judged in the true scene.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from sceneleapultra.datasets.augmentation import Transform
from sceneleapultra.evaluation.items import Item, subsample_points
from sceneleapultra.evaluation.mask_image import MaskImage
from sceneleapultra.evaluation.methods.base import Method, Proposal
from sceneleapultra.evaluation.methods.training_index import transform_grasps
from sceneleapultra.reporting.results import Role
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.core.keyed_random import KeyedRandom, draw_keys
from sceneleapultra.utils.records import View


@dataclass(frozen=True, kw_only=True)
class PerceptionError(ABC):
    """One thing that goes wrong."""

    @abstractmethod
    def perceive(self, item: Item, rng: np.random.Generator) -> tuple[Item, Float[np.ndarray, "4 4"]]:
        """Return the item as it is seen, and the transform that takes grasps from what is seen to the world.

        The robot does not know of an error of calibration: its transform is the identity. The item's scene is true.
        """


@dataclass(frozen=True, kw_only=True)
class CameraErrors(PerceptionError):
    """What a depth camera does to points, by the transforms of the augmentation."""

    transforms: tuple[Transform, ...]

    def perceive(self, item: Item, rng: np.random.Generator) -> tuple[Item, Float[np.ndarray, "4 4"]]:
        """Return the item with other points."""
        view, count = item.view, len(item.view.points)
        batch = GraspBatch(
            scene_pc=torch.from_numpy(view.points).float()[None],
            point_valid=torch.ones(1, count, dtype=torch.bool),
            object_mask=torch.from_numpy(item.target_mask)[None],
            viewpoint=torch.from_numpy(view.T_world_cam[:3, 3]).float()[None],
            up=torch.tensor([[0.0, 0.0, 1.0]]),
            T_world_frame=torch.eye(4)[None],
            scene_rgb=torch.from_numpy(view.rgb)[None],
            point_class=torch.from_numpy(view.instance)[None],  # carried along: no transform reads it
        )
        key = draw_keys(
            int(rng.integers(2**31)), torch.zeros(1, dtype=torch.long), torch.tensor([item.index])
        )
        for number, transform in enumerate(self.transforms):
            batch = transform(batch, KeyedRandom(key).stream(str(number)))
        assert batch.scene_rgb is not None and batch.point_class is not None
        left = batch.point_valid[0].numpy()
        perceived = replace(
            view,
            points=batch.scene_pc[0].numpy()[left].astype(view.points.dtype),
            rgb=batch.scene_rgb[0].numpy()[left],
            instance=batch.point_class[0].numpy()[left],
        )
        return replace(item, view=perceived), np.eye(4)


@dataclass(frozen=True, kw_only=True)
class FewerPoints(PerceptionError):
    """A share of the points, drawn at random."""

    share: float

    def perceive(self, item: Item, rng: np.random.Generator) -> tuple[Item, Float[np.ndarray, "4 4"]]:
        """Return the item with fewer points."""
        return subsample_points(item, self.share, int(rng.integers(2**31))), np.eye(4)


@dataclass(frozen=True, kw_only=True)
class WrongMask(PerceptionError):
    """The mask as a segmenter gives it: grown (or shrunk, below 0) and moved in the image, in pixels of the view."""

    grown_px: float
    moved_px: float  # in a direction drawn at random

    def perceive(self, item: Item, rng: np.random.Generator) -> tuple[Item, Float[np.ndarray, "4 4"]]:
        """Return the item with another mask; a point that leaves it counts as the table's."""
        angle = rng.uniform(0.0, 2.0 * np.pi)
        moved = self.moved_px * np.array([np.cos(angle), np.sin(angle)])
        pixels = project(item.view)
        mask = MaskImage.of_points(pixels, item.target_mask).grown(self.grown_px).at(pixels - moved)
        instance = np.where(mask, item.target + 1, item.view.instance)
        instance[item.target_mask & ~mask] = 0
        return replace(item, view=replace(item.view, instance=instance.astype(np.uint8))), np.eye(4)


@dataclass(frozen=True, kw_only=True)
class WrongCalibration(PerceptionError):
    """The camera stands elsewhere than is believed: moved and turned, both along axes drawn at random.

    A turn counts at the distance of the object: 2 degrees are 21 mm at 0.6 m.
    """

    shift_m: float
    turn_deg: float

    def perceive(self, item: Item, rng: np.random.Generator) -> tuple[Item, Float[np.ndarray, "4 4"]]:
        """Return the item where the robot believes it to be."""
        shift, axis = unit(rng.normal(size=3)), unit(rng.normal(size=3))
        error = turn(np.deg2rad(self.turn_deg) * axis, item.view.T_world_cam[:3, 3])
        error[:3, 3] += self.shift_m * shift
        return moved(item, error), np.eye(4)


@dataclass(frozen=True, kw_only=True)
class WrongUp(PerceptionError):
    """The direction up is off by an angle, about a level axis drawn at random through the object."""

    angle_deg: float

    def perceive(self, item: Item, rng: np.random.Generator) -> tuple[Item, Float[np.ndarray, "4 4"]]:
        """Return the item in a world that is tilted."""
        angle = rng.uniform(0.0, 2.0 * np.pi)
        axis = np.array([np.cos(angle), np.sin(angle), 0.0])
        tilt = turn(np.deg2rad(self.angle_deg) * axis, item.target_points.mean(axis=0))
        return moved(item, tilt), np.linalg.inv(tilt)


@dataclass(frozen=True, kw_only=True)
class WrongScale(PerceptionError):
    """Depths, and with them all lengths, are off by a factor."""

    factor: float

    def perceive(self, item: Item, rng: np.random.Generator) -> tuple[Item, Float[np.ndarray, "4 4"]]:
        """Return the item with points nearer to the camera, or further away."""
        view, camera = item.view, item.view.T_world_cam[:3, 3]
        points = (camera + self.factor * (view.points - camera)).astype(view.points.dtype)
        return replace(item, view=replace(view, points=points)), np.eye(4)


@dataclass(frozen=True)
class WithError:
    """A method that is shown items with an error; what is drawn depends on seed, error and item alone."""

    method: Method
    error: PerceptionError
    error_name: str
    seed: int
    min_points: int
    role: Role = Role.ROBUSTNESS

    @property
    def name(self) -> str:
        """Row in tables."""
        return f"{self.method.name}, {self.error_name}"

    @property
    def privileged_inputs(self) -> str:
        """What the method knows of an item."""
        return self.method.privileged_inputs

    def sample_items(self, items: Sequence[Item], k: int) -> list[Proposal]:
        """Return the method's grasps for what it sees, in the world; none where too little of the target is left."""
        views = [
            self.error.perceive(
                item, np.random.default_rng([self.seed, *self.error_name.encode(), item.index])
            )
            for item in items
        ]
        enough = [int(item.target_mask.sum()) >= self.min_points for item, _ in views]
        left = [item for (item, _), ok in zip(views, enough, strict=True) if ok]
        if not left:
            raise ValueError(
                f"robustness.{self.error_name} leaves no item {self.min_points} points of its target. Pass a larger "
                "min_points, or leave it out with ~robustness." + self.error_name
            )
        made = self.method.sample_items(left, k)
        found = iter(made)
        return [
            _moved_grasps(next(found), T) if ok else Proposal(made[0].grasps[:0], made[0].score[:0])
            for (_, T), ok in zip(views, enough, strict=True)
        ]


def _moved_grasps(proposal: Proposal, T: Float[np.ndarray, "4 4"]) -> Proposal:
    return replace(proposal, grasps=transform_grasps(proposal.grasps, T))


def project(view: View) -> Float[np.ndarray, "n 2"]:
    """Return where the points of a view lie in its image, in pixels."""
    R, t = view.T_world_cam[:3, :3], view.T_world_cam[:3, 3]
    image = (view.points.astype(np.float64) - t) @ R @ view.K.T
    return image[:, :2] / image[:, 2:]


def moved(item: Item, T: Float[np.ndarray, "4 4"]) -> Item:
    """Return the item with camera and cloud moved."""
    view = item.view
    points = (view.points @ T[:3, :3].T + T[:3, 3]).astype(view.points.dtype)
    return replace(item, view=replace(view, points=points, T_world_cam=T @ view.T_world_cam))


def turn(rotation: Float[np.ndarray, "3"], center: Float[np.ndarray, "3"]) -> Float[np.ndarray, "4 4"]:
    """Return the turn by a rotation vector about a point."""
    T = np.eye(4)
    T[:3, :3] = Rotation.from_rotvec(rotation).as_matrix()
    T[:3, 3] = center - T[:3, :3] @ center
    return T


def unit(vector: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3"]:
    """Return a vector of length 1."""
    return vector / np.linalg.norm(vector)
