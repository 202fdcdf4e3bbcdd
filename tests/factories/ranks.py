"""Processes of a test that are the ranks of one training, as torchrun's are."""

import os
import socket


def free_port() -> int:
    """Return a port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port: int = probe.getsockname()[1]
    return port


def become_rank(rank: int, world: int, port: int) -> None:
    """Make this process a rank of ``world`` on this machine."""
    names = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": world,
        "LOCAL_WORLD_SIZE": world,
        "GROUP_RANK": 0,
    }
    os.environ |= {key: str(value) for key, value in names.items()}
    os.environ |= {
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": f"ranks-{port}",
    }
