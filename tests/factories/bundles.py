"""Bundles that somebody changed, and meant to."""

import json
import shutil
from pathlib import Path

from sceneleapultra.models.bundle.manifest import new_bundle, read_manifest


def change(bundle: Path, name: str, content: bytes) -> None:
    """Change a file, and its entry in the manifest: as somebody who means to."""
    (bundle / name).write_bytes(content)
    manifest = json.loads((bundle / "manifest.json").read_text())
    with new_bundle(bundle.with_name("other"), {}) as folder:
        (folder / name).write_bytes(content)
    manifest["files"][name] = read_manifest(bundle.with_name("other"))["files"][name]
    shutil.rmtree(bundle.with_name("other"))
    (bundle / "manifest.json").write_text(json.dumps(manifest))
