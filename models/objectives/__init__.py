"""Objectives: what training minimizes, as named terms over one lazily computed context."""
