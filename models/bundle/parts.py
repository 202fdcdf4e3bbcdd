"""Names of the files of a bundle, and of the forms of its weights; nothing here needs torch."""

from typing import Literal

WEIGHTS = "weights.safetensors"
CONFIG = "config.json"
NORMALIZER = "normalizer.json"
HAND = "hand.json"
RUNTIME = "runtime.json"  # with the graphs, in bundles that have them

Precision = Literal["float32", "bf16", "int8"]  # of the weights
