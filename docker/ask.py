"""Starts the service as the image does, as its own user, and asks it for grasps; docker/prove.sh runs it.

Says what it saw, one line for each thing; the first that is wrong ends it with status 1.
"""

import os
import pwd
import secrets
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sceneleapultra.serving.client import GraspClient, ServiceRefusal

STEPS = ("sh", "docker/steps.sh")
VIEW = Path("model_zoo/example_view.npz")
GRASPS = 4
START_S = 240.0


def main() -> None:
    """Start, wait until it is ready, ask, and stop."""
    user = pwd.getpwnam("sceneleap")
    token = Path("/run/sceneleap_token")
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    os.chown(token, user.pw_uid, user.pw_gid)
    port = free_port()
    env = {**os.environ, "SCENELEAP_PORT": str(port), "SCENELEAP_TOKEN_FILE": str(token)}
    as_user: dict[str, Any] = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": (), "env": env}
    for folder in ("/models", "/opt/sceneleap", "/src"):
        writes = subprocess.run(["test", "-w", folder], check=False, **as_user).returncode == 0
        check(not writes, f"{user.pw_name} may not write to {folder}")
    service = subprocess.Popen([*STEPS, "serve", "leap_table"], **as_user)
    try:
        began = time.monotonic()
        while subprocess.run([*STEPS, "ready"], check=False, capture_output=True, **as_user).returncode:
            check(service.poll() is None, "the service runs", quiet=True)
            check(time.monotonic() - began < START_S, f"ready within {START_S:.0f} s", quiet=True)
            time.sleep(1.0)
        check(True, f"the health check passes after {time.monotonic() - began:.0f} s")
        owner = Path(f"/proc/{service.pid}").stat().st_uid
        check(owner == user.pw_uid != 0, f"it runs as user {owner}")
        view = dict(np.load(VIEW))
        request = {"intrinsics": view.pop("K"), **view, "num_grasps": GRASPS}
        client = GraspClient(f"http://127.0.0.1:{port}", token.read_text())
        try:
            replace(client, token=None).grasps(**request)
        except ServiceRefusal as refusal:
            check(refusal.status == 401, f"without the token it answers {refusal.status}")
        began = time.monotonic()
        served = client.grasps(**request)
        found = np.isfinite(served.grasps.hand_pose).all(axis=1).sum()
        check(found == GRASPS, f"{found} grasps in {time.monotonic() - began:.1f} s")
    finally:
        service.terminate()
        ended = service.wait(timeout=90)
    check(ended == 128 + signal.SIGTERM, f"SIGTERM ends it with status {ended}")


def free_port() -> int:
    """Return a port that nothing listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def check(holds: bool, what: str, *, quiet: bool = False) -> None:
    """Say what was seen, or end."""
    if not holds:
        sys.exit(f"docker/ask.py: expected, and not so: {what}.")
    if not quiet:
        sys.stdout.write(f"  {what}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
