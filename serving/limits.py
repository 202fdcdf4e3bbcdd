"""What a service takes at most, and how long it waits."""

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class WorkLimits:
    """Of one request; ``config/serving/limits.yaml`` says what each number means."""

    body_mb: float
    points: int
    grasps: int
    steps: int
    deadline_s: float

    @property
    def body_bytes(self) -> int:
        """Largest body, and largest size of the arrays in it."""
        return int(self.body_mb * 2**20)


@dataclass(frozen=True, kw_only=True)
class ServiceLimits:
    """Of all requests together; ``config/serving/limits.yaml`` says what each number means."""

    bodies_mb: float
    waiting: int
    batch: int
    batch_wait_s: float
    head_s: float
    body_s: float
    drain_s: float
    connections: int


def read_limits(settings: dict[str, Any]) -> tuple[WorkLimits, ServiceLimits]:
    """Return the limits of the command line.

    Raises:
        ValueError: a limit that is no number, or none above 0.
    """
    for name, value in settings.items():
        whole = name in ("points", "grasps", "steps", "waiting", "batch", "connections")
        kinds = (int,) if whole else (int, float)
        least = "a whole number of at least 1" if whole else "a number above 0"
        if isinstance(value, bool) or not isinstance(value, kinds) or not value > 0:
            raise ValueError(f"--limits.{name.replace('_', '-')}: expected {least}, got {value}.")
    work, service = ({f.name: settings[f.name] for f in fields(kind)} for kind in (WorkLimits, ServiceLimits))
    return WorkLimits(**work), ServiceLimits(**service)
