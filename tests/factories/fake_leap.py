"""A LEAP hand made of nothing: motors of Dynamixel's protocol 2.0 on a pseudo-terminal, written from the specification.

Speaks ping, read, write, sync read and write, bulk read and write; checks every CRC. Motors jump to their goals.
"""

import os
import pty
import select
import sys
import threading
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_HEADER = b"\xff\xff\xfd\x00"
_BROADCAST, _STATUS = 0xFE, 0x55
_PING, _READ, _WRITE, _SYNC_READ, _SYNC_WRITE, _BULK_READ, _BULK_WRITE = 1, 2, 3, 0x82, 0x83, 0x92, 0x93
MODEL, MODE, TORQUE, ERRORS, CURRENT, GOAL, POSITION = 0, 11, 64, 70, 102, 116, 132
_TABLE_BYTES = 256
_CRC_ERROR, _ACCESS_ERROR = 3, 7


def crc16(data: bytes) -> int:
    """CRC-16 with polynomial 0x8005, most significant bit first, from 0."""
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x8005 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def stuffed(body: bytes) -> bytes:
    """Put a byte behind what looks like a header."""
    return body.replace(b"\xff\xff\xfd", b"\xff\xff\xfd\xfd")


def packet(number: int, body: bytes) -> bytes:
    body = stuffed(body)
    head = _HEADER + bytes([number]) + (len(body) + 2).to_bytes(2, "little") + body
    return head + crc16(head).to_bytes(2, "little")


class FakeLeap:
    """Motors with their tables; everything that is written stands in ``writes`` as (motor, address, value)."""

    def __init__(self, models: Sequence[int]) -> None:
        self.tables = {n: bytearray(_TABLE_BYTES) for n in range(len(models))}
        for number, model in enumerate(models):
            self.put(number, MODEL, 2, model)
            self.put(number, MODE, 1, 3)
            self.put(number, POSITION, 4, 2048)
        self.writes: list[tuple[int, int, int]] = []
        self.refused: list[tuple[int, int]] = []  # writes to the permanent part under torque
        self._master, self._slave = pty.openpty()
        tty.setraw(self._master)
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self._stop = threading.Event()
        self._buffer = b""
        self.pull_after: int | None = None  # the cable, at this number of writes of goals
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def put(self, number: int, address: int, size: int, value: int) -> None:
        self.tables[number][address : address + size] = value.to_bytes(size, "little", signed=value < 0)

    def get(self, number: int, address: int, size: int) -> int:
        return int.from_bytes(self.tables[number][address : address + size], "little", signed=size == 4)

    def goals(self) -> list[tuple[int, ...]]:
        """Return the goal positions of all motors in the order in which they came."""
        count = len(self.tables)
        steps = [value for _, address, value in self.writes if address == GOAL]
        return [tuple(steps[i : i + count]) for i in range(0, len(steps), count)]

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        for end in (self._master, self._slave):
            if end >= 0:
                os.close(end)

    def _serve(self) -> None:
        while not self._stop.is_set():
            if not select.select([self._master], [], [], 0.02)[0]:
                continue
            self._buffer += os.read(self._master, 4096)
            while (found := self._next()) is not None:
                self._answer(found)
            if self.pull_after is not None and len(self.goals()) >= self.pull_after:
                os.close(self._slave)
                os.close(self._master)
                self._slave = self._master = -1
                return

    def _next(self) -> bytes | None:
        start = self._buffer.find(_HEADER)
        if start < 0 or len(self._buffer) < start + 7:
            return None
        end = start + 7 + int.from_bytes(self._buffer[start + 5 : start + 7], "little")
        if len(self._buffer) < end:
            return None
        found, self._buffer = self._buffer[start:end], self._buffer[end:]
        return found

    def _answer(self, found: bytes) -> None:
        if crc16(found[:-2]) != int.from_bytes(found[-2:], "little"):
            self._status(found[4], _CRC_ERROR, b"")
            return
        number, body = found[4], found[7:-2].replace(b"\xff\xff\xfd\xfd", b"\xff\xff\xfd")
        kind, data = body[0], body[1:]
        words = [int.from_bytes(data[i : i + 2], "little") for i in range(0, 4, 2)]
        if kind == _SYNC_READ:
            for each in data[4:]:
                self._read(each, *words)
        elif kind == _SYNC_WRITE:
            size = words[1]
            for i in range(4, len(data), size + 1):
                self._write(data[i], words[0], data[i + 1 : i + 1 + size])
        elif kind == _BULK_READ:
            for i in range(0, len(data), 5):
                address, size = (int.from_bytes(data[i + k : i + k + 2], "little") for k in (1, 3))
                self._read(data[i], address, size)
        elif kind == _BULK_WRITE:
            while data:
                address, size = (int.from_bytes(data[k : k + 2], "little") for k in (1, 3))
                self._write(data[0], address, data[5 : 5 + size])
                data = data[5 + size :]
        elif number in self.tables and kind == _PING:
            self._status(number, 0, bytes(self.tables[number][:2]) + b"\x2d")
        elif number in self.tables and kind == _READ:
            self._read(number, *words)
        elif number in self.tables and kind == _WRITE:
            self._status(number, self._write(number, words[0], data[2:]), b"")

    def _read(self, number: int, address: int, size: int) -> None:
        if number in self.tables:
            self._status(number, 0, bytes(self.tables[number][address : address + size]))

    def _write(self, number: int, address: int, data: bytes) -> int:
        if number not in self.tables:
            return 0
        if address < TORQUE and self.get(number, TORQUE, 1):
            self.refused.append((number, address))
            return _ACCESS_ERROR
        self.tables[number][address : address + len(data)] = data
        value = int.from_bytes(data, "little", signed=address == GOAL)
        self.writes.append((number, address, value))
        if address == GOAL and self.get(number, TORQUE, 1):
            self.put(number, POSITION, 4, value)
        return 0

    def _status(self, number: int, error: int, data: bytes) -> None:
        alert = 0x80 if number in self.tables and self.get(number, ERRORS, 1) else 0
        os.write(self._master, packet(number, bytes([_STATUS, error | alert]) + data))


@contextmanager
def fake_leap(model: int = 1240, count: int = 16) -> Iterator[FakeLeap]:
    """Yield a hand of motors of one model at half a turn, all joints at 0."""
    fake, switching_s = FakeLeap([model] * count), sys.getswitchinterval()
    sys.setswitchinterval(1e-4)  # the library waits for answers without sleeping; the fake must get its turn
    try:
        yield fake
    finally:
        sys.setswitchinterval(switching_s)
        fake.close()
