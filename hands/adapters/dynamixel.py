"""The motors on a serial port: Dynamixel's protocol 2.0 by the maker's own library.

Addresses are those of the X series. Needs ``pip install sceneleapultra[leap]``.
"""

import termios
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

BAUD_RATE = 4_000_000
STEPS_PER_TURN = 4096
CURRENT_BASED_POSITION = 5  # operating mode
_ATTEMPTS = 3  # answers get lost on a wire, or come late where the machine is busy


class Register(NamedTuple):
    """A place in a motor's table; positions and currents are signed."""

    address: int
    size: int


OPERATING_MODE = Register(11, 1)
TORQUE_ENABLE = Register(64, 1)
HARDWARE_ERROR = Register(70, 1)
KD, KI, KP = Register(80, 2), Register(82, 2), Register(84, 2)
GOAL_CURRENT = Register(102, 2)
GOAL_POSITION = Register(116, 4)
PRESENT_POSITION = Register(132, 4)
_FAULTS = {0: "input voltage", 2: "overheating", 3: "encoder", 4: "electrical shock", 5: "overload"}


class MotorsLostError(OSError):
    """The motors no longer answer."""


class Motors:
    """Motors on one port, by their numbers. Closing the port leaves the torque as it is: what they hold they hold.

    Raises:
        ValueError: the library is not installed.
        FileNotFoundError: no such port.
        OSError: a port that cannot be opened.
    """

    def __init__(self, port: str, numbers: Sequence[int]) -> None:
        require_library()
        if not Path(port).exists():
            raise FileNotFoundError(
                f"There is no serial port at {port}. Plug the hand in and switch it on, or name another: --port."
            )
        sdk = import_module("dynamixel_sdk")
        self._sdk, self.port, self.numbers = sdk, port, tuple(numbers)
        self._port, self._packets = sdk.PortHandler(port), sdk.PacketHandler(2.0)
        try:
            self._port.setBaudRate(BAUD_RATE)  # opens it
        except OSError as error:
            raise OSError(
                f"The serial port {port} cannot be opened: {error}. Close the program that has it, or give this user "
                "the right to it (group dialout)."
            ) from error

    def close(self) -> None:
        """Close the port; the torque stays as it is."""
        self._port.closePort()

    def ping(self) -> dict[int, int]:
        """Return the model of each motor that answers, by its number."""
        found: dict[int, int] = {}
        for _ in range(_ATTEMPTS):
            for number in (n for n in self.numbers if n not in found):
                model, result, _ = self._talk(lambda n=number: self._packets.ping(self._port, n))
                if result == self._sdk.COMM_SUCCESS:
                    found[number] = model
        return found

    def write(self, register: Register, values: Mapping[int, int]) -> None:
        """Write one value for each motor, all in one packet; motors do not answer it.

        Raises:
            MotorsLostError: the port is gone.
        """
        group = self._sdk.GroupSyncWrite(self._port, self._packets, register.address, register.size)
        for number, value in values.items():
            group.addParam(number, list(value.to_bytes(register.size, "little", signed=True)))
        self._check(self._talk(group.txPacket))

    def set(self, register: Register, values: Mapping[int, int]) -> None:
        """Write one value for each motor, and read it back.

        Raises:
            MotorsLostError: the port is gone, or a motor has another value still.
        """
        for _ in range(_ATTEMPTS):
            self.write(register, values)
            wrong = [n for n, value in self.read(register).items() if value != values[n]]
            if not wrong:
                return
        raise MotorsLostError(
            f"Motors {wrong} at {self.port} do not take what is written to {register.address}"
        )

    def read(self, register: Register) -> dict[int, int]:
        """Read one value of each motor.

        Raises:
            MotorsLostError: a motor does not answer.
        """
        group = self._sdk.GroupSyncRead(self._port, self._packets, register.address, register.size)
        for number in self.numbers:
            group.addParam(number)
        for _ in range(_ATTEMPTS):
            if (result := self._talk(group.txRxPacket)) == self._sdk.COMM_SUCCESS:
                break
        self._check(result)
        raw = {n: group.getData(n, register.address, register.size) for n in self.numbers}
        return {n: _signed(value, register.size) for n, value in raw.items()}

    def faults(self) -> dict[int, str]:
        """Return what is wrong with each motor that reports something."""
        return {
            number: ", ".join(words for bit, words in _FAULTS.items() if value >> bit & 1) or f"code {value}"
            for number, value in self.read(HARDWARE_ERROR).items()
            if value
        }

    def _talk(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except (OSError, termios.error) as error:  # a cable was pulled
            raise MotorsLostError(f"The motors at {self.port} are gone ({error})") from error
        finally:
            self._port.is_using = False  # the library leaves it set where the port fails

    def _check(self, result: int) -> None:
        if result != self._sdk.COMM_SUCCESS:
            words = self._packets.getTxRxResult(result).removeprefix("[TxRxResult] ").rstrip("!")
            raise MotorsLostError(f"The motors at {self.port} do not answer ({words})")


def require_library() -> None:
    """Refuse to go on without the maker's library.

    Raises:
        ValueError: it is not installed.
    """
    if find_spec("dynamixel_sdk") is None:
        raise ValueError(
            "The motors of a real hand are reached through dynamixel-sdk, which is not installed. Run: python -m pip "
            "install 'sceneleapultra[leap]'"
        )


def _signed(value: int, size: int) -> int:
    return value - (1 << 8 * size) if size > 1 and value >> (8 * size - 1) else value
