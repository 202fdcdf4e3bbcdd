"""A small model with its preparation of clouds, and a cloud to sample from."""

import numpy as np

from factories.models import small_generator
from sceneleapultra.models import GraspModel, SampledGrasps

CLOUD = {
    "num_points": 96,
    "target_share": 0.6,
    "crop_radius": 0.5,
    "points": {"sampler": "farthest", "cell_m": 0.005, "shares": (0.5, 0.25, 0.25), "falloff_m": 0.05},
}


def small_model() -> GraspModel:
    return GraspModel(generator=small_generator(), cloud_settings=CLOUD)


def cloud(n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """A curved surface: its normals are well defined, unlike those of a blob of noise."""
    rng = np.random.default_rng(3)
    angle, height = rng.uniform(-1.2, 1.2, n), rng.uniform(0, 0.1, n)
    points = np.stack([0.04 * np.cos(angle), 0.04 * np.sin(angle), height], axis=1)
    return points.astype(np.float32), np.arange(n) % 3 > 0


def sample(model: GraspModel, points: np.ndarray, mask: np.ndarray, **changes) -> SampledGrasps:
    settings = {"object_mask": mask, "viewpoint": (0.5, 0.0, 0.5), "up": (0.0, 0.0, 1.0), "seed": 0}
    return model.sample(points, 9, **{**settings, **changes})
