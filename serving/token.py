"""The token by which a service knows its clients, and the addresses that need none."""

import os
from pathlib import Path

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_LEAST = 16  # characters


def read_token(path: Path) -> str:
    """Return the token in a file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: others may read it, or it is too short.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"--token-file: there is no file {path}. Make one: (umask 077; openssl rand -hex 32 > {path})"
        )
    mode = path.stat().st_mode & 0o777
    if mode & 0o077 and os.name == "posix":
        raise ValueError(f"--token-file: others may read {path} (mode {mode:o}). Run: chmod 600 {path}")
    token = path.read_text(encoding="utf-8", errors="replace").strip()
    if len(token) < _LEAST or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(
            f"--token-file: {path} must hold one word of at least {_LEAST} ASCII characters. Make one: openssl rand "
            "-hex 32"
        )
    return token
