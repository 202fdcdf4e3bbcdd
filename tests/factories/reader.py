"""What the reader of a page has: a camera's depth image (mm) and lens, points and mask of an object; joints of a jaw.

The image is the shipped view at 640 x 480 pixels, less what is far from the middle, so that it takes less time.
"""

import numpy as np
import torch

from sceneleapultra import load_grasp_model, load_hand
from sceneleapultra.scripts.predict import EXAMPLE
from sceneleapultra.utils.requests import GraspRequest, Target

__all__ = ["cx", "cy", "depth", "fx", "fy", "load_grasp_model", "load_hand", "mask", "points", "qpos"]

_view = np.load(EXAMPLE)
depth = _view["depth"].repeat(2, 0).repeat(2, 1)
depth[:, :140] = depth[:, 540:] = depth[400:] = depth[:100] = 0  # not measured
fx, fy, cx, cy = 615.0, 615.0, 320.0, 240.0
_request = GraspRequest.from_depth(
    _view["depth"], _view["K"], depth_scale=0.001, target=Target(mask=_view["mask"])
)
points, mask = _request.points, _request.object_mask
qpos = torch.zeros(3, 1)
