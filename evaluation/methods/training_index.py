"""What retrieval may retrieve from: successful grasps of training objects, as they lay and as they were seen."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from sceneleapultra.hands import GraspPose
from sceneleapultra.utils.records import Grasps, ObjectRecord, SceneRecord


@dataclass(frozen=True)
class TrainingObject:
    """One training object in one scene, with its successful grasps in the world frame of that scene."""

    record: ObjectRecord
    T_world_object: Float[np.ndarray, "4 4"]
    grasps: Grasps


@dataclass(frozen=True)
class TrainingView:
    """How one camera saw a training object."""

    owner: int  # number of the TrainingObject
    points: Float[np.ndarray, "n 3"]  # world frame, farthest-point order
    on_table: bool


@dataclass(frozen=True)
class TrainingIndex:
    """Every training object that has a successful grasp, and its views."""

    objects: tuple[TrainingObject, ...]
    views: tuple[TrainingView, ...]

    @classmethod
    def from_records(cls, records: Iterable[SceneRecord]) -> "TrainingIndex":
        """Collect the successful grasps of scenes; views without a point of the object are left out.

        Raises:
            ValueError: no grasp succeeded.
        """
        objects: list[TrainingObject] = []
        views: list[TrainingView] = []
        for scene_record in records:
            scene = scene_record.scene
            for i, labeled in enumerate(scene_record.labeled):
                if not labeled.success.any():
                    continue
                grasps = labeled.grasps[labeled.success]
                objects.append(TrainingObject(scene.objects[i], scene.T_world_object[i], grasps))
                for view in scene_record.views:
                    points = view.points[view.instance == i + 1]
                    if len(points):
                        views.append(TrainingView(len(objects) - 1, points, scene.table))
        if not objects:
            raise ValueError(
                "The store's train split has no successful grasp, so there is nothing to retrieve."
            )
        return cls(tuple(objects), tuple(views))

    def mean_qpos(self) -> tuple[Float[np.ndarray, "j"], Float[np.ndarray, "j"]]:
        """Return the mean joints at grasp and at pre-grasp over all successful grasps."""
        grasps = Grasps.concatenate([entry.grasps for entry in self.objects])
        qpos = GraspPose.from_hand_pose(torch.from_numpy(grasps.hand_pose)).qpos.numpy()
        return qpos.mean(0), grasps.pregrasp_qpos.mean(0)


def transform_grasps(grasps: Grasps, T: Float[np.ndarray, "*g 4 4"]) -> Grasps:
    """Return the grasps carried along by a rigid motion, or each by its own."""
    hand_pose = torch.from_numpy(np.asarray(grasps.hand_pose, dtype=np.float64))
    carried = GraspPose.from_hand_pose(hand_pose).transform(torch.from_numpy(np.asarray(T, dtype=np.float64)))
    return Grasps(carried.to_hand_pose().numpy(), grasps.pregrasp_qpos, grasps.squeeze_qpos)


def turn_about_z(
    yaw: float, pivot_from: Float[np.ndarray, "3"], pivot_to: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "4 4"]:
    """Return the motion that turns about the vertical through one point and carries that point to another."""
    T = np.eye(4)
    c, s = np.cos(yaw), np.sin(yaw)
    T[:2, :2] = [[c, -s], [s, c]]
    T[:3, 3] = pivot_to - T[:3, :3] @ pivot_from
    return T
