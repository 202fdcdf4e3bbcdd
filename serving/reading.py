"""From the body of a request to what is sampled; whatever cannot be answered is refused by a sentence."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pydantic import ValidationError

from sceneleapultra.models.sampler import GraspSampler
from sceneleapultra.models.sampling_changes import check_sampling_changes
from sceneleapultra.serving.arrays import from_lists, unpack
from sceneleapultra.serving.limits import WorkLimits
from sceneleapultra.serving.schema import ARRAYS, NPZ, GraspSettings, GraspsRequest
from sceneleapultra.utils.core.names import unknown_name
from sceneleapultra.utils.requests import GraspRequest, Target
from sceneleapultra.utils.requests.depth import intrinsics_of

_FLAG = re.compile(r"--([a-z]+(?:-[a-z]+)*)")


@dataclass(frozen=True)
class Work:
    """A request that can be sampled.

    Attributes:
        request: the cloud with its object.
        settings: what is asked for.
        warnings: what is odd about the cloud.
    """

    request: GraspRequest
    settings: GraspSettings
    warnings: tuple[str, ...]

    @property
    def sampling(self) -> dict[str, Any]:
        """Changes of the model's own sampling."""
        return self.settings.sampling.model_dump(exclude_none=True)

    @property
    def key(self) -> tuple[Any, ...]:
        """Requests of one key can be sampled in one call."""
        settings = self.settings
        prompts = (settings.prompt is None, len(settings.negative_prompts))
        return (settings.num_grasps, tuple(sorted(self.sampling.items())), *prompts)


def read_body(content: bytes, kind: str, limits: WorkLimits) -> tuple[GraspSettings, dict[str, np.ndarray]]:
    """Return the settings and the arrays of a body.

    Args:
        content: the body.
        kind: its media type, JSON or the binary form.
        limits: of one request.

    Raises:
        ValueError: one sentence on what was expected and what came.
    """
    try:
        if kind == NPZ:
            text, arrays = unpack(content, limits.body_bytes)
            settings = GraspSettings.model_validate_json(text)
        else:
            settings = GraspsRequest.model_validate_json(content)
            lists = {name: getattr(settings, name) for name in ARRAYS}
            arrays = {name: from_lists(name, value) for name, value in lists.items() if value is not None}
    except ValidationError as error:
        raise ValueError(_sentence(error, GraspSettings if kind == NPZ else GraspsRequest)) from error
    _check_limits(settings, arrays, limits)
    return settings, arrays


def prepare(
    settings: GraspSettings, arrays: Mapping[str, np.ndarray], model: GraspSampler, hand: str
) -> Work:
    """Find table and object, and compare the request with what the model learned from.

    Args:
        settings: what is asked for.
        arrays: what the camera saw.
        model: that will sample.
        hand: of the model.

    Raises:
        ValueError: one sentence on why no grasp can be made.
    """
    if settings.hand is not None and settings.hand != hand:
        raise ValueError(f"hand: this service makes grasps for {hand}, not for {settings.hand}.")
    try:
        request = _request(settings, arrays)
        if model.uses_color and request.rgb is None:
            raise ValueError("rgb: the model was trained with colors, the request has none. Send them.")
        request = request if model.uses_color else request.without_colors()
        return Work(request, settings, model.check(request))
    except ValueError as error:
        raise ValueError(in_fields(str(error))) from error


def in_fields(sentence: str) -> str:
    """Return a sentence that names flags of a command line with the names that a request has."""
    return _FLAG.sub(lambda found: found[1].replace("-", "_"), sentence)


def _request(settings: GraspSettings, arrays: Mapping[str, np.ndarray]) -> GraspRequest:
    target = Target(
        mask=arrays.get("mask"),
        box=None if settings.box is None else tuple(settings.box),
        pixel=settings.pixel,
        at=settings.at,
        number=settings.object,
    )
    rgb = _colors(arrays.get("rgb"))
    if "points" in arrays:
        request = GraspRequest.from_points(
            arrays["points"],
            target=target,
            up=settings.up,
            viewpoint=settings.viewpoint or (0.0, 0.0, 0.0),
            rgb=rgb,
        )
    else:
        request = GraspRequest.from_depth(
            arrays["depth"],
            _intrinsics(settings.intrinsics),
            target=target,
            up=settings.up,
            rgb=rgb,
            depth_scale=settings.depth_scale,
        )
    return request if settings.frame is None else replace(request, frame=settings.frame)


def _intrinsics(numbers: Any) -> Any:
    try:
        return intrinsics_of(numbers, "intrinsics") if isinstance(numbers, dict) else numbers
    except TypeError as error:
        raise ValueError(f"intrinsics: expected fx, fy, cx and cy, or K; got {str(numbers)[:60]}.") from error


def _colors(rgb: np.ndarray | None) -> np.ndarray | None:
    """Return colors of JSON, whole numbers of any width, as bytes where they fit."""
    if rgb is None or rgb.dtype.kind not in "iu" or rgb.size == 0 or rgb.min() < 0 or rgb.max() > 255:
        return rgb
    return rgb.astype(np.uint8)


def _check_limits(settings: GraspSettings, arrays: Mapping[str, np.ndarray], limits: WorkLimits) -> None:
    if ("points" in arrays) == ("depth" in arrays):
        both = "both" if "points" in arrays else "neither"
        raise ValueError(f"Expected points, or depth with intrinsics; got {both}.")
    size = arrays["points"].size // 3 if "points" in arrays else arrays["depth"].size
    for what, value, most in (
        ("points or pixels", size, limits.points),
        ("num_grasps", settings.num_grasps, limits.grasps),
        ("sampling.steps", settings.sampling.steps or 0, limits.steps),
        ("deadline_s", settings.deadline_s or 0, limits.deadline_s),
    ):
        if value > most:
            raise ValueError(f"{what}: this service takes at most {most:,g}, got {value:,g}.")
    check_sampling_changes(settings.sampling.model_dump())
    if settings.best is not None and settings.best > settings.num_grasps:
        raise ValueError(
            f"best: expected 1 to {settings.num_grasps}, the number of grasps, got {settings.best}."
        )
    if "depth" in arrays and settings.intrinsics is None:
        raise ValueError("intrinsics: a depth image needs those of its camera, fx fy cx cy or K (pixels).")
    if "depth" in arrays and settings.viewpoint is not None:
        raise ValueError(
            "viewpoint belongs to points; a depth image is seen from its own camera. Leave it away."
        )


def _sentence(error: ValidationError, model: type[GraspSettings]) -> str:
    """Return one sentence on the first thing that is wrong."""
    first = error.errors(include_url=False)[0]
    if first["type"] == "json_invalid":
        return f"The body is no JSON ({first['ctx']['error']})."
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        inner = model.model_fields["sampling"].default if first["loc"][0] == "sampling" else None
        names = type(inner).model_fields if inner is not None else model.model_fields
        return str(unknown_name("field", place[:80], names))
    if first["type"] in ("missing", "too_long") and isinstance(first["loc"][-1], int):
        place = ".".join(str(part) for part in first["loc"][:-1])
        first = {**first, "msg": "input has another number of values"}
    came = str(first["input"])
    came = f"{came[:60]}..." if len(came) > 60 else came
    return f"{place or 'body'}: {first['msg'][0].lower()}{first['msg'][1:]}, got {came}."
