"""A scene on a level grid about the object to grasp: what one view says of each voxel, and signed distances there."""
