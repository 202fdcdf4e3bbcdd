"""A trained model as a folder that stands by itself: weights, configuration, normalizer, hand, probe, digests."""
