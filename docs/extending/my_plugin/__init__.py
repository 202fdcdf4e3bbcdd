"""A package outside the project, with one class of each kind; docs/extending.md explains it."""
