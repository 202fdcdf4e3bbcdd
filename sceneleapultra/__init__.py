"""The one name under which the project is imported and installed; its folders are links to those at the root."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sceneleapultra.hands import load_hand
    from sceneleapultra.models import load_grasp_model
    from sceneleapultra.serving.runtime import load_onnx_model

__version__ = "0.2.0"
__all__ = ["load_grasp_model", "load_hand", "load_onnx_model"]
# Imported when first asked for: naming the package must not cost the import of torch.
_HOMES = {
    "load_grasp_model": "sceneleapultra.models",
    "load_hand": "sceneleapultra.hands",
    "load_onnx_model": "sceneleapultra.serving.runtime",
}

_LINK = Path(__file__).with_name("utils")
if not _LINK.is_dir():
    raise ImportError(
        f"{_LINK} must be a folder or a symbolic link to one. This checkout was made without symbolic links, as git "
        "does on Windows: clone on Linux, macOS or WSL, or with git -c core.symlinks=true clone, or install a wheel."
    )


def __getattr__(name: str) -> Any:
    """Import what the package offers at its top when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(
            f"module '{__name__}' has no attribute '{name}'. It offers: {', '.join(_HOMES)}."
        )
    try:
        value = getattr(import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith(__name__):
            raise
        raise ModuleNotFoundError(
            f"{name} needs {error.name}, which is not installed for this Python: pip install 'sceneleapultra[train]'.",
            name=error.name,
        ) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List what can be asked for, imported or not."""
    return sorted({*globals(), *__all__})
