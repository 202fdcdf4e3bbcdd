"""Searches over settings: the space, the study, and the end of trainings that fall behind."""
