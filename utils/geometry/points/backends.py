"""Which libraries may do the point operations, and is the one that was asked for there?"""

import importlib.util
import os
from typing import Literal, get_args

import torch

from sceneleapultra.utils.core.names import unknown_name

Backend = Literal["torch", "pytorch3d", "triton"]

_REMEDY = "pass backend=torch, which gives the same result"


def require_backend(backend: str) -> Backend:
    """Return the backend if it can run here.

    Raises:
        ValueError: no such backend.
        ImportError: the backend's library is not installed, or there is no GPU for it.
    """
    if backend not in get_args(Backend):
        raise unknown_name("backend", backend, get_args(Backend))
    if backend == "torch":
        return "torch"
    if importlib.util.find_spec(backend) is None:
        source = {
            "pytorch3d": "build it from its source for your torch (PyPI has no package of it for this Python)",
            "triton": "install it with: pip install triton",
        }[backend]
        raise ImportError(f"backend={backend}: {backend} is not installed; {source}, or {_REMEDY}.")
    if backend == "triton":
        if not (torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1"):
            raise ImportError(f"backend=triton: its kernels need a CUDA device and there is none; {_REMEDY}.")
        return "triton"
    return "pytorch3d"
