"""Readers of foreign data sets, one file per format, and the converter that turns what they read into a store."""

from sceneleapultra.datasets.foreign.readers.convert import Conversion, Report, Summary
from sceneleapultra.datasets.foreign.readers.once import convert_once

__all__ = ["Conversion", "Report", "Summary", "convert_once"]
