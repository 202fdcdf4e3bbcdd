"""Tasks for workers in other processes, which find them by the name of this module."""

import os
import time


def append_line(log: str, x: int) -> int:
    """Note in a file that a task was begun; take a while; return its double."""
    with open(log, "a") as file:
        file.write(f"{x}\n")
    time.sleep(0.1)
    return 2 * x


def fail_at(x: int) -> int:
    if x == 3:
        raise ValueError("three is refused")
    return x


def exit_at(x: int) -> int:
    if x == 3:
        os._exit(9)
    return x
