"""What a grasp has to stand: a trial, the constants of its world, and the fingerprint of its verdicts."""

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import mujoco

from sceneleapultra.simulation.protocols.metrics import ContactSettings
from sceneleapultra.simulation.protocols.spec import Physics
from sceneleapultra.simulation.protocols.trials.base import Trial
from sceneleapultra.utils.core.config import build, load_group


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One physics test; the meaning of each constant is in ``config/protocol``."""

    name: str
    physics: Physics
    contacts: ContactSettings
    trial: Trial

    @property
    def constants(self) -> Mapping[str, Any]:
        """Everything that verdicts and metrics depend on."""
        return {**asdict(self.physics), **asdict(self.contacts), **self.trial.constants()}

    @property
    def hash(self) -> str:
        """Fingerprint of all constants but the name, and of MuJoCo's version: equal hash, equal verdicts."""
        text = json.dumps([self.constants, mujoco.__version__], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@functools.cache
def get_protocol(name: str) -> Protocol:
    """Return the protocol of ``config/protocol/<name>.yaml``.

    Raises:
        ValueError: no such protocol; the message names the nearest one.
    """
    return build(load_group("protocol", name))
