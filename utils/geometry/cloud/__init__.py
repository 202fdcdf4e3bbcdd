"""How a cloud becomes what a network sees, in training and when sampling."""

from sceneleapultra.utils.geometry.cloud.processor import CloudInput, CloudProcessor, PreparedCloud

__all__ = ["CloudInput", "CloudProcessor", "PreparedCloud"]
