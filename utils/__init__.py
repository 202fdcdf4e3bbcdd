"""The ground floor: typed records and batches, rotations, points, distances, configuration, console."""

import os

# Before torch is imported: waiting threads sleep instead of spinning. On cores that are shared with anything else,
# spinning OpenMP barriers make the same call ten to fifty times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
