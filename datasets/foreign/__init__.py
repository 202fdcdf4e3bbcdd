"""Data sets of other projects: readers and exporters."""
