"""How far a hand is from what surrounds its target: the table and the neighboring objects.

The hand is its collision spheres plus the bare corners of its boxes: exact for the table; for neighbors, faces and
corners of the hand are covered, edges up to the fullness of the spheres.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sceneleapultra.hands import GraspPose, Hand
from sceneleapultra.hands.body_points import BodyPoints
from sceneleapultra.hands.kinematics import homogeneous
from sceneleapultra.utils.geometry.sdf import ConvexSdf
from sceneleapultra.utils.records import Grasps, Scene

# Reported where nothing is nearer; keeps the numbers finite for a lone object.
FAR_M = 1.0
# Balls of a hand, the nearest by a lower bound, whose distance to a neighbor is measured exactly.
_MEASURED = 24


class Balls(NamedTuple):
    """Spheres in the world frame; a corner is a sphere of radius 0."""

    centers: Float[Tensor, "*b s 3"]
    radii: Float[Tensor, "s"]


class HandBalls:
    """The hand as balls: its collision spheres, and the corners of its boxes and convex pieces."""

    def __init__(self, hand: Hand) -> None:
        spheres = hand.collision_spheres
        points, bodies = [spheres.centers.numpy()], [spheres.bodies.numpy()]
        for i, body in enumerate(hand.description.bodies):
            for primitive in body.primitives:
                if primitive.shape == "box":
                    corners = np.array(np.meshgrid(*[[-h, h] for h in primitive.size])).reshape(3, 8).T
                    T = homogeneous(primitive.pos, primitive.quat_wxyz)
                    corners = corners @ T[:3, :3].T + T[:3, 3]
                elif primitive.shape == "convex":
                    T = homogeneous(primitive.pos, primitive.quat_wxyz)
                    corners = np.asarray(primitive.vertices) @ T[:3, :3].T + T[:3, 3]
                else:
                    continue
                points.append(corners)
                bodies.append(np.full(len(corners), i))
        self.hand = hand
        self.num_spheres = len(points[0])
        all_points, all_bodies = np.concatenate(points), np.concatenate(bodies)
        self.radii = torch.zeros(len(all_points))
        self.radii[: self.num_spheres] = spheres.radii
        self._points = BodyPoints(
            all_points, all_bodies, num_bodies=len(hand.body_names), vectors=False, dtype=torch.float32
        )

    def base(self, qpos: Float[Tensor, "*b j"]) -> Float[Tensor, "*b s 3"]:
        """Return the centers in the hand's base frame."""
        return self._points(self.hand.forward_kinematics(qpos))

    def world(self, pose: GraspPose) -> Balls:
        """Return the balls in the frame of ``pose``."""
        return Balls(self._points(self.hand.body_poses(pose)), self.radii)


class SceneDistance:
    """Signed distances of world points to the parts of a scene, seen from one target object."""

    def __init__(self, scene: Scene, target: int) -> None:
        if not 0 <= target < len(scene.objects):
            raise ValueError(
                f"target: expected the number of one of the scene's {len(scene.objects)} objects, got {target}."
            )
        self.table = scene.table
        self._sdf = [ConvexSdf(record.pieces) for record in scene.objects]
        self._T = torch.as_tensor(scene.T_world_object, dtype=torch.float32)
        self._reach = [float(np.linalg.norm(r.vertices, axis=1).max()) for r in scene.objects]
        self._target = target
        self._neighbors = [i for i in range(len(scene.objects)) if i != target]

    def target(self, points: Float[Tensor, "*b n 3"]) -> Float[Tensor, "*b n"]:
        """Distance to the target object."""
        return self._sdf[self._target].distance(self._local(points, self._target))

    def target_exact(self, points: Float[Tensor, "*b n 3"]) -> Float[Tensor, "*b n"]:
        """Distance to the target object, exact opposite its edges and corners too; several times the cost."""
        return self._sdf[self._target].exact_distance(self._local(points, self._target))

    def target_with_normal(
        self, points: Float[Tensor, "*b n 3"]
    ) -> tuple[Float[Tensor, "*b n"], Float[Tensor, "*b n 3"]]:
        """Distance to the target object, and its gradient in the world frame."""
        distance, normal = self._sdf[self._target].distance_and_normal(self._local(points, self._target))
        return distance, normal @ self._T[self._target, :3, :3].T

    def neighbors(self, points: Float[Tensor, "*b n 3"]) -> Float[Tensor, "*b n"]:
        """Distance to the nearest other object, at most ``FAR_M``; differentiable."""
        least = torch.full(points.shape[:-1], FAR_M)
        for i in self._neighbors:
            least = torch.minimum(least, self._sdf[i].distance(self._local(points, i)))
        return least

    def target_clearance(self, balls: Balls) -> Float[Tensor, "*b"]:
        """Least distance of balls to the target object; negative inside."""
        return self._gap(self._target, self._local(balls.centers, self._target), balls.radii)

    def clearance(self, balls: Balls) -> Float[Tensor, "*b"]:
        """Least distance of balls to table and neighbors, at most ``FAR_M``; negative inside."""
        centers, radii = balls
        least = torch.full(centers.shape[:-2], FAR_M)
        if self.table:
            least = torch.minimum(least, (centers[..., 2] - radii).amin(-1))
        for i in self._neighbors:
            local = self._local(centers, i)
            # The bounding sphere bounds the distance from below: most hands never come near.
            bound = (local.norm(dim=-1) - radii).amin(-1) - self._reach[i]
            near = (bound < least) & (bound < 0.1)
            least = torch.where(near, least, torch.minimum(least, bound.clamp_min(0)))
            if near.any():
                least[near] = torch.minimum(least[near], self._gap(i, local[near], radii))
        return least

    def _gap(
        self, i: int, centers: Float[Tensor, "*b s 3"], radii: Float[Tensor, "s"]
    ) -> Float[Tensor, "*b"]:
        """Least distance of balls to an object; the fast lower bound chooses which are measured exactly."""
        bound = (self._sdf[i].distance(centers) - radii).topk(min(_MEASURED, len(radii)), largest=False)
        chosen = centers.gather(-2, bound.indices[..., None].expand(*bound.indices.shape, 3))
        return (self._sdf[i].exact_distance(chosen) - radii[bound.indices]).amin(-1)

    def _local(self, points: Float[Tensor, "*b n 3"], i: int) -> Float[Tensor, "*b n 3"]:
        T = self._T[i]
        return (points - T[:3, 3]) @ T[:3, :3]


def scene_clearance(hand: Hand, scene: Scene, target: int, grasps: Grasps) -> Float[np.ndarray, "g"]:
    """Return the least distance of the hand to table and neighbors, over pre-grasp and grasp.

    Negative where the hand is inside; at most ``FAR_M``. Beyond 10 cm a lower bound.
    """
    return clearance(HandBalls(hand), SceneDistance(scene, target), grasps)


@torch.no_grad()
def clearance(balls: HandBalls, distance: SceneDistance, grasps: Grasps) -> Float[np.ndarray, "g"]:
    """Do the same with parts that were prepared before."""
    pose = GraspPose.from_hand_pose(torch.as_tensor(grasps.hand_pose, dtype=torch.float32))
    opened = GraspPose(
        pose.translation, pose.rotation, torch.as_tensor(grasps.pregrasp_qpos, dtype=torch.float32)
    )
    both = [distance.clearance(balls.world(p)) for p in (pose, opened)]
    return torch.minimum(*both).numpy().astype(np.float64)
