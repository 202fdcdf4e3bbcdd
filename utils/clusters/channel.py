"""How a program and its workers on other machines talk: one connection each, both know the same secret."""

import json
import secrets
import socket
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from pathlib import Path

from sceneleapultra.utils.core.files import write_text

_IDLE_S, _INTERVAL_S, _PROBES = 10, 5, 3  # a machine that lost its power is missed after 25 s
_CONNECT_S = 20.0


@dataclass(frozen=True)
class Address:
    """Where a program waits for its workers, and the secret by which they know one another."""

    host: str
    port: int
    secret: str

    @classmethod
    def read(cls, path: Path) -> "Address":
        """Read what :meth:`write` wrote."""
        return cls(**json.loads(path.read_text()))

    def write(self, path: Path) -> None:
        """Write a file that this user alone can read."""
        write_text(path, json.dumps(asdict(self)), mode=0o600)


def listen(host: str) -> tuple[socket.socket, Address]:
    """Open a port on all networks of this machine; ``host`` is the name by which others reach it."""
    opened = socket.create_server(("", 0), backlog=512)
    return opened, Address(host, opened.getsockname()[1], secrets.token_hex(32))


def welcome(accepted: socket.socket, secret: str) -> Connection:
    """Make a connection of an accepted socket.

    Raises:
        AuthenticationError: whoever is there does not know the secret.
        OSError: nobody is there any more.
    """
    _notice_silence(accepted)
    accepted.settimeout(None)
    connection = Connection(accepted.detach())
    deliver_challenge(connection, secret.encode())
    answer_challenge(connection, secret.encode())
    return connection


def connect(address: Address) -> Connection:
    """Connect to a program that waits.

    Raises:
        ConnectionError: it cannot be reached; most likely it has ended.
    """
    try:
        opened = socket.create_connection((address.host, address.port), timeout=_CONNECT_S)
    except OSError as error:
        raise ConnectionError(
            f"The program that waits for workers at {address.host}:{address.port} cannot be reached from "
            f"{socket.gethostname()} ({error}). Has it ended? If not, launcher.host names the machine's address in "
            "this network."
        ) from error
    _notice_silence(opened)
    opened.settimeout(None)
    connection = Connection(opened.detach())
    answer_challenge(connection, address.secret.encode())
    deliver_challenge(connection, address.secret.encode())
    return connection


def _notice_silence(opened: socket.socket) -> None:
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", _IDLE_S), ("TCP_KEEPINTVL", _INTERVAL_S), ("TCP_KEEPCNT", _PROBES)):
        if hasattr(socket, name):  # Linux
            opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
