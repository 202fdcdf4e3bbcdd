"""Grasps from a bundle on onnxruntime and numpy alone; nothing here needs torch."""

from sceneleapultra.serving.runtime.model import OnnxModel, load_onnx_model

__all__ = ["OnnxModel", "load_onnx_model"]
