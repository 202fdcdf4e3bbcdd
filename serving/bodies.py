"""How a body is received: no more of it than is allowed, in no more time, and not more of all bodies than fit."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.requests import Request

from sceneleapultra.serving.limits import ServiceLimits, WorkLimits
from sceneleapultra.serving.problems import Refusal


@dataclass
class Room:
    """What one body takes."""

    bytes: int = 0


class Bodies:
    """Receives bodies, and counts what they hold in memory.

    Args:
        work: limits of one request.
        service: limits of all of them.
    """

    def __init__(self, work: WorkLimits, service: ServiceLimits) -> None:
        self._work, self._service = work, service
        self._bytes = 0

    @contextmanager
    def room(self) -> Iterator["Room"]:
        """Count a body as long as it is in memory."""
        room = Room()
        try:
            yield room
        finally:
            self._bytes -= room.bytes

    async def receive(self, request: Request, room: "Room") -> bytes:
        """Return the body of a request.

        Raises:
            Refusal: it is larger than allowed, comes too slowly, or there is no room for it.
        """
        declared = request.headers.get("content-length", "0")
        if declared.isdecimal() and int(declared) > self._work.body_bytes:
            raise self._too_large(f"{int(declared):,}")
        try:
            async with asyncio.timeout(self._service.body_s):
                return await self._join(request, room)
        except TimeoutError as error:
            raise Refusal(
                408,
                f"The body did not arrive within {self._service.body_s:g} s. Send it faster, or less of it.",
            ) from error

    async def _join(self, request: Request, room: "Room") -> bytes:
        parts = []
        async for part in request.stream():
            room.bytes += len(part)
            self._bytes += len(part)
            if room.bytes > self._work.body_bytes:
                raise self._too_large("more")
            if self._bytes > self._service.bodies_mb * 2**20:
                raise Refusal(
                    503, "The service receives too many large requests at once. Try again.", Retry_After="1"
                )
            parts.append(part)
        return b"".join(parts)

    def _too_large(self, found: str) -> Refusal:
        return Refusal(
            413,
            f"The body may have {self._work.body_bytes:,} bytes, it has {found}. Send the points around the object "
            "only, or the binary form (Content-Type: application/x-npz).",
        )


async def gone(request: Request) -> None:
    """Return when the client is."""
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            return
