"""Names of the files of a bundle; nothing here needs torch."""

WEIGHTS = "weights.safetensors"
CONFIG = "config.json"
NORMALIZER = "normalizer.json"
HAND = "hand.json"
RUNTIME = "runtime.json"  # with the graphs, in bundles that have them
