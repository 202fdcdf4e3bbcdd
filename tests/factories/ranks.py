"""Processes of a test that are the ranks of one training, as torchrun's are."""

import os
import socket


def free_port() -> int:
    """Return a port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port: int = probe.getsockname()[1]
    return port


def rank_environ(rank: int, world: int, port: int) -> dict[str, str]:
    """Return what the environment of a rank of ``world`` on this machine says of it."""
    names = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": world,
        "LOCAL_WORLD_SIZE": world,
        "GROUP_RANK": 0,
    }
    together = {
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": f"ranks-{port}",
    }
    return {key: str(value) for key, value in names.items()} | together


def become_rank(rank: int, world: int, port: int) -> None:
    """Make this process a rank of ``world`` on this machine."""
    os.environ |= rank_environ(rank, world, port)
