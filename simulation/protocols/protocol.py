"""What a grasp has to stand: every constant of a physics test, and the fingerprint of its verdicts."""

import functools
import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Literal

import mujoco
import numpy as np
from jaxtyping import Float

from sceneleapultra.utils.core.config import build, load_group


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Constants of one physics test; the meaning of each is in ``config/protocol/<name>.yaml``.

    Source: DexGraspBench (Chen et al. 2025), settings fc and tabletop, commit 1e7a5a6.
    """

    name: str
    timestep_s: float
    integrator: Literal["Euler", "implicit", "implicitfast"]
    cone: Literal["elliptic", "pyramidal"]
    impratio: float
    noslip_iterations: int
    friction: tuple[float, float]
    condim: Literal[1, 3, 4, 6]
    hand_solimp: tuple[float, float, float]
    hand_solref: tuple[float, float]
    weld_solimp: tuple[float, float, float, float, float]
    weld_torque_scale: float
    object_mass_kg: float
    force_n_per_kg: float
    directions: tuple[tuple[float, float, float], ...]
    force_from_start: bool
    floor: bool
    waypoints: int
    steps_per_waypoint: int
    hold_blocks: int
    hold_steps_per_block: int
    lift_m: float
    max_penetration_m: float
    max_displacement_m: float
    max_angle_deg: float
    metric_margin_m: float
    touch_distance_m: float

    @property
    def forces(self) -> Float[np.ndarray, "d 3"]:
        """Force on the object in each direction, newtons, world frame."""
        return self.force_n_per_kg * np.asarray(self.directions, dtype=float) * self.object_mass_kg

    @property
    def hash(self) -> str:
        """Fingerprint of all constants but the name, and of MuJoCo's version: equal hash, equal verdicts."""
        constants = {k: v for k, v in asdict(self).items() if k != "name"}
        text = json.dumps([constants, mujoco.__version__], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@functools.cache
def get_protocol(name: str) -> Protocol:
    """Return the protocol of ``config/protocol/<name>.yaml``.

    Raises:
        ValueError: no such protocol; the message names the nearest one.
    """
    return build(load_group("protocol", name))
