"""The graphs of a bundle on onnxruntime: arrays by name in, arrays by name out."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]


class GraphSessions:
    """Sessions for the graphs of a bundle, each made when it is first run.

    Args:
        folder: of the bundle.
        threads: of each operator; 0 for as many as there are cores.

    Raises:
        ValueError: onnxruntime is not installed.
    """

    def __init__(self, folder: Path, *, threads: int) -> None:
        if importlib.util.find_spec("onnxruntime") is None:
            raise ValueError("This needs onnxruntime: pip install 'sceneleapultra[runtime]'.")
        self.folder, self.threads = folder, threads
        self._sessions: dict[str, Any] = {}

    def run(self, graph: str, arrays: Arrays) -> Arrays:
        """Run a graph on those of the arrays that it reads."""
        session = self._session(graph)
        feeds = {node.name: arrays[node.name] for node in session.get_inputs()}
        names = [node.name for node in session.get_outputs()]
        return dict(zip(names, session.run(names, feeds), strict=True))

    def _session(self, graph: str) -> Any:
        if graph not in self._sessions:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = self.threads
            options.log_severity_level = 3
            # Weights of 8 bits are restored once, here, and not at every run.
            options.add_session_config_entry("session.disable_quant_qdq", "1")
            self._sessions[graph] = onnxruntime.InferenceSession(
                str(self.folder / f"{graph}.onnx"), options, providers=["CPUExecutionProvider"]
            )
        return self._sessions[graph]
