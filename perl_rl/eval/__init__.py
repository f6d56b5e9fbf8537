"""Evaluation: eight benchmarks, order robustness, and the comparison of two results."""
