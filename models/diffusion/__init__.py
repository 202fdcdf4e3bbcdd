"""Diffusion processes and solvers: ``x_t = alpha_t * x0 + sigma_t * eps`` with t = 0 data and t = 1 noise."""
