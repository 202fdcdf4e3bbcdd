"""How the processes of a training notice that one of them is gone: killed, or its machine is."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from sceneleapultra.utils.clusters.channel import Address, connect, listen, welcome

_END = b"end"  # said by a process that ends in order


@contextmanager
def watch_peers(rank: int, world: int, group: Any, lost: Callable[[str], None]) -> Iterator[None]:
    """Keep a connection between the first process and every other one, and tell when one of them is gone.

    A process that is killed is missed at once, a machine that lost its power or its network after half a minute.
    Collectives alone would wait half an hour, or not say what they wait for.

    Args:
        rank: of this process.
        world: how many processes there are.
        group: over which they agree on an address.
        lost: called in a thread, with who is gone.
    """
    connections = _meet(rank, world, group)
    ended = threading.Event()
    threading.Thread(target=_watch, args=(connections, ended, lost), daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        for connection in connections.values():
            _say_end(connection)


def _meet(rank: int, world: int, group: Any) -> dict[str, Connection]:
    """Connect; return the connections by who is at the other end."""
    box: list[Any] = [None]
    opened: socket.socket | None = None
    if rank == 0:
        opened, box[0] = listen(os.environ["MASTER_ADDR"])
    torch.distributed.broadcast_object_list(box, src=0, group=group)
    address: Address = box[0]
    if opened is None:
        connection = connect(address)
        connection.send((rank, socket.gethostname()))
        return {f"Rank 0 at {address.host}": connection}
    connections: dict[str, Connection] = {}
    with opened:
        while len(connections) < world - 1:
            connection = welcome(opened.accept()[0], address.secret)
            number, host = connection.recv()
            connections[f"Rank {number} on {host}"] = connection
    return connections


def _watch(connections: dict[str, Connection], ended: threading.Event, lost: Callable[[str], None]) -> None:
    names = {connection: name for name, connection in connections.items()}
    while names and not ended.is_set():
        for connection in wait(list(names)):
            assert isinstance(connection, Connection)
            try:
                connection.recv_bytes()  # it ends in order
            except (EOFError, OSError):
                if not ended.is_set():
                    lost(names[connection])
            del names[connection]


def _say_end(connection: Connection) -> None:
    try:
        connection.send_bytes(_END)
    except OSError:  # who is there has ended before
        return
