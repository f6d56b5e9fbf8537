"""The trainer service: a control plane (feeder, weights, status) and its DeepSpeed ranks."""
