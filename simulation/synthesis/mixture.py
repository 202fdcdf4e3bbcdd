"""Two methods that take turns: fingertips for what lies low, the closing hand for what is large enough for it."""

from dataclasses import dataclass

import numpy as np

from sceneleapultra.simulation.synthesis.base import Candidates, Proposer, Synthesis, Target
from sceneleapultra.utils.records import Grasps


@dataclass(frozen=True, kw_only=True)
class Mixture(Synthesis):
    """Settings of the method; ``config/synthesis/mixed.yaml`` explains each."""

    precision: Synthesis
    power: Synthesis
    heights_m: tuple[float, float]
    least_precision: float

    @property
    def needs(self) -> tuple[str, ...]:
        """What either method needs."""
        return tuple(dict.fromkeys((*self.precision.needs, *self.power.needs)))

    def proposer(self, target: Target) -> Proposer:
        """Prepare both methods for one target."""
        return _Turns(
            self.precision.proposer(target), self.power.proposer(target), self.precision_share(target)
        )

    def precision_share(self, target: Target) -> float:
        """Return the share of precision grasps: by the height of the target as it lies, afloat the least."""
        if not target.scene.table:
            return self.least_precision
        T = target.scene.T_world_object[target.index]
        top = float((target.scene.objects[target.index].vertices @ T[2, :3] + T[2, 3]).max())
        return float(np.interp(top, self.heights_m, (1.0, self.least_precision)))


class _Turns(Proposer):
    def __init__(self, precision: Proposer, power: Proposer, share: float) -> None:
        self.precision, self.power, self.share = precision, power, share

    def propose(self, n: int, rng: np.random.Generator) -> Candidates:
        """Ask both for their shares; what is left over by rounding falls to either by chance."""
        number = int(self.share * n + rng.random())
        parts = [
            proposer.propose(k, rng)
            for proposer, k in ((self.precision, number), (self.power, n - number))
            if k
        ]
        return Candidates(
            Grasps.concatenate([part.grasps for part in parts]),
            np.concatenate([part.fingers for part in parts]),
        )
