"""Scene completion: from what one view says of voxels to signed distances of the target and of what is beside it."""
