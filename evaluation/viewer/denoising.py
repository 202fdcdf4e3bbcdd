"""Sampling step by step: the hands after every step of the solver, from noise to grasps."""

from functools import cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import viser

from sceneleapultra.evaluation.viewer.panel import Panel
from sceneleapultra.models import GraspModel, SampledGrasps, load_grasp_model
from sceneleapultra.models.checkpoints.zoo import find_checkpoint
from sceneleapultra.reporting.drawing import UNTESTED
from sceneleapultra.utils.geometry.frames import CAMERA_MODES

if TYPE_CHECKING:
    from sceneleapultra.evaluation.viewer.browser import Browser

_MOST = 8  # hands


class DenoisingPanel(Panel):
    """Samples grasps for the cloud that is shown, and walks through the steps."""

    layers: ClassVar = ("steps",)
    hides: ClassVar = ("hand", "all bases")

    def __init__(self, browser: "Browser") -> None:
        super().__init__(browser, "Sampling, step by step", "Sample")
        self._made: SampledGrasps | None = None

    def add_controls(self, gui: viser.GuiApi) -> None:
        """Add the number of hands, and the seed."""
        self._number = gui.add_slider("hands", 1, _MOST, 1, 3)
        self._seed = gui.add_number("seed", 0, min=0, step=1)

    def compute(self) -> int:
        """Sample with the model of the catalog."""
        catalog, side = self.browser.catalog, self.browser.sides[0]
        model = _load(catalog.rules.checkpoint)
        if model.hand.name != catalog.hand.name:
            raise ValueError(
                f"{catalog.rules.checkpoint} is a model of the hand {model.hand.name}, and these are grasps of "
                f"{catalog.hand.name}. Pass --checkpoint."
            )
        if model.frame in CAMERA_MODES and side.subject.item is not None:
            raise ValueError(
                f"{catalog.rules.checkpoint} samples in the camera's frame ({model.frame}), which is not shown here. "
                "Pass --checkpoint <a model of another frame>."
            )
        request = side.subject.request
        self._made = model.sample_request(
            request if model.uses_color else request.without_colors(),
            int(self._number.value),
            seed=int(self._seed.value),
            sampling=catalog.rules.sampling,
            trajectory=True,
        )
        assert self._made.trajectory is not None
        return len(self._made.trajectory)

    def draw(self, moment: int) -> str:
        """Draw the hands after a step."""
        made, side = self._made, self.browser.sides[0]
        assert made is not None and made.trajectory is not None
        self.stage.erase(side.group("steps"))
        poses = made.trajectory[moment]
        side.draw_poses(self.stage, "steps", self.browser.catalog.hand, poses, UNTESTED)
        left = np.linalg.norm(poses[:, :3] - made.trajectory[-1][:, :3], axis=1).mean()
        scores = ", ".join(made.describe(i) for i in range(len(made)))
        at = f"after step {moment + 1} of {len(made.trajectory)}: the bases are {100 * left:.1f} cm from where they end"
        return at if moment + 1 < len(made.trajectory) else f"{at}\n\n{scores}"


@cache
def _load(checkpoint: str) -> GraspModel:
    return load_grasp_model(find_checkpoint(checkpoint))
