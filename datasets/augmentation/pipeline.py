"""How a training batch is changed at random: a chain of transforms by name, each legal where it is asked for.

The same code serves batches on the CPU in loading processes and on the device after they got there; what is drawn
depends on ``GraspBatch.draw_key`` alone.
"""

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

import torch
from torch import Tensor

from sceneleapultra.datasets.augmentation.base import Transform
from sceneleapultra.datasets.augmentation.clutter import Clutter
from sceneleapultra.datasets.augmentation.content import Background, Color, Density, MaskNoise
from sceneleapultra.datasets.augmentation.frame import Tilt, Translation, Yaw
from sceneleapultra.datasets.augmentation.legality import NEVER, why_not
from sceneleapultra.datasets.augmentation.sensor import (
    DepthNoise,
    EdgePixels,
    Holes,
    Jitter,
    Occlusion,
    Quantization,
)
from sceneleapultra.hands import Hand
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.core.config import build
from sceneleapultra.utils.core.keyed_random import KeyedRandom
from sceneleapultra.utils.core.names import unknown_name
from sceneleapultra.utils.geometry.frames import MODES

# In the order in which they act: the scene, the sensor, what is said about the points, the frame.
TRANSFORMS: Mapping[str, type[Transform]] = {
    "clutter": Clutter,
    "occlusion": Occlusion,
    "background": Background,
    "holes": Holes,
    "edge_pixels": EdgePixels,
    "depth_noise": DepthNoise,
    "quantization": Quantization,
    "jitter": Jitter,
    "density": Density,
    "mask_noise": MaskNoise,
    "color": Color,
    "translation": Translation,
    "tilt": Tilt,
    "yaw": Yaw,
}


class Augmentation:
    """A chain of transforms.

    Args:
        transforms: by name; those left out do nothing. Settings, under a name of ``config/data/augment``; or a built
            transform of anybody's, under a name of its own: these act last, in their order.
        mode: coordinate mode of the batches.
        colors: whether batches have colors.
        hand: the hand, which ``clutter`` must not let collide.

    Raises:
        ValueError: a transform that is unknown, or not true in this mode, or a setting of the wrong type.
    """

    def __init__(
        self,
        transforms: Mapping[str, Mapping[str, Any] | Transform],
        *,
        mode: str,
        colors: bool,
        hand: Hand,
    ) -> None:
        if mode not in MODES:
            raise unknown_name("data.cloud.frame", mode, MODES)
        for name, settings in transforms.items():
            own = isinstance(settings, Transform)
            if own and name in TRANSFORMS:
                raise ValueError(
                    f"data.augment.{name} is the name of the project's own transform. Give yours another name."
                )
            if not own and name not in TRANSFORMS and name not in NEVER:
                raise unknown_name("augmentation", name, TRANSFORMS)
            if (reason := why_not(name, mode)) is not None:
                raise ValueError(
                    f"data.augment.{name} is not offered in frame {mode}: {reason}. Remove it with ~data.augment.{name}"
                )
        if "color" in transforms and not colors:
            raise ValueError(
                "data.augment.color changes colors, and batches have none. Pass data.colors=true, or remove it with "
                "~data.augment.color"
            )
        self.transforms: dict[str, Transform] = {
            name: _built(name, settings, hand) for name, settings in sorted(transforms.items(), key=_place)
        }
        shift = self.transforms.get("translation")
        if mode == "tabletop" and isinstance(shift, Translation) and shift.vertical:
            raise ValueError(
                "data.augment.translation.vertical=true would lift the table, which the frame tabletop has at z = 0. "
                "Pass data.augment.translation.vertical=false."
            )

    def __call__(self, batch: GraspBatch) -> GraspBatch:
        """Return the batch, changed at random by ``draw_key``; one without keys is returned as it is."""
        if batch.draw_key is None:
            return batch
        for name, transform in self.transforms.items():
            random = KeyedRandom(batch.draw_key).stream(name)
            changed = transform(batch, random)
            if transform.probability < 1.0:
                changed = _where(random.stream("whether").uniform() < transform.probability, changed, batch)
            batch = changed
        return batch


def plain_settings(transforms: Mapping[str, Mapping[str, Any] | Transform]) -> dict[str, Any]:
    """Return what decides how batches are changed, as plain containers."""
    return {
        name: {"_target_": f"{type(t).__module__}.{type(t).__qualname__}", **asdict(t)}
        if isinstance(t, Transform)
        else t
        for name, t in transforms.items()
    }


def _place(entry: tuple[str, Any]) -> int:
    """Return when a transform acts."""
    order = list(TRANSFORMS)
    return order.index(entry[0]) if entry[0] in order else len(order)


def _built(name: str, settings: Mapping[str, Any] | Transform, hand: Hand) -> Transform:
    if isinstance(settings, Transform):
        return settings
    kind, extra = TRANSFORMS[name], {"hand": hand} if name == "clutter" else {}
    expected = {field.name for field in fields(kind)} - {"hand"}
    if missing := expected - set(settings):
        raise ValueError(
            f"data.augment.{name}: expected the settings {sorted(expected)}, {sorted(missing)} missing."
        )
    for key in settings:
        if key not in expected:
            raise unknown_name(f"setting of data.augment.{name}", key, expected)
    try:
        transform: Transform = build(
            {"_target_": f"{kind.__module__}.{kind.__qualname__}", **settings}, **extra
        )
    except ValueError as error:
        raise ValueError(f"data.augment.{name}.{error}") from error
    for key, value in settings.items():
        if (isinstance(value, int | float) and value < 0) or (key in _SHARES and not 0 <= value <= 1):
            expected_range = "0 to 1" if key in _SHARES else "at least 0"
            raise ValueError(f"data.augment.{name}.{key}: expected {expected_range}, got {value}.")
    return transform


_SHARES = ("probability", "share", "min_share", "min_visible")


def _where(mask: Tensor, new: GraspBatch, old: GraspBatch) -> GraspBatch:
    """Take the items of ``new`` where the mask says so."""
    chosen: dict[str, Any] = {}
    for field in fields(GraspBatch):
        first, second = getattr(new, field.name), getattr(old, field.name)
        if isinstance(first, Tensor) and first is not second:
            chosen[field.name] = torch.where(mask.view(-1, *[1] * (first.ndim - 1)), first, second)
    return replace(old, **chosen)
