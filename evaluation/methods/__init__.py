"""What is evaluated: the model and the baselines."""
