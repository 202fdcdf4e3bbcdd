"""What a reader of a foreign format promises: which scenes there are, and each of them in metres, radians, our frames.

Readers state what a file says; solids, pictures where a format has none, and checks are the converter's work.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, UInt8

from sceneleapultra.hands import Hand
from sceneleapultra.utils.records import ObjectRecord, Scene, View

MeshSurface = tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]


@dataclass(frozen=True)
class SourceScene:
    """A scene of a source, known before it is read: its key, and the objects it has grasps of."""

    key: str
    objects: tuple[tuple[str, str], ...]  # name (of the object, whatever its size) and category


@dataclass(frozen=True)
class Claims:
    """Grasps of one object as its source states them, in the frame of the object's (scaled) mesh."""

    T_object_base: Float[np.ndarray, "g 4 4"]
    qpos: Float[np.ndarray, "g j"]  # in the hand's joint order
    outcome: UInt8[np.ndarray, "g"]  # CLAIMED, or why it fails
    pregrasp_qpos: Float[np.ndarray, "g j"] | None = None
    squeeze_qpos: Float[np.ndarray, "g j"] | None = None
    # How far the wrist is elsewhere in pre-grasp or squeeze (m, rad); None where the source has one wrist for all.
    wrist_motion: Float[np.ndarray, "g 2"] | None = None

    def __len__(self) -> int:
        return len(self.qpos)


@dataclass(frozen=True)
class Placed:
    """An object of a scene; ``mesh`` is a file, the folder of an object, or triangles."""

    name: str  # differs wherever the shape or size does
    family: str
    mesh: Path | MeshSurface
    scale: float  # metres per unit of the mesh
    T_world_object: Float[np.ndarray, "4 4"]  # of the mesh's frame
    grasps: Claims


@dataclass(frozen=True)
class RawScene:
    """A scene as its source has it. World: z up, table top at z = 0 where there is one."""

    objects: tuple[Placed, ...]
    table: bool
    views: tuple[View, ...]  # every measured point, in any order; empty where the source has no camera


@runtime_checkable
class Format(Protocol):
    """A reader; it keeps settings only, so that any process may use it."""

    @property
    def name(self) -> str:
        """What the format is called."""

    def places(self, root: Path) -> list[Path]:
        """Return the files and folders that are read."""

    def index(self, root: Path) -> list[SourceScene]:
        """Return the scenes below a folder, sorted by key, without reading much.

        Raises:
            FileNotFoundError: what the format needs is not there.
            ValueError: a file contradicts the format.
        """

    def columns(self, root: Path) -> set[str]:
        """Return which of pregrasp_qpos and squeeze_qpos the source has."""

    def read(self, root: Path, key: str, hand: Hand) -> RawScene:
        """Read one scene.

        Raises:
            FileNotFoundError: a file of the scene is missing.
            ValueError: a file contradicts the format, or its grasps are of another hand.
        """


@dataclass(frozen=True, kw_only=True)
class GraspFolder:
    """What readers of grasps without scenes have in common; ``config/conversion`` says what each setting means."""

    name: str
    grasps: str
    objects: str

    def places(self, root: Path) -> list[Path]:
        """Grasps and objects."""
        return [root / self.grasps, root / self.objects]


@runtime_checkable
class MeshProvider(Protocol):
    """What the converter needs that is no reading: ``simulation.scene_renderer.SceneRenderer`` is one."""

    def solid(
        self, mesh: Path | MeshSurface, *, name: str, family: str, scale: float
    ) -> tuple[ObjectRecord, Float[np.ndarray, "3"]]:
        """Return an object, and its center of mass in the frame of its mesh (m)."""

    def render_views(self, scene: Scene, rng: np.random.Generator) -> tuple[View, ...]:
        """Return views of a scene that came without."""
