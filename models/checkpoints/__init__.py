"""Checkpoints: loading, migration, initial weights."""
