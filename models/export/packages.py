"""What writing ONNX needs beside the project; nothing here needs torch."""

import importlib.util

PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def require_onnx() -> None:
    """Refuse where what writes ONNX is not installed.

    Raises:
        ValueError: names what is missing, and what to install.
    """
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise ValueError(
            f"--onnx needs {', '.join(missing)}: pip install 'sceneleapultra[export]'. Or leave it away."
        )
