"""Who may ask, and what is written down of each request: around every route."""

import asyncio
import base64
import binascii
import contextlib
import hmac
import re
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from sceneleapultra.serving.logs import log
from sceneleapultra.serving.metrics import Metrics
from sceneleapultra.serving.problems import Refusal, as_response

_OPEN = ("/livez", "/readyz")  # for those who look whether the service is there
_NAME = re.compile(r"[\w.-]{1,64}")
_DISCARD_S, _DISCARD_BYTES = 5.0, 2**26
_LOGIN = 'Basic realm="sceneleap"'


class Guard:
    """Names, checks, counts and logs every request.

    Args:
        app: what answers.
        token: that a client must know, as a bearer's token or as the password of any user; None: whoever reaches it.
        hosts: names by which it may be reached; None for any. A page of a browser can reach a loopback address by a
            name of its own, and is refused by it.
        metrics: where requests are counted.
        paths: those that there are.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: str | None,
        hosts: tuple[str, ...] | None,
        metrics: Metrics,
        paths: tuple[str, ...],
    ) -> None:
        self._app, self._token, self._hosts, self._metrics, self._paths = app, token, hosts, metrics, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        sent = request.headers.get("x-request-id", "")
        request_id = sent if _NAME.fullmatch(sent) else uuid.uuid4().hex[:16]
        scope["request_id"] = request_id
        status, begin = 499, time.monotonic()  # nobody got an answer
        body = _Unread(receive)

        async def counted(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if status >= HTTPStatus.BAD_REQUEST:
                    await body.discard()
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._checked(request, body.receive, counted)
        finally:
            path = request.url.path if request.url.path in self._paths else "other"
            self._metrics.requests.labels(path, str(status)).inc()
            if path not in _OPEN:
                seconds = round(time.monotonic() - begin, 4)
                log("request", request_id=request_id, path=path, status=status, seconds=seconds)

    async def _checked(
        self, request: Request, receive: Receive, send: Callable[[MutableMapping[str, Any]], Awaitable[None]]
    ) -> None:
        try:
            self._check_host(request)
            if request.url.path not in _OPEN:
                self._check_token(request)
        except Refusal as refusal:
            answer = as_response(refusal.status, str(refusal), request.scope["request_id"], refusal.headers)
            await answer(request.scope, receive, send)
            return
        await self._app(request.scope, receive, send)

    def _check_host(self, request: Request) -> None:
        host = request.headers.get("host", "")
        name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
        if self._hosts is not None and name.strip("[]").lower() not in self._hosts:
            raise Refusal(
                421, f"Host: this service is reached as {' or '.join(self._hosts)}, not as {name[:80]}."
            )

    def _check_token(self, request: Request) -> None:
        if self._token is None:
            return
        kind, _, value = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "basic":
            value = _password(value)
        if not hmac.compare_digest(value.encode(), self._token.encode()):
            raise Refusal(
                401, "Send the service's token: Authorization: Bearer <token>.", WWW_Authenticate=_LOGIN
            )


class _Unread:
    """Reads what is left of the body of a request that is refused: a client that still sends would see no answer."""

    def __init__(self, receive: Receive) -> None:
        self._receive, self._left = receive, True

    async def receive(self) -> MutableMapping[str, Any]:
        """Return the next message of the client."""
        message = await self._receive()
        self._left = message["type"] == "http.request" and message.get("more_body", False)
        return message

    async def discard(self) -> None:
        """Read the rest, as far as it is small and comes soon."""
        size = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DISCARD_S):
                while self._left and size < _DISCARD_BYTES:
                    size += len((await self.receive()).get("body", b""))


def _password(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""
