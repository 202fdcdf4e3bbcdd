"""The named options of sampling, written into bundles for engines that read no configuration files."""

from typing import Any

from omegaconf import OmegaConf

from sceneleapultra.utils.core.config import CONFIG_DIR, load_group

GROUPS = ("solver", "guidance", "rank")


def choices() -> dict[str, dict[str, Any]]:
    """Return every named option of every group, composed, as plain containers."""
    return {group: {name: _composed(group, name) for name in _names(group)} for group in GROUPS}


def _names(group: str) -> list[str]:
    return sorted(path.stem for path in (CONFIG_DIR / "sampling" / group).glob("*.yaml"))


def _composed(group: str, name: str) -> Any:
    return OmegaConf.to_container(load_group(f"sampling/{group}", name), resolve=True)
