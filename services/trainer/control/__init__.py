"""The trainer's control plane, one process on host 0: it feeds, serves weights, runs the ranks."""
