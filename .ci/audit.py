"""Is a weakness of what is locked known? Asks the database of pip-audit; says so when it cannot be asked.

The files of development and of the documentation and of the service hold whatever requirements.lock holds.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCKS = (
    ROOT / "requirements-dev.lock",
    ROOT / "requirements-docs.lock",
    ROOT / "docker" / "requirements.lock",
)


def main() -> int:
    """Print what is known, one line for each weakness; return the exit status."""
    return max([report(lock) for lock in LOCKS])


def report(lock: Path) -> int:
    """Print what is known of a lock file; return 1 where a weakness is, or where a package was not looked up."""
    packages, reason = ask(lock)
    asked = [package for package in packages if "skip_reason" not in package]
    if not asked:
        print(
            f"audit: the database of known weaknesses could not be asked ({reason}), so nothing is known of "
            f"{lock.name}. Run make audit where the network reaches it."
        )
        return 1
    for package in packages:
        for weakness in package.get("vulns", []):
            fixed = ", ".join(weakness["fix_versions"]) or "no version yet"
            print(f"audit: {package['name']} {package['version']}: {weakness['id']}, fixed in {fixed}")
        if "skip_reason" in package:
            print(f"audit: {package['skip_reason']}")
    weak = sum(len(package["vulns"]) for package in asked)
    print(
        f"audit: {lock.name}: {len(asked)} of {len(packages)} packages looked up, {weak} weaknesses known; torch is "
        "not among them."
    )
    return 1 if weak or len(asked) < len(packages) else 0


def ask(lock: Path) -> tuple[list[dict[str, Any]], str]:
    """Return what the database says of each package of a lock file, and why it says nothing where it does not."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.json"
        options = ("--require-hashes", "--disable-pip", "--progress-spinner=off", "--format=json", "--output")
        command = [sys.executable, "-m", "pip_audit", "-r", str(lock), *options, str(found)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not found.is_file():
            return [], (done.stderr.strip().splitlines() or ["no answer"])[-1]
        packages = json.loads(found.read_text())["dependencies"]
    reasons = [package["skip_reason"] for package in packages if "skip_reason" in package]
    return packages, reasons[0] if reasons else ""


if __name__ == "__main__":
    sys.exit(main())
