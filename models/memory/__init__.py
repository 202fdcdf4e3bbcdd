"""What a training step needs of memory, before there is a GPU: traced with weights that are not there."""
