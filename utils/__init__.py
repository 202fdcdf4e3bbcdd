"""The ground floor: typed records and batches, rotations, points, distances, configuration, console."""
