"""Infrastructure: configuration, console, files, locks, seeds."""
