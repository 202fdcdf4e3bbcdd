"""The network's parts: encoders, decoders, conditions, heads."""
