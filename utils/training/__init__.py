"""What happens around a training run: callbacks, run folder, statistics, profiling."""
