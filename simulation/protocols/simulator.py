"""How one grasp is put through a protocol: the engine, compiled once per hand and world."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sceneleapultra.simulation.protocols.hand_model import HandModel
from sceneleapultra.simulation.protocols.metrics import CONTACT_METRICS, GraspState, Metric
from sceneleapultra.simulation.protocols.protocol import Protocol
from sceneleapultra.simulation.protocols.spec import Attempt, WorldSpec
from sceneleapultra.simulation.protocols.trials.base import Verdict
from sceneleapultra.simulation.protocols.world import World

if TYPE_CHECKING:
    from sceneleapultra.hands import Hand


class GraspSimulator:
    """One hand, one world, one protocol, compiled; verdicts do not depend on what was run before."""

    def __init__(self, hand: "Hand | HandModel", spec: WorldSpec, protocol: Protocol) -> None:
        self.protocol = protocol
        hand = hand if isinstance(hand, HandModel) else HandModel.from_hand(hand)
        self.world = World(hand, spec, protocol.physics)

    def run(self, attempt: Attempt, *, stop_at_failure: bool = False) -> Verdict:
        """Try one grasp.

        Args:
            attempt: the grasp, and where the objects lie.
            stop_at_failure: skip the directions after the first that fails.

        Raises:
            ValueError: a stage or pose of another length, or not finite.
        """
        prepared = self.world.prepare(attempt)
        return self.protocol.trial.run(self.world, prepared, stop_at_failure=stop_at_failure)

    def measure(self, attempt: Attempt, metrics: Sequence[Metric] = CONTACT_METRICS) -> dict[str, float]:
        """Measure metrics at the grasp pose, before anything moves; return them by the names of their columns."""
        prepared, settings = self.world.prepare(attempt), self.protocol.contacts
        with self.world.contacts.margin(settings.metric_margin_m):
            self.world.reset(prepared.grasp, prepared.object_poses)
            state = GraspState(self.world, settings)
            return {metric.column.name: metric.measure(state) for metric in metrics}
