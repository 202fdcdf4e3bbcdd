"""A small cloud with the grasps that a model makes for it: whether a copy computes what the original did.

Digests tell whether files are whole; the probe, whether this machine, its libraries and this version of the project
make of them what was made when the bundle was written. Grasps are compared by their median: on other processors sums
are rounded otherwise, and a few grasps of many go another way.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sceneleapultra.models.sampler import GraspSampler
from sceneleapultra.utils.core.npz import read_npz
from sceneleapultra.utils.requests import GraspRequest

PROBE = "probe.npz"
_NUM_GRASPS, _SEED = 8, 0
_TOLERANCE = 5e-3  # m of the position, rad of the joints, of the median grasp
_REACH_M, _MOST_POINTS = 0.3, 4096
_REQUEST = ("points", "object_mask", "viewpoint", "up", "rgb")
_MADE = ("hand_pose", "squeeze_qpos")


def probe_request(request: GraspRequest) -> GraspRequest:
    """Return the surroundings of a request's object, thinned."""
    near = np.square(request.points - request.target_points.mean(0)).sum(-1) <= _REACH_M**2
    index = np.flatnonzero(near)
    index = index[:: -(-len(index) // _MOST_POINTS)]
    return replace(
        request,
        points=request.points[index],
        object_mask=request.object_mask[index],
        rgb=None,
        table=None,
        notes=(),
    )


def make_probe(model: GraspSampler, request: GraspRequest, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a probe: the request, how it is sampled, and the grasps that a model makes for it now.

    Args:
        model: the original.
        request: see :func:`probe_request`.
        settings: further arguments of ``sample_request`` that JSON can hold.
    """
    request = replace(request, rgb=np.full(request.points.shape, 128, np.uint8) if model.uses_color else None)
    settings = {"seed": _SEED, **settings}
    made = model.sample_request(request, _NUM_GRASPS, **settings)
    arrays = {name: getattr(request, name) for name in _REQUEST if getattr(request, name) is not None}
    return {
        **arrays,
        "settings": np.array(json.dumps(settings)),
        **{name: getattr(made, name) for name in _MADE},
    }


def check_probe(model: GraspSampler, folder: Path) -> None:
    """Refuse a model that does not make the grasps which its bundle expects.

    Raises:
        ValueError: with how far apart they are.
    """
    probe = read_npz(folder / PROBE)
    inputs: dict[str, Any] = {name: probe[name] for name in _REQUEST if name in probe}
    request = GraspRequest(**inputs)
    settings = json.loads(str(probe["settings"]))
    made = model.sample_request(request, len(probe["hand_pose"]), **settings)
    # Each expected grasp to the nearest that was made, in whatever order; without the quaternion, whose sign is free.
    expected, found = (
        np.concatenate([hand_pose[:, :-4], squeeze], axis=1)
        for hand_pose, squeeze in ((probe[_MADE[0]], probe[_MADE[1]]), (made.hand_pose, made.squeeze_qpos))
    )
    apart = float(np.median(np.abs(expected[:, None] - found).max(-1).min(-1)))
    if not apart <= _TOLERANCE:
        raise ValueError(
            f"{folder}: the model does not make the grasps that its {PROBE} holds: the median one is {apart:.2g} (m or "
            f"rad) from the nearest that was made, {_TOLERANCE:g} is allowed. Its files are whole: this version of the "
            "project, or a library, computes otherwise than the one that wrote it. Export the checkpoint anew."
        )
