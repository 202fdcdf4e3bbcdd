"""Asks a service for grasps from a Python program; needs numpy and scipy, no torch."""

import http.client
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

import numpy as np

from sceneleapultra.serving.answer import ServedGrasps
from sceneleapultra.serving.arrays import SETTINGS, pack
from sceneleapultra.serving.schema import ARRAYS, NPZ
from sceneleapultra.utils.core.npz import read_npz_bytes

_MOST_BYTES = 2**28  # of an answer
_LATER = (429, 503)  # worth another try
_WAIT_S = 1.0


class ServiceRefusal(ValueError):
    """The service refused; the message is its sentence.

    Attributes:
        status: of HTTP.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True)
class GraspClient:
    """A service for grasps.

    Example:
        >>> client = GraspClient("http://127.0.0.1:8090")
        >>> served = client.grasps(points=points, mask=mask, num_grasps=32)
        >>> served = client.grasps(depth=depth, intrinsics=(fx, fy, cx, cy), pixel=(320, 240))

    Attributes:
        url: where it is.
        token: that it wants, if any.
        timeout_s: of one try.
        attempts: how often it is tried while it is full, or not there yet.
    """

    url: str = "http://127.0.0.1:8090"
    token: str | None = None
    timeout_s: float = 60.0
    attempts: int = 3

    def grasps(self, **request: Any) -> ServedGrasps:
        """Generate grasps.

        Args:
            request: ``points``, or ``depth`` with ``intrinsics`` and where its numbers are whole ``depth_scale``;
                ``mask`` and ``rgb`` where there are any; and the other fields of
                :class:`~sceneleapultra.serving.schema.GraspSettings`.

        Raises:
            ServiceRefusal: the service refused.
            ConnectionError: it is not there, or went away.
            TimeoutError: it did not answer in time.
        """
        arrays = {name: np.asarray(request[name]) for name in ARRAYS if request.get(name) is not None}
        settings = {name: value for name, value in request.items() if name not in ARRAYS}
        arrays[SETTINGS] = np.array(json.dumps(settings, default=_plain))
        content = self._send("POST", "/v1/grasps", pack(arrays), NPZ)
        return ServedGrasps.from_arrays(read_npz_bytes(content, f"the answer of {self.url}", _MOST_BYTES))

    def model(self) -> dict[str, Any]:
        """Return which model answers, for which hand, within which limits."""
        card: dict[str, Any] = json.loads(self._send("GET", "/v1/model", None, "application/json"))
        return card

    def _send(self, method: str, path: str, content: bytes | None, kind: str) -> bytes:
        headers = {"Content-Type": kind, "Accept": kind}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(self.url + path, content, headers, method=method)
        for left in reversed(range(self.attempts)):
            try:
                with urllib.request.urlopen(request, timeout=self.timeout_s) as answer:
                    body: bytes = answer.read()
                    return body
            except urllib.error.HTTPError as error:
                with error:
                    refusal = ServiceRefusal(error.code, _sentence(error.read(), error))
                    later = error.headers.get("Retry-After", "")  # what stands between may name a date
                    wait_s = float(later) if later.isdecimal() else _WAIT_S
                if error.code not in _LATER or not left:
                    raise refusal from error
            except TimeoutError as error:
                raise TimeoutError(f"{self.url} did not answer within {self.timeout_s:g} s.") from error
            except (urllib.error.URLError, ConnectionError, http.client.HTTPException) as error:
                reason = getattr(error, "reason", error)
                if isinstance(reason, TimeoutError):
                    raise TimeoutError(f"{self.url} did not answer within {self.timeout_s:g} s.") from error
                if not left:
                    raise ConnectionError(
                        f"There is no service at {self.url} ({reason}). Start one: sceneleap serve leap_table"
                    ) from error
                wait_s = _WAIT_S
            time.sleep(wait_s)
        raise ValueError(f"attempts: expected at least 1, got {self.attempts}.")


def _plain(value: Any) -> Any:
    """Return what JSON can hold of numpy's numbers and arrays."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"A {type(value).__name__} cannot be sent: {str(value)[:60]}.")


def _sentence(content: bytes, error: Exception) -> str:
    try:
        return str(json.loads(content)["detail"])
    except (ValueError, KeyError, TypeError):
        return str(error)
