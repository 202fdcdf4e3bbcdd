"""Where tasks run on more than one machine: Ray, and SLURM."""
