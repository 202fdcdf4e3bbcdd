"""Between joint angles of our description and commands for the motors of a real hand."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from sceneleapultra.hands.adapters.settings import Gains, Mount, Preset, Timing
from sceneleapultra.hands.hand import Hand
from sceneleapultra.utils.core.config import CONFIG_DIR, build, load_group
from sceneleapultra.utils.core.names import unknown_name

_GROUP = "hand/adapter"


@dataclass(frozen=True, kw_only=True)
class HandAdapter:
    """A real hand. Angles of joints are in our description's order, commands in the motors'.

    Example:
        >>> adapter = load_adapter(hand)
        >>> adapter.to_motors(hand, qpos)  # (16,) rad, motor 0 first; refused where a joint would pass its limit
    """

    motors: tuple[str, ...]
    zero_rad: float
    gains: Gains
    presets: dict[str, Preset]
    clip_rad: float
    max_speed_rad_s: float
    rate_hz: float
    timing: Timing
    mount: Mount

    def preset(self, name: str) -> Preset:
        """Return the motors of a name.

        Raises:
            ValueError: no such motors.
        """
        if name not in self.presets:
            raise unknown_name("kind of motors", name, self.presets)
        return self.presets[name]

    def within_limits(
        self, hand: Hand, qpos: Float[np.ndarray, "*b j"], *, what: str, aim: bool = False
    ) -> Float[np.ndarray, "*b j"]:
        """Return joint angles moved to their limits where they lie a little outside.

        Args:
            hand: whose joints they are.
            qpos: joint angles (rad).
            what: they are, for the sentence.
            aim: not a place where the joints shall be but one that they press towards: any distance is moved.

        Raises:
            ValueError: not finite, or an angle too far outside.
        """
        qpos = np.asarray(qpos, dtype=float)
        if not np.isfinite(qpos).all():
            raise ValueError(f"{what}: expected finite joint angles, got {qpos.tolist()}.")
        lower, upper = hand.joint_limits.numpy().astype(float).T
        inside = np.clip(qpos, lower, upper)
        beyond = np.abs(qpos - inside).reshape(-1, hand.num_joints).max(0)
        if not aim and (beyond > self.clip_rad).any():
            worst = int(beyond.argmax())
            values = qpos.reshape(-1, hand.num_joints)[:, worst]
            value = values[np.abs(values - np.clip(values, lower[worst], upper[worst])).argmax()]
            raise ValueError(
                f"{what}: joint {hand.joint_names[worst]} at {value:.3f} rad is beyond its limits "
                f"{lower[worst]:.3f} to {upper[worst]:.3f} by more than {self.clip_rad} rad, so the hand is not moved. "
                "Choose another grasp."
            )
        return inside

    def to_motors(self, hand: Hand, qpos: Float[np.ndarray, "*b j"]) -> Float[np.ndarray, "*b m"]:
        """Return the angles of the motors (rad) for joint angles, which must be within the limits."""
        inside = self.within_limits(hand, qpos, what="command")
        return inside[..., self._order(hand)] + self.zero_rad

    def to_joints(self, hand: Hand, motors: Float[np.ndarray, "*b m"]) -> Float[np.ndarray, "*b j"]:
        """Return the joint angles (rad) that the motors' angles mean."""
        return (np.asarray(motors, dtype=float) - self.zero_rad)[..., np.argsort(self._order(hand))]

    def currents(self, hand: Hand, torque_nm: Float[np.ndarray, "j"], preset: str) -> Float[np.ndarray, "m"]:
        """Return the motors' currents (mA) for torques of the joints.

        Raises:
            ValueError: the motors do not stand it.
        """
        kind = self.preset(preset)
        torque_nm = np.asarray(torque_nm, dtype=float)
        if not (np.isfinite(torque_nm) & (torque_nm > 0)).all():
            raise ValueError(
                f"squeeze: expected a torque above 0 N m for each joint, got {torque_nm.tolist()}."
            )
        current = 1000 * torque_nm / kind.torque_per_amp_nm
        if (current > kind.max_current_ma).any():
            worst = int(current.argmax())
            raise ValueError(
                f"squeeze: {torque_nm[worst]:.3g} N m at {hand.joint_names[worst]} need {current[worst]:.0f} mA, and "
                f"the motors of preset '{preset}' stand {kind.max_current_ma:.0f} mA, {kind.max_torque_nm:.3f} N m. "
                "Ask for less."
            )
        return current[self._order(hand)]

    def _order(self, hand: Hand) -> list[int]:
        """Return which of the hand's joints each motor turns."""
        if sorted(self.motors) != sorted(hand.joint_names):
            raise ValueError(
                f"The adapter's motors turn {', '.join(self.motors)}, and hand '{hand.name}' has the joints "
                f"{', '.join(hand.joint_names)}. Load the adapter of this hand."
            )
        return [hand.joint_names.index(name) for name in self.motors]


def load_adapter(hand: Hand) -> HandAdapter:
    """Load ``config/hand/adapter/<name of the hand>.yaml``.

    Raises:
        ValueError: nobody wrote one for this hand.
    """
    known = sorted(path.stem for path in (CONFIG_DIR / _GROUP).glob("*.yaml"))
    if hand.name not in known:
        raise ValueError(
            f"There is no adapter for a real '{hand.name}', only for {', '.join(known)}. Write "
            f"config/{_GROUP}/{hand.name}.yaml after that of {known[0]}."
        )
    adapter: HandAdapter = build(load_group(_GROUP, hand.name))
    adapter._order(hand)
    return adapter
