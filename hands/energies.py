"""How bad a grasp is: the energy terms that synthesis, training losses and guidance share.

Pure functions, batched over leading axes, each a sum over its last axis in the units it names. Zero is best.
Signs: object normals point out of the object, hand normals out of the hand; signed distances are negative inside.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

ContactVectors = Float[Tensor, "*#b c 3"]  # points (m) or unit normals of contacts
ContactWeights = Float[Tensor, "*#b c"]  # see contact_weights
ContactFingers = Int[Tensor, "c"]  # the finger that each contact candidate belongs to


def contact_weights(
    contact_finger: ContactFingers, thumb: int, selected: Bool[Tensor, "*b c"]
) -> Float[Tensor, "*b c"]:
    """Share of force of each selected contact: the thumb's sum to 1 and the other fingers' sum to 1.

    Equal unit forces cannot balance several fingers against one thumb. Contacts not selected get 0.
    """
    is_thumb = contact_finger == thumb
    chosen_thumb, chosen_rest = (selected & is_thumb).float(), (selected & ~is_thumb).float()
    weights = [part / part.sum(-1, keepdim=True).clamp_min(1) for part in (chosen_thumb, chosen_rest)]
    return weights[0] + weights[1]


def force_closure(
    points: ContactVectors,
    object_normals: ContactVectors,
    weights: ContactWeights,
    *,
    origin: Float[Tensor, "*#b 3"],
    torque_length_m: float,
) -> Float[Tensor, "..."]:
    """Squared net wrench ``||G c||^2`` of one weighted force along each normal (Liu et al. 2021; DexGraspNet's E_fc).

    ``origin`` is the object's center of mass. Torques are divided by ``torque_length_m``: 1 is DexGraspNet's choice,
    the object's radius gives them the weight of forces.
    """
    force = weights[..., None] * object_normals
    torque = torch.linalg.cross(points - origin[..., None, :], force) / torque_length_m
    return force.sum(-2).square().sum(-1) + torque.sum(-2).square().sum(-1)


def distance(signed_distance_m: Float[Tensor, "*#b c"], weights: ContactWeights) -> Float[Tensor, "..."]:
    """Weighted distance of contact points to the object's surface, in metres."""
    return (weights * signed_distance_m.abs()).sum(-1)


def misalignment(
    hand_normals: ContactVectors, object_normals: ContactVectors, weights: ContactWeights
) -> Float[Tensor, "..."]:
    """Weighted ``1 + n_hand . n_object``: 0 where a pad faces the surface, 2 where it faces away."""
    return (weights * (1 + (hand_normals * object_normals).sum(-1))).sum(-1)


def penetration(signed_distance_m: Float[Tensor, "*b n"]) -> Float[Tensor, "*b"]:
    """Summed depth, in metres, of points that are inside; with object points, from ``hand.signed_distance``."""
    return (-signed_distance_m).clamp_min(0).sum(-1)


def sphere_penetration(
    centers: Float[Tensor, "*b s 3"],
    radii: Float[Tensor, "s"],
    object_sdf: Callable[[Float[Tensor, "*b s 3"]], Float[Tensor, "*b s"]],
) -> Float[Tensor, "*b"]:
    """Summed depth, in metres, of the hand's spheres in the object (Dex1B's E_sdf).

    Unlike surface points, a sphere cannot straddle a wall thinner than itself unnoticed.
    """
    return (radii - object_sdf(centers)).clamp_min(0).sum(-1)


def self_penetration(
    centers: Float[Tensor, "*b s 3"], radii: Float[Tensor, "s"] | Float[Tensor, ""], pairs: Int[Tensor, "2 m"]
) -> Float[Tensor, "*b"]:
    """Summed overlap, in metres, of the given pairs of spheres; for keypoints or collision spheres."""
    radius = radii.expand(centers.shape[-2])
    first, second = pairs
    offset = centers.index_select(-2, first) - centers.index_select(-2, second)
    gap = offset.square().sum(-1).clamp_min(1e-12).sqrt()
    return (radius[first] + radius[second] - gap).clamp_min(0).sum(-1)


def joint_limits(qpos: Float[Tensor, "*b j"], limits: Float[Tensor, "j 2"]) -> Float[Tensor, "*b"]:
    """Summed excess over the joint limits, in radians."""
    return ((qpos - limits[:, 1]).clamp_min(0) + (limits[:, 0] - qpos).clamp_min(0)).sum(-1)


def table(
    centers: Float[Tensor, "*b s 3"], radii: Float[Tensor, "s"], *, height_m: float = 0.0
) -> Float[Tensor, "*b"]:
    """Summed depth, in metres, of spheres below the table top (world frame, z up)."""
    return (height_m + radii - centers[..., 2]).clamp_min(0).sum(-1)


def attraction(
    candidates: Float[Tensor, "*b c 3"],
    contact_finger: ContactFingers,
    points: Float[Tensor, "*b n 3"],
    *,
    num_fingers: int,
    within_m: float,
) -> Float[Tensor, "*b"]:
    """Summed distance, in metres, of the fingers to the nearest point, of those nearer to it than ``within_m``.

    A finger's distance is the least of its contact candidates. A finger that is further away is not drawn.
    """
    squared = (candidates[..., :, None, :] - points[..., None, :, :]).square().sum(-1).amin(-1)
    finger = contact_finger == torch.arange(num_fingers, device=candidates.device)[:, None]
    apart = squared[..., None, :].masked_fill(~finger, float("inf")).amin(-1).clamp_min(1e-12).sqrt()
    return torch.where(apart < within_m, apart, 0.0).sum(-1)
