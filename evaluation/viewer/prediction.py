"""Predicted grasps to look at: the cloud they were made for, and the hands, the best first."""

from pathlib import Path

import numpy as np

from sceneleapultra.evaluation.viewer.subject import Candidates, Catalog, Rules, Subject
from sceneleapultra.hands import load_hand
from sceneleapultra.reporting.drawing import UNTESTED
from sceneleapultra.utils.core.npz import read_npz
from sceneleapultra.utils.records import Grasps
from sceneleapultra.utils.requests import GraspRequest

_CLOUD = ("points", "object_mask", "viewpoint", "up")
_KNOWN = ("score", "p_stable", "p_collision_free", "observed_clearance_m", "penetration_m", "clearance_m")


class PredictionCatalog(Catalog):
    """The one cloud of a prediction.

    Args:
        path: of grasps.npz, with grasps.json beside it.
        hand: that grasps; None for the one it names.
        checkpoint: of the model that samples.

    Raises:
        ValueError: grasps without their cloud, as versions before 0.3 wrote them.
    """

    def __init__(self, path: Path, hand: str | None, checkpoint: str) -> None:
        self.path = path
        self._arrays = read_npz(path)
        if missing := [name for name in (*_CLOUD, "hand", "pregrasp_qpos") if name not in self._arrays]:
            raise ValueError(
                f"{path} lacks {', '.join(missing)}: it has no cloud to show the grasps in. Predict again: sceneleap "
                "predict"
            )
        self.title = f"Grasps predicted in {path.parent.name or path.name}"
        self.hand = load_hand(hand or str(self._arrays["hand"]))
        why_not = "The true scene of a prediction is not known here, so its grasps are not tried."
        self.rules = Rules(None, why_not, checkpoint)

    def __len__(self) -> int:
        """Return one."""
        return 1

    def read(self, number: int) -> Subject:
        """Read the cloud and its grasps."""
        a = self._arrays
        cloud = {name: a[name] for name in _CLOUD}
        request = GraspRequest(**cloud, frame=str(a["frame"]))  # type: ignore[arg-type]
        count = len(a["hand_pose"])
        known = {name: a[name] for name in _KNOWN if name in a}
        details = [{name: f"{values[i]:.4g}" for name, values in known.items()} for i in range(count)]
        grasps = Grasps(a["hand_pose"], a["pregrasp_qpos"], a["squeeze_qpos"])
        if "outcome" in a:
            candidates = Candidates.of_verdicts(
                grasps, a["outcome"].tolist(), a["collision_free"].tolist(), details
            )
        else:
            candidates = Candidates(grasps, [UNTESTED] * count, [""] * count, details)
        on_object = int(np.count_nonzero(request.object_mask))
        caption = (
            f"{len(request.points):,} points, {on_object:,} of them on the object; frame {request.frame}"
        )
        return Subject(caption, request, None, {"predicted": candidates})
