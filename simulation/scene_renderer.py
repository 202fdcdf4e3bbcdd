"""What a foreign data set may lack and simulation can make: solids from its meshes, camera views of its scenes."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from sceneleapultra.simulation.camera import CameraSettings, render_views
from sceneleapultra.simulation.objects import as_solid, load_solid
from sceneleapultra.utils.records import ObjectRecord, Scene, View

Surface = tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]


class SceneRenderer:
    """Loads the objects of a data set and renders views of its scenes.

    Args:
        camera: how scenes are rendered.
        views: of each scene.
    """

    def __init__(self, *, camera: CameraSettings, views: int) -> None:
        if views < 1:
            raise ValueError(f"conversion.renderer.views: expected at least 1, got {views}.")
        self.camera, self.views = camera, views

    def solid(
        self, mesh: Path | Surface, *, name: str, family: str, scale: float
    ) -> tuple[ObjectRecord, Float[np.ndarray, "3"]]:
        """Return an object, and its center of mass in the frame of its mesh (m)."""
        if isinstance(mesh, Path):
            return load_solid(mesh, name=name, family=family, scale=scale)
        vertices, faces = mesh
        return as_solid(scale * vertices, faces, name=name, family=family)

    def render_views(self, scene: Scene, rng: np.random.Generator) -> tuple[View, ...]:
        """Return views of a scene, as a depth camera would see it."""
        return render_views(scene, self.views, rng, self.camera)
