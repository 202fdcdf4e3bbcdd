"""How items are built: the settings of their clouds and grasps."""

from dataclasses import dataclass

from sceneleapultra.datasets.items.grasp_sampling import GraspChoice
from sceneleapultra.utils.core.names import unknown_name
from sceneleapultra.utils.geometry.cloud import CloudProcessor
from sceneleapultra.utils.geometry.frames import MODES


@dataclass(frozen=True, kw_only=True)
class ItemSettings:
    """How items are built; ``config/data`` says what each number means."""

    cloud: CloudProcessor
    colors: bool
    grasps: GraspChoice

    def __post_init__(self) -> None:
        if self.cloud.frame not in MODES:
            raise unknown_name("data.cloud.frame", self.cloud.frame, MODES)
