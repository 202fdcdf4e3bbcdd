"""Stores, results and predictions in a browser: ``sceneleap view``."""
