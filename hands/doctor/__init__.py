"""What no file of a hand says, proposed from its geometry and motion, and whether its numbers make sense."""

from sceneleapultra.hands.doctor.propose import Proposal, propose

__all__ = ["Proposal", "propose"]
