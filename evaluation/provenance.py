"""What stands beside every number, so that it can be had again."""

import os
import shlex
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from sceneleapultra.models.bundle.manifest import MANIFEST, digest, is_bundle
from sceneleapultra.simulation.protocols import Protocol
from sceneleapultra.utils.training.run_folder import code_state, git_state, versions


def provenance(
    *, seed: int, protocol: Protocol, data: dict[str, str], model: dict[str, str]
) -> dict[str, Any]:
    """Return command, code, data, model, protocol and machine, ready for JSON."""
    return {
        "command": shlex.join(["python", *sys.argv]),
        "commit": code_state(*git_state()),
        "seed": seed,
        **{f"data {key}": value for key, value in data.items()},
        **{f"model {key}": value for key, value in model.items()},
        "protocol": f"{protocol.name} ({protocol.hash})",
        "versions": versions(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "date": datetime.now().strftime("%Y-%m-%d %H:%M"),
    }


def file_hash(path: Path) -> str:
    """Return the first 16 digits of a file's SHA-256; of a bundle, those of its manifest, which lists all digests."""
    return digest(path / MANIFEST if is_bundle(path) else path)[:16]
